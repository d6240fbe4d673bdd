package api

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/runner"

	"golang.org/x/net/http/httpguts"
)

// A Webhook is the resource of a webhook, without what getCallbackConfig alone
// tells.
type Webhook struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData systemData        `json:"systemData"`
	Properties WebhookProperties `json:"properties"`
}

// WebhookProperties are what a webhook is.
type WebhookProperties struct {
	ProvisioningState eventing.State `json:"provisioningState"`
	Status            string         `json:"status"` // enabled or disabled
	Scope             string         `json:"scope"`
	Actions           []string       `json:"actions"`
	WebhookExtras
	// Why is told only: what is wrong if ProvisioningState is Failed.
	Why string `json:"why,omitempty"`
}

// WebhookExtras are what of a webhook is not Azure's. All but the first mean
// what they do of event subscriptions.
type WebhookExtras struct {
	// TagsOnDelete tells the tags of an image that was deleted.
	TagsOnDelete bool              `json:"tagsOnDelete,omitempty"`
	RetryPolicy  *EventRetryPolicy `json:"retryPolicy,omitempty"`
	Sign         *EventSigning     `json:"sign,omitempty"`
	CA           string            `json:"ca,omitempty"`
	Insecure     bool              `json:"insecure,omitempty"`
	Trusted      bool              `json:"trusted,omitempty"`
}

// A CallbackConfig is what of a webhook is secret.
type CallbackConfig struct {
	ServiceURI    string            `json:"serviceUri"`
	CustomHeaders map[string]string `json:"customHeaders"`
}

// webhookBody is a webhook as clients write it.
type webhookBody struct {
	Location   string                `json:"location"`
	Tags       map[string]string     `json:"tags"`
	Properties webhookBodyProperties `json:"properties"`
}

type webhookBodyProperties struct {
	CallbackConfig
	WebhookExtras
	Status  string   `json:"status"`
	Scope   string   `json:"scope"`
	Actions []string `json:"actions"`
}

const (
	webhookEnabled  = "enabled"
	webhookDisabled = "disabled"
)

func (s *Server) webhookRoutes() []route {
	const hooks, hook = root + "/webhooks", root + "/webhooks/{webhook}"
	return []route{
		{"GET", hooks, s.listWebhooks},
		{"GET", hook, s.showWebhook},
		{"PUT", hook, s.createWebhook},
		{"PATCH", hook, s.updateWebhook},
		{"DELETE", hook, s.deleteWebhook},
		{"POST", hook + "/getCallbackConfig", s.showCallback},
		{"POST", hook + "/ping", s.pingWebhook},
		{"POST", hook + "/listEvents", s.listWebhookEvents},
		{"POST", hook + "/redeliver", s.redeliverWebhook}, // not Azure's
	}
}

func newWebhook(base string, w *eventing.Subscription) *Webhook {
	p := WebhookProperties{ProvisioningState: w.State, Status: webhookEnabled, Scope: w.Hook.Scope, Actions: w.Hook.Actions, WebhookExtras: extras(w), Why: w.Why}
	if w.Hook.Disabled {
		p.Status = webhookDisabled
	}
	tags := w.Hook.Tags
	if tags == nil {
		tags = map[string]string{}
	}
	return &Webhook{
		ID: base + "/webhooks/" + w.Name, Name: w.Name, Type: "Microsoft.ContainerRegistry/registries/webhooks",
		Location: w.Hook.Location, Tags: tags, SystemData: systemData{moment(w.Created), moment(w.Updated)}, Properties: p,
	}
}

func extras(w *eventing.Subscription) WebhookExtras {
	d := &w.Destination
	x := WebhookExtras{TagsOnDelete: w.Hook.TagsOnDelete, CA: d.CA, Insecure: d.Insecure, Trusted: d.Trusted}
	if w.Retry != (eventing.Retry{}) {
		x.RetryPolicy = &EventRetryPolicy{w.Retry.MaxAttempts, int(w.Retry.TTL / time.Minute)}
	}
	if d.Sign.Hub != "" || len(d.Sign.Standard) > 0 {
		x.Sign = &EventSigning{d.Sign.Standard, d.Sign.Hub}
	}
	return x
}

func callback(w *eventing.Subscription) CallbackConfig {
	c := CallbackConfig{w.Destination.URL, map[string]string{}}
	for _, a := range w.Destination.Attributes {
		c.CustomHeaders[a.Name] = a.Value
	}
	return c
}

// written is a webhook as its owner would write it again.
func written(w *eventing.Subscription) webhookBody {
	shown := newWebhook("", w)
	p := shown.Properties
	return webhookBody{shown.Location, shown.Tags, webhookBodyProperties{callback(w), p.WebhookExtras, p.Status, p.Scope, p.Actions}}
}

func (s *Server) webhook(r *http.Request) (*eventing.Subscription, error) {
	return s.Subscriptions.Subscription(r.Context(), eventing.Webhook, r.PathValue("webhook"))
}

func (s *Server) listWebhooks(w http.ResponseWriter, r *http.Request) error {
	c, err := readCursor(r.URL.Query())
	if err != nil {
		return err
	}
	all, err := s.Subscriptions.Subscriptions(r.Context(), eventing.Webhook)
	if err != nil {
		return err
	}
	p := page[*Webhook]{Value: []*Webhook{}}
	all, next, more := c.cut(all)
	for i := range all {
		p.Value = append(p.Value, newWebhook(rootOf(r), &all[i]))
	}
	if more {
		p.NextLink = nextLink(r, s.address(r), next)
	}
	return reply(w, http.StatusOK, p)
}

// cut is the page that begins at c of all subscriptions, which are in the order
// of their names, and where the next one begins, if there is one.
func (c cursor) cut(all []eventing.Subscription) (page []eventing.Subscription, next cursor, more bool) {
	after := strings.ToLower(c.After)
	i := slices.IndexFunc(all, func(s eventing.Subscription) bool { return strings.ToLower(s.Name) > after })
	if i < 0 {
		return nil, c, false
	}
	all = all[i:]
	if len(all) <= c.size() {
		return all, c, false
	}
	page = all[:c.size()]
	next, more = c.next(page[len(page)-1].Name, len(page))
	return page, next, more
}

func (s *Server) showWebhook(w http.ResponseWriter, r *http.Request) error {
	hook, err := s.webhook(r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newWebhook(rootOf(r), hook))
}

func (s *Server) showCallback(w http.ResponseWriter, r *http.Request) error {
	hook, err := s.webhook(r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, callback(hook))
}

// createWebhook replaces the whole webhook, as in Azure: headers that are left
// out are gone.
func (s *Server) createWebhook(w http.ResponseWriter, r *http.Request) error {
	var body webhookBody
	if err := read(w, r, &body); err != nil {
		return err
	}
	return s.saveWebhook(w, r, func(*eventing.Subscription) (webhookBody, error) { return body, nil })
}

// updateWebhook replaces what the body names; null takes it away. Headers and
// tags are replaced as a whole, as in Azure.
func (s *Server) updateWebhook(w http.ResponseWriter, r *http.Request) error {
	var patch map[string]any
	if err := read(w, r, &patch); err != nil {
		return err
	}
	return s.saveWebhook(w, r, func(old *eventing.Subscription) (webhookBody, error) {
		if old == nil {
			return webhookBody{}, fmt.Errorf("webhook %s: %w", r.PathValue("webhook"), eventing.ErrNotFound)
		}
		return patchedWebhook(written(old), patch)
	})
}

func patchedWebhook(was webhookBody, patch map[string]any) (webhookBody, error) {
	b, err := json.Marshal(was)
	if err != nil {
		return was, err
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		return was, err
	}
	if hasKey(patch, "tags") {
		delete(doc, "tags")
	}
	if changed, ok := patch["properties"].(map[string]any); ok && hasKey(changed, "customHeaders") {
		delete(doc["properties"].(map[string]any), "customHeaders")
	}
	merge(doc, patch)
	if b, err = json.Marshal(doc); err != nil {
		return was, err
	}
	var now webhookBody
	return now, badBody(json.Unmarshal(b, &now))
}

func hasKey(m map[string]any, key string) bool {
	_, ok := m[key]
	return ok
}

// saveWebhook saves the webhook that body makes of the old one, which is nil if
// there is none.
func (s *Server) saveWebhook(w http.ResponseWriter, r *http.Request, body func(old *eventing.Subscription) (webhookBody, error)) error {
	status := http.StatusOK
	var saved *eventing.Subscription
	err := s.Subscriptions.ChangeSubscription(r.Context(), eventing.Webhook, r.PathValue("webhook"), func(old *eventing.Subscription) (*eventing.Subscription, error) {
		b, err := body(old)
		if err != nil {
			return nil, err
		}
		if faults := b.check(r.PathValue("webhook"), old); len(faults) > 0 {
			return nil, faults
		}
		saved, status = b.subscription(r.PathValue("webhook"), old), http.StatusOK
		if old == nil {
			old, status = &eventing.Subscription{}, http.StatusCreated
		}
		if !local(r) && !grantable(&saved.Destination, &old.Destination) {
			return nil, &forbiddenError{"trust is for the owner to give, on the daemon's own socket"}
		}
		return saved, nil
	})
	if err != nil {
		return err
	}
	return reply(w, status, newWebhook(rootOf(r), saved))
}

// check finds everything that is wrong with a webhook.
func (b *webhookBody) check(name string, old *eventing.Subscription) runner.Faults {
	var faults runner.Faults
	add := func(code, target, format string, args ...any) {
		faults = append(faults, runner.Fault{Code: code, Target: target, Message: fmt.Sprintf(format, args...)})
	}
	p := &b.Properties
	if !isWebhookName(name) {
		add("InvalidResourceName", "name", "'%s' is not a name for a webhook: it has 5 to 50 letters and digits.", name)
	}
	switch {
	case b.Location == "":
		add("LocationRequired", "location", "The location property is required for this definition.")
	case old != nil && !strings.EqualFold(b.Location, old.Hook.Location):
		add("InvalidResourceLocation", "location", "The webhook is in '%s'. It cannot be moved to '%s'.", old.Hook.Location, b.Location)
	}
	if p.ServiceURI == "" {
		add("MissingRequiredProperty", "properties.serviceUri", "Missing required property 'serviceUri'.")
	} else if err := checkServiceURI(p.ServiceURI); err != nil {
		add("InvalidProperty", "properties.serviceUri", "It %s.", err)
	}
	for _, name := range slices.Sorted(maps.Keys(p.CustomHeaders)) {
		if err := checkHeader(name, p.CustomHeaders[name]); err != nil {
			add("InvalidProperty", "properties.customHeaders."+name, "It %s.", err)
		}
	}
	if len(p.Actions) == 0 {
		add("MissingRequiredProperty", "properties.actions", "Missing required property 'actions'.")
	}
	for i, action := range p.Actions {
		if !slices.Contains(eventing.Actions, strings.ToLower(action)) {
			add("InvalidProperty", fmt.Sprintf("properties.actions[%d]", i), "'%s' is not one of %s.", action, strings.Join(eventing.Actions, ", "))
		}
	}
	if !slices.Contains([]string{"", webhookEnabled, webhookDisabled}, strings.ToLower(p.Status)) {
		add("InvalidProperty", "properties.status", "'%s' is not one of enabled, disabled.", p.Status)
	}
	if err := eventing.CheckScope(p.Scope); err != nil {
		add("InvalidProperty", "properties.scope", "A scope is REPOSITORY:TAG, REPOSITORY:*, REPOSITORY or empty: %s.", err)
	}
	return append(faults, p.check()...)
}

func (x *WebhookExtras) check() runner.Faults {
	var faults runner.Faults
	add := func(target, format string, args ...any) {
		faults = append(faults, runner.Fault{Code: "InvalidProperty", Target: "properties." + target, Message: fmt.Sprintf(format, args...)})
	}
	if x.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(x.CA)) {
		add("ca", "There is no certificate in it: it is a bundle in PEM.")
	}
	if p := x.RetryPolicy; p != nil {
		if p.MaxDeliveryAttempts < 0 || p.MaxDeliveryAttempts > maxAttempts {
			add("retryPolicy.maxDeliveryAttempts", "%d is not between 1 and %d.", p.MaxDeliveryAttempts, maxAttempts)
		}
		if p.EventTimeToLiveInMinutes < 0 || p.EventTimeToLiveInMinutes > maxTTLMinutes {
			add("retryPolicy.eventTimeToLiveInMinutes", "%d is not between 1 and %d.", p.EventTimeToLiveInMinutes, maxTTLMinutes)
		}
	}
	return faults
}

func isWebhookName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	return len(name) >= 5 && len(name) <= 50 && strings.Trim(strings.ToLower(name), letters) == ""
}

func checkServiceURI(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil: // whose text quotes secrets
		return errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("is not the URL of an HTTP server, https://HOST/PATH")
	case u.User != nil:
		return errors.New("must not have a user and password: give them as the header Authorization")
	}
	return nil
}

// checkHeader refuses headers that the connection needs for itself.
func checkHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("is not the name of a header")
	case slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"}, strings.ToLower(name)):
		return errors.New("is a header of the connection, which has its own")
	case !httpguts.ValidHeaderFieldValue(value):
		return errors.New("has a value that no header can have")
	}
	return nil
}

// subscription is what a checked body says, in the place of an old one.
func (b *webhookBody) subscription(name string, old *eventing.Subscription) *eventing.Subscription {
	p := &b.Properties
	w := &eventing.Subscription{
		Kind: eventing.Webhook, Name: name, State: eventing.Succeeded, Schema: eventing.WebhookSchema,
		Hook: &eventing.Hook{
			Scope: p.Scope, Disabled: strings.EqualFold(p.Status, webhookDisabled), Location: b.Location, Tags: b.Tags, TagsOnDelete: p.TagsOnDelete,
		},
		Destination: eventing.Destination{Type: eventing.ToWebHook, URL: p.ServiceURI, CA: p.CA, Insecure: p.Insecure, Trusted: p.Trusted},
		Updated:     time.Now().UTC(),
	}
	for _, action := range p.Actions {
		if action = strings.ToLower(action); !slices.Contains(w.Hook.Actions, action) {
			w.Hook.Actions = append(w.Hook.Actions, action)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.CustomHeaders)) {
		secret := !strings.EqualFold(name, "Content-Type")
		w.Destination.Attributes = append(w.Destination.Attributes, eventing.Attribute{Name: name, Value: p.CustomHeaders[name], Secret: secret})
	}
	if retry := p.RetryPolicy; retry != nil {
		w.Retry = eventing.Retry{MaxAttempts: retry.MaxDeliveryAttempts, TTL: time.Duration(retry.EventTimeToLiveInMinutes) * time.Minute}
	}
	if sign := p.Sign; sign != nil {
		w.Destination.Sign = eventing.Signing{Standard: sign.Standard, Hub: sign.Hub}
	}
	w.Created = w.Updated
	if old != nil {
		w.Name, w.Created = old.Name, old.Created
	}
	return w
}

func (s *Server) deleteWebhook(w http.ResponseWriter, r *http.Request) error {
	return deleted(w, s.Subscriptions.ChangeSubscription(r.Context(), eventing.Webhook, r.PathValue("webhook"), func(old *eventing.Subscription) (*eventing.Subscription, error) {
		if old == nil {
			return nil, eventing.ErrNotFound
		}
		return nil, nil
	}))
}
