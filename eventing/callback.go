package eventing

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ServeHTTP takes the consent of whoever knows the address that the receiver
// was given: by GET, or as CloudEvents' receivers may, by POST and with a rate.
func (h *Handshake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, HandshakePrefix), "/")
	if rest != "validate" || r.Method != http.MethodGet && r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	err := h.accept(r.Context(), name, r.URL.Query().Get("token"), allowedRate(r.Header))
	switch {
	case errors.Is(err, errTooLate):
		http.Error(w, errTooLate.Error(), http.StatusGone)
	case errors.Is(err, ErrNotFound):
		http.Error(w, "there is nothing to validate at this address", http.StatusNotFound)
	case err != nil:
		if h.Log != nil {
			h.Log.Error("validate subscription", "subscription", name, "err", err)
		}
		http.Error(w, "the daemon could not do this; its log says why", http.StatusInternalServerError)
	default:
		fmt.Fprintln(w, "Webhook successfully validated as a subscription endpoint.")
	}
}

var errTooLate = errors.New("the 5 minutes for this are over: make the subscription again")

// accept ends the handshake of a subscription, if the token is its. One that
// is not known differs in nothing from one that is wrong.
func (h *Handshake) accept(ctx context.Context, name, token string, rate int) error {
	if token == "" {
		return ErrNotFound
	}
	if h.agree(token, rate) {
		return nil
	}
	// Anybody may ask: who has no token costs no more than a look.
	s, err := h.Subscriptions.Subscription(ctx, EventSubscription, name)
	if err != nil {
		return err
	}
	if !s.awaits(token) {
		return ErrNotFound
	}
	return h.acceptStored(ctx, name, token, rate)
}

func (s *Subscription) awaits(token string) bool {
	return s.Validation != nil && subtle.ConstantTimeCompare([]byte(s.Validation.Token), []byte(token)) == 1
}

func (h *Handshake) acceptStored(ctx context.Context, name, token string, rate int) error {
	return h.Subscriptions.ChangeSubscription(ctx, EventSubscription, name, func(s *Subscription) (*Subscription, error) {
		switch {
		case s == nil || !s.awaits(token):
			return nil, ErrNotFound
		case !time.Now().Before(s.Validation.Until):
			return nil, errTooLate
		}
		s.State, s.Validation, s.Rate, s.Updated = Succeeded, nil, rate, time.Now().UTC()
		return s, nil
	})
}

// Settled is the subscription's state by now: nobody has ended in time what
// awaited it.
func (s *Subscription) Settled(now time.Time) State {
	if s.State == AwaitingManualAction && s.Validation != nil && !now.Before(s.Validation.Until) {
		return Failed
	}
	return s.State
}
