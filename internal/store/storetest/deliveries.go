package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/store"

	"github.com/google/go-cmp/cmp"
)

// addEvents are events in the outbox, and their numbers.
func addEvents(t testing.TB, db *store.DB, ids ...string) []int64 {
	t.Helper()
	var events []eventing.Event
	for _, id := range ids {
		events = append(events, eventing.Event{ID: id, Type: "x", Subject: "s", Time: time.Now(), Data: []byte("{}")})
	}
	if err := db.AddEvents(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	open, err := db.Outbox(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	for _, e := range open {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

func subscriber(t testing.TB, db *store.DB, name string) int64 {
	t.Helper()
	Subscribe(t, db, eventing.Subscription{Kind: eventing.EventSubscription, Name: name, State: eventing.Succeeded})
	all, err := db.Subscribers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Name == name {
			return r.Seq
		}
	}
	t.Fatalf("subscription %s is missing", name)
	return 0
}

func due(t testing.TB, db *store.DB, c eventing.Cursor, now time.Time) []eventing.Queued {
	t.Helper()
	rows, err := db.Due(t.Context(), c, now, 100)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func eventsOf(rows []eventing.Queued) (all []int64) {
	for _, r := range rows {
		all = append(all, r.Event)
	}
	return all
}

func passed(t *testing.T, db *store.DB) {
	addEvents(t, db, "nobody")
	a, b := subscriber(t, db, "a"), subscriber(t, db, "b")
	seqs := addEvents(t, db, "e0", "e1", "e2")
	if len(seqs) != 3 {
		t.Fatalf("%d events are open, want the 3 since there is a subscription", len(seqs))
	}
	at := time.Now().Truncate(time.Microsecond).UTC()
	fans := []eventing.Fan{{Subscriptions: []int64{a, b, 4711}, Events: seqs}}
	if n, err := db.Pass(t.Context(), seqs[:2], []eventing.Fan{{Subscriptions: []int64{b}, Events: seqs[:2], Lanes: []int64{-7, 1 << 62}}}, at); err != nil || n != 2 {
		t.Fatalf("%d events, %v", n, err)
	}
	if n, err := db.Pass(t.Context(), seqs, fans, at); err != nil || n != 1 {
		t.Errorf("%d events (%v) were left, want 1", n, err)
	}
	if diff := cmp.Diff([]int64{seqs[2]}, eventsOf(due(t, db, eventing.Cursor{Subscription: a}, at))); diff != "" {
		t.Errorf("queue of a (-want +got):\n%s", diff)
	}
	want := []eventing.Queued{
		{Subscription: b, Event: seqs[0], Queued: at, Lane: -7}, {Subscription: b, Event: seqs[1], Queued: at, Lane: 1 << 62}, {Subscription: b, Event: seqs[2], Queued: at},
	}
	if diff := cmp.Diff(want, due(t, db, eventing.Cursor{Subscription: b}, at)); diff != "" {
		t.Errorf("queue of b (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2:], due(t, db, eventing.Cursor{Subscription: b, After: seqs[1]}, at)); diff != "" {
		t.Errorf("from the third on (-want +got):\n%s", diff)
	}
	if depths, err := db.Depths(t.Context()); err != nil || depths[b] != (eventing.Depth{Events: 3, Oldest: at}) {
		t.Errorf("depths are %v (%v)", depths, err)
	}
	stored, err := db.Stored(t.Context(), []int64{seqs[2], seqs[0], 4711})
	if err != nil || len(stored) != 2 {
		t.Errorf("stored: %v, %v", stored, err)
	}
	unsubscribe(t, db, eventing.Subscription{Kind: eventing.EventSubscription, Name: "b"})
	if rows := due(t, db, eventing.Cursor{Subscription: b}, at); len(rows) != 0 {
		t.Errorf("a queue without a subscription: %v", rows)
	}
}

func settled(t *testing.T, db *store.DB) {
	a := subscriber(t, db, "a")
	seqs := addEvents(t, db, "e0", "e1", "e2", "e3")
	at := time.Now().Truncate(time.Microsecond).UTC()
	if _, err := db.Pass(t.Context(), seqs, []eventing.Fan{{Subscriptions: []int64{a}, Events: seqs}}, at); err != nil {
		t.Fatal(err)
	}
	if held, _, err := db.TakeQueues(t.Context(), "me", time.Hour, false); err != nil || !slices.Equal(held, []int64{a}) {
		t.Fatalf("held: %v, %v", held, err)
	}
	if held, _, err := db.TakeQueues(t.Context(), "other", time.Hour, false); err != nil || len(held) != 0 {
		t.Errorf("another took %v (%v), which has an owner", held, err)
	}
	if waiting, err := db.Waiting(t.Context(), "me", at); err != nil || !slices.Equal(waiting, []int64{a}) {
		t.Errorf("waiting: %v, %v", waiting, err)
	}
	rows := due(t, db, eventing.Cursor{Subscription: a}, at)
	failed := rows[1]
	failed.Next, failed.Attempts, failed.Tried, failed.Outcome, failed.Status = at.Add(time.Minute), 1, at, eventing.Busy, 503
	dead := eventing.DeadLetter{Queued: rows[2], Reason: eventing.TooOld, At: at, Due: at.Add(time.Second)}
	st := eventing.Settlement{
		Subscription: a, Done: rows[:3], Again: []eventing.Queued{failed}, Dead: []eventing.DeadLetter{dead}, Slot: 99,
		History: []eventing.Attempt{{Event: eventing.Event{ID: "e0"}, Time: at, Outcome: eventing.Delivered}, {Event: eventing.Event{ID: "e1"}, Time: at.Add(time.Second), Outcome: eventing.Busy}},
		Health:  &eventing.Health{Failures: 3, Until: at, Outcome: eventing.Busy},
	}
	if lost, err := db.Settle(t.Context(), "other", []eventing.Settlement{st}); err != nil || !slices.Equal(lost, []int64{a}) {
		t.Errorf("somebody else settled: %v, %v", lost, err)
	}
	if got := due(t, db, eventing.Cursor{Subscription: a}, at); len(got) != 4 {
		t.Errorf("%d rows after that, want 4", len(got))
	}
	for range 2 { // the answer to the first time might be lost
		if lost, err := db.Settle(t.Context(), "me", []eventing.Settlement{st, {Subscription: 4711}}); err != nil || !slices.Equal(lost, []int64{4711}) {
			t.Errorf("settled: %v, %v", lost, err)
		}
		st.Dead = nil
	}
	if diff := cmp.Diff(rows[3:], due(t, db, eventing.Cursor{Subscription: a}, at)); diff != "" {
		t.Errorf("what is new (-want +got):\n%s", diff)
	}
	if got := due(t, db, eventing.Cursor{Subscription: a, Retries: true}, at); len(got) != 0 {
		t.Errorf("due too early: %v", got)
	}
	if next, err := db.NextDue(t.Context(), a, at); err != nil || !next.Equal(failed.Next) {
		t.Errorf("next is due at %v (%v)", next, err)
	}
	if diff := cmp.Diff([]eventing.Queued{failed}, due(t, db, eventing.Cursor{Subscription: a, Retries: true}, failed.Next)); diff != "" {
		t.Errorf("what is tried again (-want +got):\n%s", diff)
	}
	all, err := db.Subscribers(t.Context())
	if err != nil || all[0].Health != (eventing.Health{Failures: 3, Until: at, Outcome: eventing.Busy}) {
		t.Errorf("health is %+v (%v)", all, err)
	}
	history, err := db.History(t.Context(), eventing.EventSubscription, "A", 10)
	if err != nil || len(history) != 2 || history[0].Event.ID != "e1" {
		t.Errorf("history is %+v (%v)", history, err)
	}
	if slot, err := db.LastSlot(t.Context(), a); err != nil || slot != 0 {
		t.Errorf("last slot %d (%v), want 0, which follows 99", slot, err)
	}
	letters(t, db, a)
	if _, err := db.Settle(t.Context(), "me", []eventing.Settlement{{Subscription: a, Recovered: at}}); err != nil {
		t.Fatal(err)
	}
	if got := due(t, db, eventing.Cursor{Subscription: a, Retries: true}, at); len(got) != 1 || got[0].Attempts != 1 {
		t.Errorf("due once the receiver is back: %v", got)
	}
	if err := db.LeaveQueues(t.Context(), "me"); err != nil {
		t.Fatal(err)
	}
	if held, _, err := db.TakeQueues(t.Context(), "other", time.Hour, false); err != nil || len(held) != 1 {
		t.Errorf("what was left is held: %v, %v", held, err)
	}
	if held, _, err := db.TakeQueues(t.Context(), "third", time.Hour, true); err != nil || len(held) != 1 {
		t.Errorf("who is alone holds %v (%v)", held, err)
	}
}

// shared has three owners take queues.
func shared(t *testing.T, db *store.DB) {
	var all []int64
	for _, name := range []string{"a", "b", "c", "d"} {
		all = append(all, subscriber(t, db, name))
	}
	take := func(owner string, lease time.Duration, share int, want ...int64) {
		t.Helper()
		held, got, err := db.TakeQueues(t.Context(), owner, lease, false)
		slices.Sort(held)
		if err != nil || got != share || !slices.Equal(held, want) {
			t.Errorf("%s holds %v of a share of %d (%v), want %v of %d", owner, held, got, err, want, share)
		}
	}
	take("first", time.Hour, 4, all...)
	take("second", time.Hour, 2)
	take("first", time.Hour, 2, all...) // as long as it delivers
	for _, q := range []int64{all[0], all[2]} {
		if err := db.LeaveQueue(t.Context(), "second", q); err != nil { // which has nothing to leave
			t.Error(err)
		}
		if err := db.LeaveQueue(t.Context(), "first", q); err != nil {
			t.Error(err)
		}
	}
	take("third", time.Nanosecond, 2, all[0], all[2])
	time.Sleep(2 * time.Millisecond) // its lease
	take("second", time.Hour, 2, all[0], all[2])
	take("first", time.Hour, 2, all[1], all[3])
	if err := db.LeaveQueues(t.Context(), "second"); err != nil {
		t.Error(err)
	}
	take("first", time.Hour, 4, all...)
}

func letters(t *testing.T, db *store.DB, a int64) {
	t.Helper()
	due, err := db.DueDead(t.Context(), a, 10)
	if err != nil || len(due) != 1 || due[0].Reason != eventing.TooOld {
		t.Fatalf("due letters %+v (%v)", due, err)
	}
	if err := db.BuryDead(t.Context(), "other", a, []int64{due[0].Seq}); !errors.Is(err, eventing.ErrFenced) {
		t.Errorf("somebody else has written them: %v", err)
	}
	if err := db.BuryDead(t.Context(), "me", a, []int64{due[0].Seq}); err != nil {
		t.Fatal(err)
	}
	if due, err := db.DueDead(t.Context(), a, 10); err != nil || len(due) != 0 {
		t.Errorf("due again: %v, %v", due, err)
	}
	if all, err := db.DeadLetters(t.Context(), eventing.EventSubscription, "a", 10); err != nil || len(all) != 1 || all[0].ID != "e2" {
		t.Errorf("dead letters: %+v, %v", all, err)
	}
	if err := db.RemoveDead(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}

func lanes(t *testing.T, db *store.DB) {
	a := subscriber(t, db, "a")
	seqs := addEvents(t, db, "e0", "e1", "e2", "e3")
	at := time.Now().Truncate(time.Microsecond).UTC()
	fan := eventing.Fan{Subscriptions: []int64{a}, Events: seqs, Lanes: []int64{1, 2, 1, 1}}
	if _, err := db.Pass(t.Context(), seqs, []eventing.Fan{fan}, at); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.TakeQueues(t.Context(), "me", time.Hour, true); err != nil {
		t.Fatal(err)
	}
	until := at.Add(time.Minute)
	head := due(t, db, eventing.Cursor{Subscription: a}, at)[0]
	again := head
	again.Next, again.Attempts = until, 1
	st := eventing.Settlement{Subscription: a, Done: []eventing.Queued{head}, Again: []eventing.Queued{again}, Park: []eventing.Lane{{ID: 1, Until: until}}}
	if _, err := db.Settle(t.Context(), "me", []eventing.Settlement{st}); err != nil {
		t.Fatal(err)
	}
	if got := eventsOf(due(t, db, eventing.Cursor{Subscription: a}, at)); !slices.Equal(got, seqs[1:2]) {
		t.Errorf("due beside the lane that waits: %v, want %v", got, seqs[1:2])
	}
	if all, err := db.Lanes(t.Context(), a); err != nil || len(all) != 1 || all[0].ID != 1 || !all[0].Until.Equal(until) {
		t.Errorf("lanes: %v, %v", all, err)
	}
	if err := db.ReleaseLanes(t.Context(), "other", a, []int64{1}); !errors.Is(err, eventing.ErrFenced) {
		t.Errorf("somebody else released: %v", err)
	}
	if err := db.ReleaseLanes(t.Context(), "me", a, []int64{1}); err != nil {
		t.Fatal(err)
	}
	got := due(t, db, eventing.Cursor{Subscription: a}, at)
	if !slices.Equal(eventsOf(got), seqs) || got[0].Attempts != 1 {
		t.Errorf("due after that: %v", got)
	}
}

// twice has an event in a queue three times: it was redelivered while it was
// being delivered, and again.
func twice(t *testing.T, db *store.DB) {
	a := subscriber(t, db, "a")
	seqs := addEvents(t, db, "e0", "e1")
	at := time.Now().Truncate(time.Microsecond).UTC()
	fan := eventing.Fan{Subscriptions: []int64{a}, Events: seqs, Lanes: []int64{1, 2}}
	if _, err := db.Pass(t.Context(), seqs, []eventing.Fan{fan}, at); err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.TakeQueues(t.Context(), "me", time.Hour, true); err != nil {
		t.Fatal(err)
	}
	head := due(t, db, eventing.Cursor{Subscription: a}, at)[0]
	settle := func(st eventing.Settlement, failed ...time.Duration) {
		t.Helper()
		st.Subscription = a
		for _, after := range failed {
			again := head
			again.Next, again.Attempts = at.Add(after), 1
			st.Again = append(st.Again, again)
		}
		if _, err := db.Settle(t.Context(), "me", []eventing.Settlement{st}); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(what string, want ...int64) {
		t.Helper()
		got := append(due(t, db, eventing.Cursor{Subscription: a}, at), due(t, db, eventing.Cursor{Subscription: a, Retries: true}, at.Add(time.Hour))...)
		if !slices.Equal(eventsOf(got), want) {
			t.Errorf("%s: %v, want %v", what, eventsOf(got), want)
		}
	}
	settle(eventing.Settlement{}, time.Minute, 2*time.Minute)
	waiting("redelivered", seqs[0], seqs[1], seqs[0], seqs[0])
	settle(eventing.Settlement{Park: []eventing.Lane{{ID: 1, Until: at.Add(3 * time.Minute)}}})
	waiting("its lane waits", seqs[1], seqs[0])
	settle(eventing.Settlement{}, time.Minute, 2*time.Minute)
	settle(eventing.Settlement{Recovered: at})
	waiting("the receiver is back", seqs[1], seqs[0])
	settle(eventing.Settlement{}, time.Minute, 2*time.Minute)
	if err := db.ReleaseLanes(t.Context(), "me", a, []int64{1}); err != nil {
		t.Fatal(err)
	}
	waiting("its lane is released", seqs...)
	settle(eventing.Settlement{}, time.Minute)
	if err := db.ReleaseLanes(t.Context(), "me", a, []int64{1}); err != nil {
		t.Fatal(err)
	}
	waiting("it is due already", seqs...)
}

func overflow(t *testing.T, db *store.DB) {
	a := subscriber(t, db, "a")
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprint("e", i))
	}
	seqs := addEvents(t, db, ids...)
	if _, err := db.Pass(t.Context(), seqs, []eventing.Fan{{Subscriptions: []int64{a}, Events: seqs}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	d := eventing.DeadLetter{Reason: eventing.QueueFull, At: time.Now(), Due: time.Now()}
	if _, err := db.Overflow(t.Context(), "me", a, 7, d); !errors.Is(err, eventing.ErrFenced) {
		t.Errorf("without a lease: %v", err)
	}
	if _, _, err := db.TakeQueues(t.Context(), "me", time.Hour, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{3, 0} {
		if n, err := db.Overflow(t.Context(), "me", a, 7, d); err != nil || n != want {
			t.Errorf("%d events made room (%v), want %d", n, err, want)
		}
	}
	if got := eventsOf(due(t, db, eventing.Cursor{Subscription: a}, time.Now())); !slices.Equal(got, seqs[3:]) {
		t.Errorf("left are %v, want %v", got, seqs[3:])
	}
	again := eventing.Fan{Subscriptions: []int64{a}, Events: []int64{seqs[0], seqs[5]}}
	if err := db.Requeue(t.Context(), again, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := eventsOf(due(t, db, eventing.Cursor{Subscription: a}, time.Now())); len(got) != 8 || got[0] != seqs[0] {
		t.Errorf("after one came back: %v", got)
	}
	for range 2 {
		if err := db.TrimDead(t.Context(), a, 1); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := db.DeadLetters(t.Context(), eventing.EventSubscription, "a", 10); err != nil || len(left) != 3 {
		t.Errorf("%d dead letters (%v), want the 3 that are still to be written", len(left), err)
	}
	if err := db.RemoveEvents(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if left, err := db.Stored(t.Context(), seqs); err != nil || len(left) != 10 {
		t.Errorf("%d events (%v) are left, want those that somebody waits for", len(left), err)
	}
	since, err := db.EventsSince(t.Context(), time.Now().Add(-time.Hour), seqs[7], 10)
	if err != nil || len(since) != 2 {
		t.Errorf("events since: %v, %v", since, err)
	}
}
