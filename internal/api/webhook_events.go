package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"acrd/eventing"
)

// A WebhookEvent is an attempt to tell a webhook of an event, or an event
// subscription.
type WebhookEvent struct {
	ID       string               `json:"id"`
	Request  eventRequestMessage  `json:"eventRequestMessage"`
	Response eventResponseMessage `json:"eventResponseMessage"`
	// What follows is not Azure's.

	// Attempt is 1 for the first.
	Attempt int              `json:"attempt"`
	Time    time.Time        `json:"time"`
	Outcome eventing.Outcome `json:"outcome"`
	// Error says what was wrong where nothing was answered.
	Error string `json:"error,omitempty"`
	// NextAttempt is zero if there will be none.
	NextAttempt time.Time `json:"nextAttempt,omitzero"`
}

type eventRequestMessage struct {
	Content json.RawMessage   `json:"content"`
	Headers map[string]string `json:"headers"`
	Method  string            `json:"method"`
	URI     string            `json:"requestUri"`
	Version string            `json:"version"`
}

type eventResponseMessage struct {
	Content string            `json:"content"`
	Headers map[string]string `json:"headers"`
	Reason  string            `json:"reasonPhrase"`
	// Status is missing if nothing was answered.
	Status  string `json:"statusCode,omitempty"`
	Version string `json:"version"`
}

// historySize is how many attempts listEvents tells of.
const historySize = 100

// pingWebhook queues a ping, for a webhook that is disabled too.
func (s *Server) pingWebhook(w http.ResponseWriter, r *http.Request) error {
	hook, err := s.webhook(r)
	if err != nil {
		return err
	}
	ping := eventing.Ping(time.Now())
	if err := s.Deliveries.Enqueue(r.Context(), eventing.Webhook, hook.Name, ping); err != nil {
		return err
	}
	return reply(w, http.StatusOK, eventInfo{ping.ID})
}

type eventInfo struct {
	ID string `json:"id"`
}

func (s *Server) listWebhookEvents(w http.ResponseWriter, r *http.Request) error {
	hook, err := s.webhook(r)
	if err != nil {
		return err
	}
	attempts, err := s.Deliveries.History(r.Context(), eventing.Webhook, hook.Name, historySize)
	if err != nil {
		return err
	}
	p := page[WebhookEvent]{Value: []WebhookEvent{}}
	for i := range attempts {
		e, err := newWebhookEvent(&attempts[i], eventing.Delivery{Schema: eventing.WebhookSchema, Tags: hook.Hook.TagsOnDelete})
		if err != nil {
			return err
		}
		p.Value = append(p.Value, e)
	}
	return reply(w, http.StatusOK, p)
}

// newWebhookEvent tells of an attempt, whose event was encoded as in d.
func newWebhookEvent(a *eventing.Attempt, d eventing.Delivery) (WebhookEvent, error) {
	content, err := eventing.Encode(d, eventing.Attempted{Event: a.Event})
	if err != nil {
		return WebhookEvent{}, err
	}
	e := WebhookEvent{
		ID: a.Event.ID, Request: eventRequestMessage{Content: content, Headers: map[string]string{}},
		Response: eventResponseMessage{Headers: map[string]string{}, Reason: string(a.Outcome)},
		Attempt:  a.Count + 1, Time: a.Time, Outcome: a.Outcome, Error: a.Error, NextAttempt: a.Next,
	}
	x := a.Exchange
	if x == nil {
		return e, nil
	}
	e.Request.Method, e.Request.URI, e.Request.Version = x.Method, x.URL, x.Version
	if x.Headers != nil {
		e.Request.Headers = x.Headers
	}
	if x.Status == 0 {
		return e, nil
	}
	e.Response = eventResponseMessage{x.Answer, x.AnswerHeaders, x.Reason, strconv.Itoa(x.Status), x.AnswerVersion}
	if x.AnswerHeaders == nil {
		e.Response.Headers = map[string]string{}
	}
	return e, nil
}

func (s *Server) redeliverWebhook(w http.ResponseWriter, r *http.Request) error {
	return s.redeliver(w, r, eventing.Webhook, r.PathValue("webhook"))
}
