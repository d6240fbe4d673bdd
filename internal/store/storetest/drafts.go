package storetest

import (
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"

	"github.com/google/go-cmp/cmp"
)

func drafts(t *testing.T, db *store.DB) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	here, there := &store.Journal{DB: db, Owner: "here"}, &store.Journal{DB: db, Owner: "there"}
	now := time.Now().UTC().Truncate(time.Microsecond)
	draft := func(id string) eventing.Draft {
		return eventing.Draft{Event: eventing.Event{ID: id, Type: "push", Time: now, Data: []byte(`{}`)}, Check: []byte(`{"tag":"v1"}`), At: now}
	}
	first, second := draft("e1"), draft("e2")
	must(here.Begin(t.Context(), first))
	must(there.Begin(t.Context(), draft("e3")))
	if err := here.Begin(t.Context(), first); err == nil {
		t.Error("a draft is kept twice")
	}
	must(here.Begin(t.Context(), second, eventing.Settled{Draft: first, Happened: true}))
	open, err := here.Drafts(t.Context(), now.Add(time.Second))
	must(err)
	if diff := cmp.Diff([]eventing.Draft{second}, open); diff != "" {
		t.Errorf("drafts (-want +got):\n%s", diff)
	}
	if open, err = here.Drafts(t.Context(), now); err != nil || len(open) != 0 {
		t.Errorf("drafts from before there were any: %v (%v)", open, err)
	}
	must(here.Settle(t.Context(), eventing.Settled{Draft: second}))
	// An answer that was lost, and one who decides otherwise later.
	must(here.Settle(t.Context(), eventing.Settled{Draft: first, Happened: true}, eventing.Settled{Draft: second, Happened: true}))
	told, err := db.OpenEvents(t.Context(), 10)
	must(err)
	if diff := cmp.Diff([]eventing.Event{first.Event}, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if open, err = there.Drafts(t.Context(), now.Add(time.Second)); err != nil || len(open) != 1 {
		t.Errorf("the other journal has %v (%v)", open, err)
	}
}
