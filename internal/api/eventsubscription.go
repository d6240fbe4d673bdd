package api

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"acrd/eventing"
)

// An EventSubscription is Event Grid's resource of one, without what
// getFullUrl and getDeliveryAttributes alone tell.
type EventSubscription struct {
	ID         string                      `json:"id"`
	Name       string                      `json:"name"`
	Type       string                      `json:"type"`
	SystemData systemData                  `json:"systemData"`
	Properties EventSubscriptionProperties `json:"properties"`
}

// EventSubscriptionProperties are what a subscription is. Those behind the
// empty line are not Event Grid's.
type EventSubscriptionProperties struct {
	Topic                 string            `json:"topic,omitempty"`
	ProvisioningState     eventing.State    `json:"provisioningState,omitempty"`
	Labels                []string          `json:"labels"`
	Destination           *EventDestination `json:"destination"`
	Filter                *EventFilter      `json:"filter"`
	EventDeliverySchema   eventing.Schema   `json:"eventDeliverySchema"`
	RetryPolicy           *EventRetryPolicy `json:"retryPolicy"`
	ExpirationTimeUTC     string            `json:"expirationTimeUtc,omitempty"`
	DeadLetterDestination *EventDestination `json:"deadLetterDestination,omitempty"`

	Ordered  bool                       `json:"ordered,omitempty"`
	InFlight int                        `json:"inFlight,omitempty"`
	Statuses map[string]eventing.Answer `json:"statuses,omitempty"`
	// Rate and Why are told only.
	Rate int    `json:"allowedRatePerMinute,omitempty"`
	Why  string `json:"why,omitempty"`
}

// An EventDestination is where events go.
type EventDestination struct {
	EndpointType eventing.DestinationType   `json:"endpointType"`
	Properties   EventDestinationProperties `json:"properties"`
}

// EventDestinationProperties are those of all types of destinations together.
// Those behind the empty line are not Event Grid's, and nor is endpointUrl of
// what is no WebHook.
type EventDestinationProperties struct {
	// EndpointURL is taken, and told by getFullUrl alone.
	EndpointURL     string              `json:"endpointUrl,omitempty"`
	EndpointBaseURL string              `json:"endpointBaseUrl,omitempty"`
	ResourceID      string              `json:"resourceId,omitempty"`
	QueueName       string              `json:"queueName,omitempty"`
	QueueTTL        *int64              `json:"queueMessageTimeToLiveInSeconds,omitempty"`
	Container       string              `json:"blobContainerName,omitempty"`
	MaxEvents       int                 `json:"maxEventsPerBatch,omitempty"`
	PreferredKB     int                 `json:"preferredBatchSizeInKilobytes,omitempty"`
	Attributes      []DeliveryAttribute `json:"deliveryAttributeMappings,omitempty"`

	Secret   string        `json:"secret,omitempty"`
	Sign     *EventSigning `json:"sign,omitempty"`
	CA       string        `json:"ca,omitempty"`
	Insecure bool          `json:"insecure,omitempty"`
	Trusted  bool          `json:"trusted,omitempty"`
}

// EventSigning names the secrets that deliveries are signed with.
type EventSigning struct {
	Standard []string `json:"standard,omitempty"`
	Hub      string   `json:"hub,omitempty"`
}

// A DeliveryAttribute is sent with each delivery.
type DeliveryAttribute struct {
	Name       string                      `json:"name"`
	Type       string                      `json:"type"` // Static or Dynamic
	Properties DeliveryAttributeProperties `json:"properties"`
}

// DeliveryAttributeProperties say what an attribute's value is.
type DeliveryAttributeProperties struct {
	Value       *string `json:"value,omitempty"`
	IsSecret    bool    `json:"isSecret,omitempty"`
	SourceField string  `json:"sourceField,omitempty"`
}

// The types of attributes.
const (
	StaticAttribute  = "Static"
	DynamicAttribute = "Dynamic"
)

// An EventFilter says which events are wanted.
type EventFilter struct {
	SubjectBeginsWith      string           `json:"subjectBeginsWith"`
	SubjectEndsWith        string           `json:"subjectEndsWith"`
	IncludedEventTypes     []string         `json:"includedEventTypes"`
	IsSubjectCaseSensitive bool             `json:"isSubjectCaseSensitive"`
	FilterArrays           bool             `json:"enableAdvancedFilteringOnArrays"`
	AdvancedFilters        []AdvancedFilter `json:"advancedFilters,omitempty"`
}

// An AdvancedFilter has a value or values, as its operator says.
type AdvancedFilter struct {
	OperatorType string `json:"operatorType"`
	Key          string `json:"key"`
	Value        any    `json:"value,omitempty"`
	Values       []any  `json:"values,omitempty"`
}

// An EventRetryPolicy says how long a delivery is tried.
type EventRetryPolicy struct {
	MaxDeliveryAttempts      int `json:"maxDeliveryAttempts"`
	EventTimeToLiveInMinutes int `json:"eventTimeToLiveInMinutes"`
}

// Event Grid's defaults, which are its limits too.
const (
	maxAttempts   = 30
	maxTTLMinutes = 24 * 60
	defaultBatch  = 1
	defaultKB     = 64
)

// isHTTP says that a destination gets requests, and is asked first.
func isHTTP(t eventing.DestinationType) bool {
	return t == eventing.ToWebHook || t == eventing.ToAzureFunction
}

// newEventSubscription is the resource of s below base.
func newEventSubscription(base string, s *eventing.Subscription) *EventSubscription {
	p := eventProperties(s, false)
	p.Topic, p.ProvisioningState, p.Rate, p.Why = base, s.Settled(time.Now()), s.Rate, s.Why
	if p.ProvisioningState == eventing.Failed && s.State == eventing.AwaitingManualAction {
		p.Why = "nobody has ended the handshake within 5 minutes"
	}
	return &EventSubscription{
		ID: base + eventSubscriptionsPath + "/" + s.Name, Name: s.Name, Type: "Microsoft.EventGrid/eventSubscriptions",
		SystemData: systemData{moment(s.Created), moment(s.Updated)}, Properties: p,
	}
}

// eventProperties are what s is: to be shown, or with its secrets, to be
// changed.
func eventProperties(s *eventing.Subscription, secrets bool) EventSubscriptionProperties {
	p := EventSubscriptionProperties{
		Labels: append([]string{}, s.Labels...), Destination: newEventDestination(&s.Destination, secrets), Filter: newEventFilter(&s.Filter),
		EventDeliverySchema: s.Schema, RetryPolicy: &EventRetryPolicy{maxAttempts, maxTTLMinutes}, Ordered: s.Ordered, InFlight: s.InFlight,
	}
	if s.Retry.MaxAttempts > 0 {
		p.RetryPolicy.MaxDeliveryAttempts = s.Retry.MaxAttempts
	}
	if s.Retry.TTL > 0 {
		p.RetryPolicy.EventTimeToLiveInMinutes = int(s.Retry.TTL / time.Minute)
	}
	if !s.Expires.IsZero() {
		p.ExpirationTimeUTC = s.Expires.UTC().Format(time.RFC3339Nano)
	}
	if s.DeadLetter != nil {
		p.DeadLetterDestination = newEventDestination(s.DeadLetter, secrets)
	}
	for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
		if p.Statuses == nil {
			p.Statuses = map[string]eventing.Answer{}
		}
		p.Statuses[strconv.Itoa(status)] = s.Statuses[status]
	}
	return p
}

func newEventDestination(d *eventing.Destination, secrets bool) *EventDestination {
	p := EventDestinationProperties{
		ResourceID: d.ResourceID, MaxEvents: d.MaxEvents, PreferredKB: d.PreferredKB, Attributes: newDeliveryAttributes(d.Attributes, secrets),
		Secret: d.Secret, CA: d.CA, Insecure: d.Insecure, Trusted: d.Trusted,
	}
	p.ResourceID, p.QueueName, p.Container = splitResource(d)
	if secrets {
		p.EndpointURL = d.URL
	} else {
		p.EndpointBaseURL = baseURL(d.URL)
		if isHTTP(d.Type) {
			p.MaxEvents, p.PreferredKB = max(d.MaxEvents, defaultBatch), orNumber(d.PreferredKB, defaultKB)
		}
	}
	if d.MessageTTL != 0 {
		seconds := int64(d.MessageTTL / time.Second)
		if d.MessageTTL < 0 {
			seconds = -1
		}
		p.QueueTTL = &seconds
	}
	if d.Sign.Hub != "" || len(d.Sign.Standard) > 0 {
		p.Sign = &EventSigning{d.Sign.Standard, d.Sign.Hub}
	}
	return &EventDestination{d.Type, p}
}

func orNumber(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// baseURL is what of an address is no secret.
func baseURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func newDeliveryAttributes(all []eventing.Attribute, secrets bool) []DeliveryAttribute {
	var told []DeliveryAttribute
	for _, a := range all {
		d := DeliveryAttribute{Name: a.Name, Type: StaticAttribute}
		switch {
		case a.Field != "":
			d.Type, d.Properties.SourceField = DynamicAttribute, a.Field
		case !a.Secret || secrets:
			d.Properties.Value = &a.Value
		}
		d.Properties.IsSecret = a.Secret
		told = append(told, d)
	}
	return told
}

func newEventFilter(f *eventing.Filter) *EventFilter {
	told := &EventFilter{
		SubjectBeginsWith: f.SubjectBegins, SubjectEndsWith: f.SubjectEnds, IsSubjectCaseSensitive: f.CaseSensitive,
		FilterArrays: f.Arrays, IncludedEventTypes: f.Types,
	}
	if len(f.Types) == 0 {
		told.IncludedEventTypes = []string{eventing.ImagePushed, eventing.ImageDeleted, eventing.ChartPushed, eventing.ChartDeleted}
	}
	for _, c := range f.Advanced {
		a := AdvancedFilter{OperatorType: c.Operator, Key: c.Key, Values: c.Values}
		if op, ok := eventing.FindOperator(c.Operator); ok && op.Single && len(c.Values) == 1 {
			a.Value, a.Values = c.Values[0], nil
		}
		told.AdvancedFilters = append(told.AdvancedFilters, a)
	}
	return told
}
