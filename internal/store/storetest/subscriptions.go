package storetest

import (
	"errors"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"

	"github.com/google/go-cmp/cmp"
)

// Subscribe makes a subscription, or changes it to s.
func Subscribe(t testing.TB, db *store.DB, s eventing.Subscription) {
	t.Helper()
	err := db.ChangeSubscription(t.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &s, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func subscriptions(t *testing.T, db *store.DB) {
	before, err := db.SubscriptionsVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := eventing.Subscription{
		Kind: eventing.EventSubscription, Name: "My-Sub", State: eventing.Succeeded, Schema: eventing.EventGridSchema,
		Filter: eventing.Filter{Advanced: []eventing.Condition{
			{Operator: "NumberInRange", Key: "data.x", Values: []any{[]any{1.5, 2.0}}}, {Operator: "BoolEquals", Key: "data.y", Values: []any{true}},
		}},
		Destination: eventing.Destination{Type: eventing.ToWebHook, URL: "https://example.test/?code=canary", Sign: eventing.Signing{Standard: []string{"a"}}},
		DeadLetter:  &eventing.Destination{Type: eventing.ToFolder, URL: "file:///dead"},
		Statuses:    map[int]eventing.Answer{404: eventing.AnswerDead}, Expires: time.Unix(1e9, 0).UTC(),
	}
	changed := db.EventsChanged()
	Subscribe(t, db, s)
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	hook := eventing.Subscription{Kind: eventing.Webhook, Name: "my-sub", Hook: &eventing.Hook{Actions: []string{"push"}}}
	Subscribe(t, db, hook)
	got, err := db.Subscription(t.Context(), s.Kind, "my-SUB")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&s, got); diff != "" {
		t.Errorf("subscription (-saved +read):\n%s", diff)
	}
	for kind, want := range map[eventing.Kind]int{eventing.EventSubscription: 1, eventing.Webhook: 1, "": 2} {
		if all, err := db.Subscriptions(t.Context(), kind); err != nil || len(all) != want {
			t.Errorf("%d of kind %q (%v), want %d", len(all), kind, err, want)
		}
	}
	if after, err := db.SubscriptionsVersion(t.Context()); err != nil || after == before {
		t.Errorf("version %q after %q (%v)", after, before, err)
	}
	refused := errors.New("refused")
	for _, c := range []struct {
		to   *eventing.Subscription
		err  error
		want error
	}{{nil, refused, refused}, {&hook, nil, nil}} {
		err := db.ChangeSubscription(t.Context(), s.Kind, s.Name, func(old *eventing.Subscription) (*eventing.Subscription, error) {
			if old == nil || old.Name != "My-Sub" {
				t.Errorf("to be changed is %+v", old)
			}
			return c.to, c.err
		})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("a change to %+v: %v", c.to, err)
		}
	}
	unsubscribe(t, db, s)
	unsubscribe(t, db, s) // there is none
	if _, err := db.Subscription(t.Context(), s.Kind, s.Name); !errors.Is(err, eventing.ErrNotFound) {
		t.Errorf("after it was removed: %v", err)
	}
}

func unsubscribe(t testing.TB, db *store.DB, s eventing.Subscription) {
	t.Helper()
	err := db.ChangeSubscription(t.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
}
