package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"acrd/eventing"

	"github.com/spf13/pflag"
)

// eventForm are the flags that say what an event subscription is: those of az
// eventgrid event-subscription create and update, and our own.
type eventForm struct {
	deliveryForm

	name, endpoint, endpointType     string
	types                            wordList
	subjectBegins, subjectEnds       string
	caseSensitive, arrays            bool
	advanced                         wordGroups
	schema                           string
	expires                          string
	labels                           wordList
	maxEvents, preferredKB, queueTTL int
	deadLetter                       string
	attributes                       wordGroups
	secret, deadLetterSecret         string
	statuses                         wordList
	ordered                          bool
	inFlight                         int
}

func (f *eventForm) define(fs *pflag.FlagSet) {
	fs.StringVarP(&f.name, "name", "n", "", "name of the event subscription: 3 to 64 letters, digits and -")
	fs.StringVar(&f.endpoint, "endpoint", "", "where events go: a URL, Azure's resource id, or the name of a task; @FILE reads it from a file")
	fs.StringVar(&f.endpointType, "endpoint-type", "", "webhook, azurefunction, storagequeue, servicebusqueue, servicebustopic, eventhub; ours: amqp, nats, kafka, task (default: what the endpoint looks like)")
	fs.Var(&f.types, "included-event-types", "types of events; All is the four of the registry, as if it is not given")
	fs.StringVar(&f.subjectBegins, "subject-begins-with", "", "what the subject begins with, such as team/app:")
	fs.StringVar(&f.subjectEnds, "subject-ends-with", "", "what the subject ends with, such as :latest")
	fs.BoolVar(&f.caseSensitive, "subject-case-sensitive", false, "tell the case of letters in the subject")
	fs.Var(&f.advanced, "advanced-filter", "KEY OPERATOR VALUE ...: data.target.tag StringBeginsWith v1 v2 (repeat; all must hold)")
	fs.BoolVar(&f.arrays, "enable-advanced-filtering-on-arrays", false, "let advanced filters look into arrays")
	fs.StringVar(&f.schema, "event-delivery-schema", "", "eventgridschema or cloudeventschemav1_0 (default eventgridschema)")
	fs.StringVar(&f.expires, "expiration-date", "", "when the event subscription ends, such as 2030-01-31T12:00:00Z or 2030-01-31")
	fs.Var(&f.labels, "labels", "labels")
	fs.IntVar(&f.maxEvents, "max-events-per-batch", 1, "events in one request, 1 to 5000")
	fs.IntVar(&f.preferredKB, "preferred-batch-size-in-kilobytes", 64, "size of a batch, 1 to 1024")
	fs.StringVar(&f.deadLetter, "deadletter-endpoint", "", "where what cannot be delivered goes: file:///FOLDER, a URL, or the resource id of a container")
	fs.Var(&f.attributes, "delivery-attribute-mapping", "NAME static VALUE [true if it is secret], or NAME dynamic data.PATH (repeat); VALUE may be @FILE")
	fs.IntVar(&f.queueTTL, "storage-queue-msg-ttl", 0, "seconds that a storage queue keeps a message; -1 is for ever")
	fs.StringVar(&f.secret, "secret", "", "secret of the daemon that holds the credential of the endpoint")
	fs.StringVar(&f.deadLetterSecret, "deadletter-secret", "", "the same of where dead letters go")
	f.deliveryForm.define(fs)
	fs.BoolVar(&f.ordered, "ordered", false, "let an event that cannot be delivered hold up later ones of the same repository or task")
	fs.IntVar(&f.inFlight, "in-flight", eventing.DefaultInFlight, "deliveries at a time")
	fs.Var(&f.statuses, "on-status", "what is done about an HTTP status: 403=retry 410=dead 302=delivered")
	sourceFlag(fs)
	shortened(fs)
}

// shortened lets az's short forms of flags be used.
func shortened(fs *pflag.FlagSet) {
	long := map[string]pflag.NormalizedName{
		"enable-af-arr": "enable-advanced-filtering-on-arrays", "qttl": "storage-queue-msg-ttl",
		"include-attrib-secret": "include-static-delivery-attribute-secret", "full-ed-url": "include-full-endpoint-url",
	}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return cmp.Or(long[name], pflag.NormalizedName(name))
	})
}

// properties are those that were given.
func (f *eventForm) properties() (body, error) {
	p := body{}
	for flag, set := range map[string]func() (string, any){
		"event-delivery-schema": func() (string, any) { return "eventDeliverySchema", f.schema },
		"labels":                func() (string, any) { return "labels", append([]string{}, f.labels...) },
		"ordered":               func() (string, any) { return "ordered", f.ordered },
		"in-flight":             func() (string, any) { return "inFlight", f.inFlight },
		"on-status":             func() (string, any) { return "statuses", pairs(f.statuses) },
		"expiration-date":       func() (string, any) { return "expirationTimeUtc", expirationDate(f.expires) },
	} {
		if f.fs.Changed(flag) {
			name, value := set()
			p[name] = value
		}
	}
	if err := f.addFilter(p); err != nil {
		return nil, err
	}
	f.addRetry(p)
	if err := f.addDestination(p); err != nil {
		return nil, err
	}
	return p, f.addDeadLetter(p)
}

// expirationDate lets the time of the day be left out, as az does; nothing is
// never.
func expirationDate(text string) any {
	if text == "" {
		return nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.Format(time.RFC3339)
	}
	if at, err := time.Parse("2006-01-02T15:04:05", text); err == nil {
		return at.Format(time.RFC3339)
	}
	return text
}

func (f *eventForm) addFilter(p body) error {
	filter := body{}
	for flag, set := range map[string]func(){
		"included-event-types":                func() { filter["includedEventTypes"] = append([]string{}, f.types...) },
		"subject-begins-with":                 func() { filter["subjectBeginsWith"] = f.subjectBegins },
		"subject-ends-with":                   func() { filter["subjectEndsWith"] = f.subjectEnds },
		"subject-case-sensitive":              func() { filter["isSubjectCaseSensitive"] = f.caseSensitive },
		"enable-advanced-filtering-on-arrays": func() { filter["enableAdvancedFilteringOnArrays"] = f.arrays },
	} {
		if f.fs.Changed(flag) {
			set()
		}
	}
	if f.fs.Changed("advanced-filter") {
		all := []body{}
		for _, words := range f.advanced {
			one, err := advancedFilter(words)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		filter["advancedFilters"] = all
	}
	if len(filter) > 0 {
		p["filter"] = filter
	}
	return nil
}

func (f *eventForm) addDestination(p body) error {
	properties, destination := body{}, body{}
	if f.fs.Changed("endpoint") {
		endpoint, err := fromFile(f.endpoint)
		if err != nil {
			return err
		}
		kind := f.endpointType
		if kind == "" {
			kind = string(endpointType(endpoint))
		}
		destination["endpointType"] = kind
		properties = endpointProperties(kind, endpoint)
	} else if f.fs.Changed("endpoint-type") {
		destination["endpointType"] = f.endpointType
	}
	for flag, set := range map[string]func() (string, any){
		"max-events-per-batch":              func() (string, any) { return "maxEventsPerBatch", f.maxEvents },
		"preferred-batch-size-in-kilobytes": func() (string, any) { return "preferredBatchSizeInKilobytes", f.preferredKB },
		"storage-queue-msg-ttl":             func() (string, any) { return "queueMessageTimeToLiveInSeconds", f.queueTTL },
		"secret":                            func() (string, any) { return "secret", f.secret },
	} {
		if f.fs.Changed(flag) {
			name, value := set()
			properties[name] = value
		}
	}
	if err := errors.Join(f.addTrust(properties), f.addAttributes(properties)); err != nil {
		return err
	}
	if len(properties) > 0 {
		destination["properties"] = properties
	}
	if len(destination) > 0 {
		p["destination"] = destination
	}
	return nil
}

// addAttributes adds what is sent beside events.
func (f *eventForm) addAttributes(properties body) error {
	if f.fs.Changed("delivery-attribute-mapping") {
		all := []body{}
		for _, words := range f.attributes {
			one, err := attributeMapping(words)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		properties["deliveryAttributeMappings"] = all
	}
	return nil
}

// addDeadLetter takes away where dead letters go if it is given as nothing.
func (f *eventForm) addDeadLetter(p body) error {
	switch {
	case f.fs.Changed("deadletter-endpoint") && f.deadLetter == "":
		p["deadLetterDestination"] = nil
		return nil
	case f.deadLetter != "":
		endpoint, err := fromFile(f.deadLetter)
		if err != nil {
			return err
		}
		kind := endpointType(endpoint)
		if kind == eventing.ToWebHook { // which dead letters cannot go to
			kind = eventing.ToStorageBlob
		}
		properties := endpointProperties(string(kind), endpoint)
		if f.insecure && slices.Contains([]eventing.DestinationType{eventing.ToStorageBlob}, kind) {
			properties["insecure"] = strings.HasPrefix(endpoint, "http:")
		}
		if f.trusted {
			properties["trusted"] = true
		}
		p["deadLetterDestination"] = body{"endpointType": kind, "properties": properties}
	}
	if f.deadLetterSecret != "" {
		d, ok := p["deadLetterDestination"].(body)
		if !ok {
			d = body{"properties": body{}}
			p["deadLetterDestination"] = d
		}
		d["properties"].(body)["secret"] = f.deadLetterSecret
	}
	return nil
}
