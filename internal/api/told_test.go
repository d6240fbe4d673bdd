package api_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/eventing"
)

// told keeps subscriptions in memory, and delivers nothing: what is queued has
// been tried once, and nobody was there.
type told struct {
	mu   sync.Mutex // guards all
	all  map[key]eventing.Subscription
	sent map[key][]eventing.Attempt
}

type key struct {
	kind eventing.Kind
	name string
}

func keyOf(kind eventing.Kind, name string) key { return key{kind, strings.ToLower(name)} }

func (s *told) Subscriptions(_ context.Context, kind eventing.Kind) ([]eventing.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.SortedFunc(maps.Values(s.all), func(a, b eventing.Subscription) int {
		return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return slices.DeleteFunc(all, func(one eventing.Subscription) bool { return kind != "" && one.Kind != kind }), nil
}

func (s *told) Subscription(_ context.Context, kind eventing.Kind, name string) (*eventing.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[keyOf(kind, name)]
	if !ok {
		return nil, eventing.ErrNotFound
	}
	return &one, nil
}

func (s *told) ChangeSubscription(_ context.Context, kind eventing.Kind, name string, change func(*eventing.Subscription) (*eventing.Subscription, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := keyOf(kind, name)
	var old *eventing.Subscription
	if one, ok := s.all[k]; ok {
		old = &one
	}
	now, err := change(old)
	switch {
	case err != nil:
		return err
	case now == nil:
		delete(s.all, k)
		delete(s.sent, k)
		return nil
	case s.all == nil:
		s.all, s.sent = map[key]eventing.Subscription{}, map[key][]eventing.Attempt{}
	}
	s.all[k] = *now
	return nil
}

func (s *told) History(_ context.Context, kind eventing.Kind, name string, limit int) ([]eventing.Attempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.sent[keyOf(kind, name)]
	return slices.Clone(all[:min(limit, len(all))]), nil
}

func (s *told) Enqueue(_ context.Context, kind eventing.Kind, name string, e eventing.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := keyOf(kind, name)
	one := s.all[k]
	x := &eventing.Exchange{Method: "POST", URL: one.Destination.URL, Version: "1.1", Headers: map[string]string{"Content-Type": "application/json"}}
	s.sent[k] = slices.Insert(s.sent[k], 0, eventing.Attempt{Event: e, Time: time.Now(), Outcome: eventing.ResolutionError, Exchange: x})
	return nil
}

func (s *told) Redeliver(ctx context.Context, kind eventing.Kind, name, id string) error {
	all, _ := s.History(ctx, kind, name, 100)
	i := slices.IndexFunc(all, func(a eventing.Attempt) bool { return a.Event.ID == id })
	if i < 0 {
		return eventing.ErrNotFound
	}
	return s.Enqueue(ctx, kind, name, all[i].Event)
}

func (s *told) RedeliverSince(ctx context.Context, kind eventing.Kind, name string, since time.Time) (int, error) {
	all, _ := s.History(ctx, kind, name, 100)
	n := 0
	for _, a := range all {
		if !a.Event.Time.Before(since) {
			n++
			_ = s.Enqueue(ctx, kind, name, a.Event)
		}
	}
	return n, nil
}
