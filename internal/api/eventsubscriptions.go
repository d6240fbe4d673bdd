package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

const (
	eventSubscriptionsPath = "/providers/Microsoft.EventGrid/eventSubscriptions"
	// maxEventSubscriptions is Event Grid's limit for a topic.
	maxEventSubscriptions = 500
)

func (s *Server) eventSubscriptionRoutes() []route {
	const all, one = root + eventSubscriptionsPath, root + eventSubscriptionsPath + "/{eventSubscription}"
	return []route{
		{"GET", all, s.listEventSubscriptions},
		{"GET", one, s.showEventSubscription},
		{"PUT", one, s.createEventSubscription},
		{"PATCH", one, s.updateEventSubscription},
		{"DELETE", one, s.deleteEventSubscription},
		{"POST", one + "/getFullUrl", s.showFullURL},
		{"POST", one + "/getDeliveryAttributes", s.showDeliveryAttributes},
		// What follows is not Azure's.
		{"POST", one + "/listEvents", s.listDeliveries},
		{"POST", one + "/redeliver", s.redeliverEvents},
	}
}

// eventSubscription is the one that a request is about.
func (s *Server) eventSubscription(r *http.Request) (*eventing.Subscription, error) {
	return s.Subscriptions.Subscription(r.Context(), eventing.EventSubscription, r.PathValue("eventSubscription"))
}

func (s *Server) listEventSubscriptions(w http.ResponseWriter, r *http.Request) error {
	c, err := readCursor(r.URL.Query())
	if err != nil {
		return err
	}
	wanted, err := parseNameFilter(r.URL.Query().Get("$filter"))
	if err != nil {
		return runner.Faults{{Code: "InvalidParameter", Target: "$filter", Message: fmt.Sprintf("The filter cannot be understood: %v.", err)}}
	}
	all, err := s.Subscriptions.Subscriptions(r.Context(), eventing.EventSubscription)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(e eventing.Subscription) bool { return !wanted(e.Name) })
	p := page[*EventSubscription]{Value: []*EventSubscription{}}
	all, next, more := c.cut(all)
	for i := range all {
		p.Value = append(p.Value, newEventSubscription(rootOf(r), &all[i]))
	}
	if more {
		p.NextLink = nextLink(r, s.address(r), next)
	}
	return reply(w, http.StatusOK, p)
}

// parseNameFilter reads a $filter on names, all that Event Grid lets one filter
// subscriptions by.
func parseNameFilter(text string) (func(name string) bool, error) {
	if strings.TrimSpace(text) == "" {
		return func(string) bool { return true }, nil
	}
	words, err := filterWords(text)
	if err != nil {
		return nil, err
	}
	for i, w := range words {
		switch {
		case strings.EqualFold(w, "name"):
			words[i] = "taskName" // a name is what tasks have too
		case filterFields[strings.ToLower(w)] != nil:
			return nil, fmt.Errorf("there is no field '%s' to filter by", w)
		}
	}
	p := &filterParser{words: words}
	f, err := p.or(0)
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("'%s' is not expected here", p.words[0])
	}
	return func(name string) bool { return f.match(&runner.Run{Request: runner.Request{Task: name}}) }, err
}

func (s *Server) showEventSubscription(w http.ResponseWriter, r *http.Request) error {
	e, err := s.eventSubscription(r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newEventSubscription(rootOf(r), e))
}

// A FullURL is the address of a subscription with what is secret in it.
type FullURL struct {
	EndpointURL string `json:"endpointUrl"`
	// ValidationURL ends a handshake that awaits it; it is not Event Grid's.
	ValidationURL string `json:"validationUrl,omitempty"`
}

func (s *Server) showFullURL(w http.ResponseWriter, r *http.Request) error {
	e, err := s.eventSubscription(r)
	if err != nil {
		return err
	}
	u := FullURL{EndpointURL: e.Destination.URL}
	if e.Settled(time.Now()) == eventing.AwaitingManualAction {
		u.ValidationURL = e.Validation.URL
	}
	w.Header().Set("Cache-Control", "no-store")
	return reply(w, http.StatusOK, u)
}

func (s *Server) showDeliveryAttributes(w http.ResponseWriter, r *http.Request) error {
	e, err := s.eventSubscription(r)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return reply(w, http.StatusOK, page[DeliveryAttribute]{Value: append([]DeliveryAttribute{}, newDeliveryAttributes(e.Destination.Attributes, true)...)})
}

// createEventSubscription replaces the whole subscription.
func (s *Server) createEventSubscription(w http.ResponseWriter, r *http.Request) error {
	var body map[string]any
	if err := read(w, r, &body); err != nil {
		return err
	}
	return s.saveEventSubscription(w, r, func(*eventing.Subscription) (map[string]any, error) { return body, nil })
}

// updateEventSubscription merges the body into the subscription: what it does
// not name stays, null takes away, lists are replaced. Event Grid has the
// properties of an update at its top.
func (s *Server) updateEventSubscription(w http.ResponseWriter, r *http.Request) error {
	var patch map[string]any
	if err := read(w, r, &patch); err != nil {
		return err
	}
	if inner, ok := patch["properties"].(map[string]any); ok {
		delete(patch, "properties")
		maps.Copy(patch, inner)
	}
	return s.saveEventSubscription(w, r, func(old *eventing.Subscription) (map[string]any, error) {
		if old == nil {
			return nil, fmt.Errorf("event subscription %s: %w", r.PathValue("eventSubscription"), eventing.ErrNotFound)
		}
		return patchedEventSubscription(old, patch)
	})
}

// patchedEventSubscription is the body of a PUT that does what a patch says. A
// destination of another type replaces the whole.
func patchedEventSubscription(old *eventing.Subscription, patch map[string]any) (map[string]any, error) {
	b, err := json.Marshal(eventProperties(old, true))
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	for _, key := range []string{"destination", "deadLetterDestination"} {
		now, ok := at(patch, key, "endpointType").(string)
		if was, _ := at(doc, key, "endpointType").(string); ok && !strings.EqualFold(now, was) {
			delete(doc, key)
		}
	}
	merge(doc, patch)
	return map[string]any{"properties": doc}, nil
}

// refusedProperties are Azure's, and there is nothing here that they could
// mean.
var refusedProperties = []string{
	"deliveryWithResourceIdentity", "deadLetterWithResourceIdentity",
	"destination/properties/azureActiveDirectoryTenantId", "destination/properties/azureActiveDirectoryApplicationIdOrUri",
}

// readEventProperties is what a body says.
func readEventProperties(body map[string]any) (*EventSubscriptionProperties, runner.Faults, error) {
	doc, _ := body["properties"].(map[string]any)
	var faults runner.Faults
	for _, path := range refusedProperties {
		if at(doc, strings.Split(path, "/")...) != nil {
			faults = append(faults, runner.Fault{
				Code: "NotSupported", Target: "properties." + strings.ReplaceAll(path, "/", "."),
				Message: "There are no identities of Azure here: name a secret of the daemon in destination.properties.secret.",
			})
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, nil, err
	}
	p := new(EventSubscriptionProperties)
	return p, faults, badBody(json.Unmarshal(b, p))
}

// saveEventSubscription saves what body makes of the old one, which is nil if
// there is none. The receiver is asked before: until it has agreed, what there
// was stays.
func (s *Server) saveEventSubscription(w http.ResponseWriter, r *http.Request, body func(old *eventing.Subscription) (map[string]any, error)) error {
	old, err := s.eventSubscription(r)
	if err != nil && !errors.Is(err, eventing.ErrNotFound) {
		return err
	}
	doc, err := body(old)
	if err != nil {
		return err
	}
	p, faults, err := readEventProperties(doc)
	if err != nil {
		return err
	}
	reader := &eventReader{old: old, faults: faults, task: func(name string) error {
		_, err := s.Tasks.Task(r.Context(), name)
		return err
	}}
	now := reader.subscription(r.PathValue("eventSubscription"), p)
	if len(reader.faults) > 0 {
		return reader.faults
	}
	if err := s.mayHave(r, now, old); err != nil {
		return err
	}
	save := func() error { return s.replace(r.Context(), old, now) }
	if s.Handshake == nil || !asksAgain(now, old) {
		now.State = keptState(old)
		err = save()
	} else {
		err = s.Handshake.Validate(r.Context(), now, eventing.Place{Topic: s.topic(), Base: s.base(r)}, save)
	}
	if err != nil {
		return handshakeFault(err)
	}
	status := http.StatusOK
	if old == nil {
		status = http.StatusCreated
	}
	return reply(w, status, newEventSubscription(rootOf(r), now))
}

// asksAgain says that the receiver must be asked whether it wants events.
func asksAgain(now, old *eventing.Subscription) bool {
	return old == nil || old.State != eventing.Succeeded || now.Schema != old.Schema || !samePlace(&now.Destination, &old.Destination)
}

func samePlace(a, b *eventing.Destination) bool {
	return b != nil && a.Type == b.Type && a.URL == b.URL && a.ResourceID == b.ResourceID
}

func keptState(old *eventing.Subscription) eventing.State {
	if old == nil {
		return eventing.Succeeded
	}
	return old.State
}

// handshakeFault makes the client's fault of an endpoint that did not agree.
func handshakeFault(err error) error {
	if refused, ok := errors.AsType[*eventing.HandshakeError](err); ok {
		return runner.Faults{{
			Code: "UrlValidation", Target: "properties.destination.properties.endpointUrl",
			Message: "Webhook validation handshake failed: " + refused.Err.Error() + ". Nothing was changed.",
		}}
	}
	return err
}

// errChanged says that two have changed the same at once.
var errChanged = errors.New("was changed by somebody else meanwhile: try again")

// replace saves now if the old one is still there.
func (s *Server) replace(ctx context.Context, old, now *eventing.Subscription) error {
	return s.Subscriptions.ChangeSubscription(ctx, eventing.EventSubscription, now.Name, func(is *eventing.Subscription) (*eventing.Subscription, error) {
		if (is == nil) != (old == nil) || is != nil && !is.Updated.Equal(old.Updated) {
			return nil, fmt.Errorf("event subscription %s %w", now.Name, errChanged)
		}
		return now, nil
	})
}

// mayHave says whether there may be one more, and whether who asks may have
// events sent to where others may not.
func (s *Server) mayHave(r *http.Request, now, old *eventing.Subscription) error {
	if old == nil {
		all, err := s.Subscriptions.Subscriptions(r.Context(), eventing.EventSubscription)
		if err != nil {
			return err
		}
		if len(all) >= maxEventSubscriptions {
			return runner.Faults{{Code: "QuotaExceeded", Target: "name", Message: "There are " + strconv.Itoa(maxEventSubscriptions) + " event subscriptions, as many as there may be."}}
		}
		old = &eventing.Subscription{}
	}
	if local(r) {
		return nil
	}
	if !grantable(&now.Destination, &old.Destination) || now.DeadLetter != nil && !grantable(now.DeadLetter, old.DeadLetter) {
		return &forbiddenError{"destinations that are trusted, and folders, are for the owner to name on the daemon's own socket"}
	}
	return nil
}

// topic is what events call the registry.
func (s *Server) topic() string { return cmp.Or(s.ResourceID, ResourceID) }

// local says that a request came over the socket of this machine.
func local(r *http.Request) bool { return r.Context().Value(peerKey{}) != nil && owns(r.Context()) }

// grantable says that a destination needs no more trust than it had.
func grantable(now, old *eventing.Destination) bool {
	return !now.Trusted || samePlace(now, old) && old.Trusted
}

// base is the address of this daemon, as receivers may visit it.
func (s *Server) base(r *http.Request) string {
	if s.Base != "" && local(r) { // who came under no name
		return s.Base
	}
	return scheme(r) + "://" + s.address(r)
}

// deleteEventSubscription removes one, and then tells its receiver, which may
// miss it.
func (s *Server) deleteEventSubscription(w http.ResponseWriter, r *http.Request) error {
	var was *eventing.Subscription
	err := s.Subscriptions.ChangeSubscription(r.Context(), eventing.EventSubscription, r.PathValue("eventSubscription"), func(old *eventing.Subscription) (*eventing.Subscription, error) {
		if was = old; old == nil {
			return nil, eventing.ErrNotFound
		}
		return nil, nil
	})
	if err == nil && s.Handshake != nil {
		if e := s.Handshake.Deleted(r.Context(), was, s.topic()); e != nil && s.Log != nil {
			s.Log.Info("receiver was not told that its subscription is gone", "subscription", was.Name, "err", e)
		}
	}
	return deleted(w, err)
}
