package api

import (
	"net/http"
	"strconv"

	"acrd/eventing"
	"acrd/runner"
)

// listDeliveries tells what became of events, in the form that ACR's webhooks
// have for it.
func (s *Server) listDeliveries(w http.ResponseWriter, r *http.Request) error {
	top := eventing.HistorySlots
	if text := r.URL.Query().Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > eventing.HistorySlots {
			return runner.Faults{{Code: "InvalidParameter", Target: "$top", Message: "It is not a number from 1 to " + strconv.Itoa(eventing.HistorySlots) + "."}}
		}
		top = n
	}
	e, err := s.eventSubscription(r)
	if err != nil {
		return err
	}
	attempts, err := s.Deliveries.History(r.Context(), eventing.EventSubscription, e.Name, top)
	if err != nil {
		return err
	}
	p := page[WebhookEvent]{Value: []WebhookEvent{}}
	for i := range attempts {
		told, err := newWebhookEvent(&attempts[i], eventing.Delivery{Subscription: e.Name, Schema: e.Schema, Registry: s.topic()})
		if err != nil {
			return err
		}
		p.Value = append(p.Value, told)
	}
	return reply(w, http.StatusOK, p)
}

func (s *Server) redeliverEvents(w http.ResponseWriter, r *http.Request) error {
	e, err := s.eventSubscription(r)
	if err != nil {
		return err
	}
	return s.redeliver(w, r, eventing.EventSubscription, e.Name)
}
