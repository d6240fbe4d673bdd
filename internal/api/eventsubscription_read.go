package api

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// An eventReader makes a subscription of what a client has written, and notes
// everything that is wrong with it.
type eventReader struct {
	// old is what there was; nil if nothing.
	old *eventing.Subscription
	// task is an error if there is none of the name.
	task   func(name string) error
	faults runner.Faults
}

func (r *eventReader) fault(target, format string, args ...any) {
	r.faults = append(r.faults, runner.Fault{Code: "InvalidRequest", Target: target, Message: fmt.Sprintf(format, args...)})
}

// subscription is what p says, if nothing is wrong with it.
func (r *eventReader) subscription(name string, p *EventSubscriptionProperties) *eventing.Subscription {
	now := time.Now().UTC()
	s := &eventing.Subscription{
		Kind: eventing.EventSubscription, Name: name, Schema: p.EventDeliverySchema, Labels: p.Labels,
		Ordered: p.Ordered, InFlight: p.InFlight, Created: now, Updated: now,
	}
	if r.old != nil {
		s.Name, s.Created, s.State, s.Rate, s.Why, s.Validation = r.old.Name, r.old.Created, r.old.State, r.old.Rate, r.old.Why, r.old.Validation
	} else if !isEventSubscriptionName(name) {
		r.faults = append(r.faults, runner.Fault{Code: "InvalidResourceName", Target: "name", Message: "'" + name + "' is not a name for an event subscription: it has 3 to 64 letters, digits and '-'."})
	}
	r.readSchema(s)
	r.readDestination(s, p)
	r.readDeadLetter(s, p.DeadLetterDestination)
	if p.Filter != nil {
		s.Filter = r.filter("properties.filter", p.Filter)
	}
	r.readRetry(s, p)
	return s
}

func isEventSubscriptionName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return len(name) >= 3 && len(name) <= 64 && strings.Trim(strings.ToLower(name), letters) == ""
}

func (r *eventReader) readSchema(s *eventing.Subscription) {
	for _, known := range []eventing.Schema{eventing.EventGridSchema, eventing.CloudEvents10} {
		if strings.EqualFold(string(s.Schema), string(known)) {
			s.Schema = known
			return
		}
	}
	switch s.Schema {
	case "":
		s.Schema = eventing.EventGridSchema
	case "CustomInputSchema":
		r.fault("properties.eventDeliverySchema", "CustomInputSchema is for custom topics; the events of a registry are delivered as EventGridSchema or CloudEventSchemaV1_0.")
	default:
		r.fault("properties.eventDeliverySchema", "'%s' is not one of EventGridSchema, CloudEventSchemaV1_0.", s.Schema)
	}
}

func (r *eventReader) readRetry(s *eventing.Subscription, p *EventSubscriptionProperties) {
	if retry := p.RetryPolicy; retry != nil {
		s.Retry = eventing.Retry{
			MaxAttempts: r.within("properties.retryPolicy.maxDeliveryAttempts", retry.MaxDeliveryAttempts, maxAttempts),
			TTL:         time.Duration(r.within("properties.retryPolicy.eventTimeToLiveInMinutes", retry.EventTimeToLiveInMinutes, maxTTLMinutes)) * time.Minute,
		}
	}
	if p.ExpirationTimeUTC != "" {
		t, err := time.Parse(time.RFC3339, p.ExpirationTimeUTC)
		switch {
		case err != nil:
			r.fault("properties.expirationTimeUtc", "'%s' is not a time such as 2030-01-31T12:00:00Z.", p.ExpirationTimeUTC)
		case !t.After(time.Now()):
			r.fault("properties.expirationTimeUtc", "'%s' is over.", p.ExpirationTimeUTC)
		}
		s.Expires = t.UTC()
	}
	r.within("properties.inFlight", p.InFlight, 100)
	for _, status := range slices.Sorted(maps.Keys(p.Statuses)) {
		r.readStatus(s, status, p.Statuses[status])
	}
}

// within wants a number from 1 to most; 0 is the default.
func (r *eventReader) within(target string, n, most int) int {
	if n < 0 || n > most {
		r.fault(target, "%d is not between 1 and %d.", n, most)
	}
	return n
}

func (r *eventReader) readStatus(s *eventing.Subscription, status string, answer eventing.Answer) {
	target := "properties.statuses." + status
	n, err := strconv.Atoi(status)
	if err != nil || n < 200 || n > 599 {
		r.fault(target, "'%s' is not an HTTP status from 200 to 599.", status)
	}
	if answers := []eventing.Answer{eventing.AnswerDelivered, eventing.AnswerRetry, eventing.AnswerDead}; !slices.Contains(answers, answer) {
		r.fault(target, "'%s' is not one of delivered, retry, dead.", answer)
	}
	if s.Statuses == nil {
		s.Statuses = map[int]eventing.Answer{}
	}
	s.Statuses[n] = answer
}

// The types of destinations. Dead letters go to what is not asked first.
var (
	eventDestinations = []eventing.DestinationType{
		eventing.ToWebHook, eventing.ToAzureFunction, eventing.ToStorageQueue, eventing.ToServiceBusQueue, eventing.ToServiceBusTopic,
		eventing.ToEventHub, eventing.ToAMQP, eventing.ToNATS, eventing.ToKafka, eventing.ToTask,
	}
	deadLetterDestinations = []eventing.DestinationType{
		eventing.ToStorageBlob, eventing.ToFolder, eventing.ToStorageQueue, eventing.ToServiceBusQueue, eventing.ToServiceBusTopic,
		eventing.ToEventHub, eventing.ToAMQP, eventing.ToNATS, eventing.ToKafka,
	}
)

// readDestination wants one. A WebHook's address, and values of attributes,
// that a client has read and so could not see, stay.
func (r *eventReader) readDestination(s *eventing.Subscription, p *EventSubscriptionProperties) {
	if p.Destination == nil {
		r.fault("properties.destination", "A destination is missing.")
		return
	}
	var old *eventing.Destination
	if r.old != nil {
		old = &r.old.Destination
	}
	s.Destination = r.destination("properties.destination", p.Destination, old, eventDestinations)
}

func (r *eventReader) readDeadLetter(s *eventing.Subscription, p *EventDestination) {
	if p == nil {
		return
	}
	var old *eventing.Destination
	if r.old != nil {
		old = r.old.DeadLetter
	}
	d := r.destination("properties.deadLetterDestination", p, old, deadLetterDestinations)
	s.DeadLetter = &d
}

func (r *eventReader) destination(at string, p *EventDestination, old *eventing.Destination, known []eventing.DestinationType) eventing.Destination {
	i := slices.IndexFunc(known, func(t eventing.DestinationType) bool { return strings.EqualFold(string(t), string(p.EndpointType)) })
	if i < 0 {
		r.fault(at+".endpointType", "'%s' is not one of %s.", p.EndpointType, wordList(known))
		return eventing.Destination{}
	}
	q := &p.Properties
	d := eventing.Destination{
		Type: known[i], URL: q.EndpointURL, ResourceID: joinResource(known[i], q), Secret: q.Secret, CA: q.CA, Insecure: q.Insecure, Trusted: q.Trusted,
		MaxEvents: q.MaxEvents, PreferredKB: q.PreferredKB,
	}
	if q.Sign != nil {
		d.Sign = eventing.Signing{Standard: q.Sign.Standard, Hub: q.Sign.Hub}
	}
	if old != nil && old.Type != d.Type {
		old = nil
	}
	if d.URL == "" && q.EndpointBaseURL != "" && old != nil && baseURL(old.URL) == q.EndpointBaseURL {
		d.URL = old.URL
	}
	at += ".properties"
	d.Trusted = d.Trusted || d.Type == eventing.ToFolder
	if d.Type == eventing.ToTask {
		r.checkTask(at, &d)
	} else {
		r.checkPlace(at, &d)
	}
	r.within(at+".maxEventsPerBatch", d.MaxEvents, 5000)
	r.within(at+".preferredBatchSizeInKilobytes", d.PreferredKB, 1024)
	d.Attributes = r.attributes(at+".deliveryAttributeMappings", q.Attributes, old)
	r.checkBrokerNames(at+".deliveryAttributeMappings", &d)
	if q.QueueTTL != nil {
		d.MessageTTL = r.messageTTL(at, *q.QueueTTL)
	}
	if d.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(d.CA)) {
		r.fault(at+".ca", "There is no certificate in it: it is a bundle in PEM.")
	}
	return d
}

// checkTask wants a task of this daemon, by its resource id or as task:NAME.
func (r *eventReader) checkTask(at string, d *eventing.Destination) {
	name, ok := strings.CutPrefix(d.URL, taskScheme)
	if d.ResourceID != "" {
		name, ok = d.ResourceID[strings.LastIndexByte(d.ResourceID, '/')+1:], true
	}
	if !ok || name == "" {
		r.fault(at+".resourceId", "It is missing: the resource id of a task, which ends in /tasks/NAME.")
		return
	}
	d.URL = taskScheme + name
	if err := r.task(name); err != nil {
		r.fault(at+".resourceId", "There is no task '%s'.", name)
	}
}

// taskScheme is what the address of a task begins with.
const taskScheme = "task:"

func wordList[T ~string](all []T) string {
	var words []string
	for _, w := range all {
		words = append(words, string(w))
	}
	return strings.Join(words, ", ")
}

func (r *eventReader) messageTTL(at string, seconds int64) time.Duration {
	if seconds == -1 {
		return -1
	}
	if seconds < 1 || seconds > int64(100*365*24*time.Hour/time.Second) {
		r.fault(at+".queueMessageTimeToLiveInSeconds", "%d is not a positive number of seconds, and not -1, which is for ever.", seconds)
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// checkPlace wants an address that there may be, or Azure's name of it.
func (r *eventReader) checkPlace(at string, d *eventing.Destination) {
	if d.URL == "" {
		r.checkResource(at, d)
		return
	}
	at += ".endpointUrl"
	u, err := url.Parse(d.URL)
	if err != nil { // whose text quotes what may be secret
		r.fault(at, "It is not a URL.")
		return
	}
	secure, plain := eventing.Schemes(d.Type)
	switch {
	case len(d.URL) > 4096:
		r.fault(at, "It is longer than 4096 bytes.")
	case isHTTP(d.Type) && slices.Contains(plain, u.Scheme) && !d.Insecure:
		r.fault(at, "It is not encrypted: give an https address, or say insecure.")
	case !slices.Contains(slices.Concat(secure, plain), u.Scheme):
		r.fault(at, "An address of a %s begins with %s://.", d.Type, strings.Join(slices.Concat(secure, plain), ":// or "))
	case d.Type == eventing.ToFolder:
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			r.fault(at, "A folder is written as file:///its/path.")
		}
	case u.Hostname() == "":
		r.fault(at, "It names no host.")
	case u.User != nil:
		r.fault(at, "It must not have a user and password: keep them with 'acrd secret set', and give the secret's name.")
	case u.Fragment != "":
		r.fault(at, "It must not have a fragment.")
	}
}

func (r *eventReader) checkResource(at string, d *eventing.Destination) {
	switch {
	case d.Type == eventing.ToAzureFunction:
		r.fault(at+".endpointUrl", "It is missing: there is no Azure here to look a function's address up in. Give the URL of the function, with its code.")
	case d.ResourceID == "":
		r.fault(at+".endpointUrl", "It is missing.")
	default:
		if _, err := eventing.ResourceURL(*d); err != nil {
			r.fault(at+".resourceId", "It does not say where the destination is: %v.", err)
		}
	}
}

// joinResource is the id of a queue or container in the account that is named.
func joinResource(t eventing.DestinationType, p *EventDestinationProperties) string {
	switch {
	case t == eventing.ToStorageQueue && p.QueueName != "":
		return p.ResourceID + queueServices + p.QueueName
	case t == eventing.ToStorageBlob && p.Container != "":
		return p.ResourceID + blobServices + p.Container
	}
	return p.ResourceID
}

const (
	queueServices = "/queueServices/default/queues/"
	blobServices  = "/blobServices/default/containers/"
)

// splitResource undoes joinResource.
func splitResource(d *eventing.Destination) (id, queue, container string) {
	id = d.ResourceID
	switch d.Type {
	case eventing.ToStorageQueue:
		id, queue, _ = strings.Cut(id, queueServices)
	case eventing.ToStorageBlob:
		id, container, _ = strings.Cut(id, blobServices)
	}
	return id, queue, container
}
