package eventing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
)

// bubble runs a test with a dispatcher whose clock is fake.
func bubble(t *testing.T, f func(*testing.T, *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		f(t, b)
	})
}

func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// numbered are the ids e-0, e-1, ...: all of one key.
func numbered(key string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(key, "-", i))
	}
	return all
}

// switched answers 503 while it is off.
func switched(on *atomic.Bool) func(eventing.Delivery) error {
	return func(d eventing.Delivery) error {
		if on.Load() {
			return nil
		}
		return status(503, eventing.Busy)(d)
	}
}

func TestProbation(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		r := b.subscribe(eventing.Subscription{}, switched(&on))
		start := time.Now()
		b.publish(numbered("e", 50)...)
		rest(time.Second)
		// Those that were under way when the tenth failed are tried, too.
		first := len(r.ids())
		if first < 10 || first > 13 {
			t.Errorf("%d attempts before probation", first)
		}
		rest(time.Hour)
		// 10 s of probation for Busy, and one attempt after each.
		if probes := len(r.ids()) - first; probes < 350 || probes > 361 {
			t.Errorf("%d attempts in an hour on probation", probes)
		}
		for i, at := range r.since(start)[first:] {
			if want := (time.Duration(i+1) * 10 * time.Second).String(); at != want {
				t.Fatalf("attempt %d is at %s, want %s", i, at, want)
			}
		}
		on.Store(true)
		before := len(r.ids())
		rest(11 * time.Second)
		got := r.ids()[before:]
		slices.Sort(got)
		want := numbered("e", 50)
		slices.Sort(want)
		same(t, "delivered once it is back", got, want)
		same(t, "dead letters", b.dead("s"), nil)
	})
}

// TestProbationAndAge lets events become too old while nothing is delivered.
func TestProbationAndAge(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		b.subscribe(eventing.Subscription{Retry: eventing.Retry{TTL: time.Hour}}, switched(&on))
		b.publish(numbered("e", 300)...)
		rest(4 * time.Hour)
		if dead := b.dead("s"); len(dead) != 300 {
			t.Errorf("%d dead letters of 300", len(dead))
		}
	})
}

// TestIsolation has a receiver that never answers beside one that does.
func TestIsolation(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.subscribe(eventing.Subscription{Name: "hole"}, nil).then = func(ctx context.Context) error {
			patient, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			<-patient.Done()
			return &eventing.DeliveryError{Outcome: eventing.TimedOut, Err: patient.Err()}
		}
		r := b.subscribe(eventing.Subscription{Name: "well"}, nil)
		start := time.Now()
		for i := range 600 {
			b.publish(fmt.Sprint("e-", i))
			rest(100 * time.Millisecond)
		}
		at := r.since(start)
		if len(at) != 600 {
			t.Fatalf("%d of 600 were delivered", len(at))
		}
		for i, got := range r.got {
			if late := got.at.Sub(start) - time.Duration(i)*100*time.Millisecond; late > 50*time.Millisecond {
				t.Fatalf("event %d was %v late", i, late)
			}
		}
	})
}

func TestOrdered(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var mu sync.Mutex // guards bad
		bad := map[string]int{"a-1": 3, "b-0": 1}
		r := b.subscribe(eventing.Subscription{Ordered: true}, func(d eventing.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if id := d.Events[0].ID; bad[id] > 0 {
				bad[id]--
				return status(500, eventing.Aborted)(d)
			}
			return nil
		})
		b.publish("a-0", "b-0", "a-1", "c-0", "b-1", "a-2", "c-1")
		rest(5 * time.Second)
		b.publish("a-3", "b-2", "c-2")
		rest(time.Hour)
		byKey := map[string][]string{}
		for _, id := range r.ids() {
			byKey[id[:1]] = append(byKey[id[:1]], id)
		}
		same(t, "in order by key", byKey, map[string][]string{
			"a": {"a-0", "a-1", "a-1", "a-1", "a-1", "a-2", "a-3"},
			"b": {"b-0", "b-0", "b-1", "b-2"},
			"c": {"c-0", "c-1", "c-2"},
		})
		if i, j := slices.Index(r.ids(), "c-2"), slices.Index(r.ids(), "a-2"); i > j {
			t.Errorf("c waited for a: %v", r.ids())
		}
	})
}

// TestOrderedRestart takes over a queue whose lanes wait.
func TestOrderedRestart(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		r := b.subscribe(eventing.Subscription{Ordered: true}, switched(&on))
		b.publish(numbered("a", 5)...)
		rest(5 * time.Second)
		same(t, "attempts", r.ids(), []string{"a-0"})
		b.stop()
		on.Store(true)
		b.serve()
		b.publish("a-5")
		rest(5 * time.Second)
		same(t, "before the head's time", r.ids(), []string{"a-0"})
		rest(time.Minute)
		same(t, "attempts", r.ids(), append([]string{"a-0"}, numbered("a", 6)...))
	})
}

func TestBatches(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		on := atomic.Bool{}
		r := b.subscribe(eventing.Subscription{InFlight: 1, Destination: eventing.Destination{MaxEvents: 4, PreferredKB: 64}}, switched(&on))
		b.publish(numbered("e", 6)...)
		rest(time.Second)
		same(t, "batches", r.ids(), []string{"e-0 e-1 e-2 e-3", "e-4 e-5"})
		on.Store(true)
		rest(40 * time.Second)
		same(t, "all or none, and nobody else is waited for", r.ids()[2:], []string{"e-0 e-1 e-2 e-3", "e-4 e-5"})
		same(t, "counts", r.got[2].counts, "1 1 1 1")
		big := eventing.Event{ID: "big", Type: "x", Time: time.Now(), Data: []byte(`"` + strings.Repeat("x", 70<<10) + `"`)}
		small := func(id string) eventing.Event {
			return eventing.Event{ID: id, Type: "x", Time: time.Now(), Data: []byte(`"` + strings.Repeat("x", 30<<10) + `"`)}
		}
		if err := b.db.AddEvents(t.Context(), small("1"), small("2"), small("3"), big, small("4")); err != nil {
			t.Fatal(err)
		}
		rest(time.Second)
		same(t, "batches by size", r.ids()[4:], []string{"1 2", "3", "big", "4"})
	})
}

// TestAttributes: a message has the attributes of its own event, a request those
// of its first. What is no text, number or boolean, and what is longer than
// Event Grid sends, is left out.
func TestAttributes(t *testing.T) {
	for of, want := range map[eventing.DestinationType]string{
		eventing.ToWebHook:         `{"N":"1.5","S":"s","V":"a"} null null null`,
		eventing.ToServiceBusQueue: `{"N":"1.5","S":"s","V":"a"} {"S":"s","V":"true"} {"S":"s"} {"S":"s"}`,
	} {
		bubble(t, func(t *testing.T, b *bench) {
			r := b.subscribe(eventing.Subscription{Destination: eventing.Destination{
				Type: of, MaxEvents: 4, Attributes: []eventing.Attribute{{Name: "S", Value: "s"}, {Name: "V", Field: "data.v"}, {Name: "N", Field: "data.n"}},
			}}, nil)
			var events []eventing.Event
			for i, data := range []string{`{"v":"a","n":1.5}`, `{"v":true}`, `{"v":["a"],"n":null}`, `{"v":"` + strings.Repeat("x", 4097) + `"}`} {
				events = append(events, eventing.Event{ID: fmt.Sprint(i), Type: "x", Time: time.Now(), Data: []byte(data)})
			}
			if err := b.db.AddEvents(t.Context(), events...); err != nil {
				t.Fatal(err)
			}
			rest(time.Second)
			same(t, string(of), r.got[0].attributes, want)
		})
	}
}

func TestDeadLetters(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		on.Store(true)
		grave := &receiver{answer: switched(&on)}
		b.receivers["file:///dead"] = grave
		b.subscribe(eventing.Subscription{DeadLetter: &eventing.Destination{Type: eventing.ToFolder, URL: "file:///dead"}}, status(400, eventing.BadRequest))
		published := time.Now()
		b.publish("e-0")
		rest(time.Minute)
		b.publish("e-1")
		rest(4*time.Minute - time.Second)
		same(t, "before five minutes", grave.ids(), nil)
		rest(time.Minute + 2*time.Second)
		same(t, "written", grave.ids(), []string{"e-0", "e-1"})
		want := &eventing.Death{Reason: "UndeliverableDueToBadRequest", Attempts: 1, Outcome: eventing.BadRequest, Published: published.UTC(), Tried: published.UTC()}
		same(t, "what is told", grave.got[0].death, want)
		on.Store(false)
		b.publish("e-2", "e-3")
		rest(10 * time.Minute)
		if n := len(grave.ids()); n < 4 || n > 10 {
			t.Errorf("%d attempts in 5 minutes", n)
		}
		rest(5 * time.Hour)
		given := len(grave.ids())
		rest(5 * time.Hour)
		if n := len(grave.ids()); n != given {
			t.Errorf("dead letters are still written after four hours: %d, then %d", given, n)
		}
		same(t, "they are known", len(b.dead("s")), 4)
	})
}

func TestGone(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := b.subscribe(eventing.Subscription{InFlight: 1}, func(eventing.Delivery) error {
			return &eventing.DeliveryError{Status: 410, Outcome: eventing.Disabled, Gone: true, Err: errors.New("answered 410")}
		})
		b.publish(numbered("e", 5)...)
		rest(3 * time.Hour)
		same(t, "attempts", r.ids(), []string{"e-0"})
		s, err := b.db.Subscription(t.Context(), eventing.EventSubscription, "s")
		if err != nil || s.State != eventing.Failed || s.Why == "" {
			t.Errorf("subscription is %+v (%v)", s, err)
		}
		s.Why, r.answer = "", nil
		b.subscribe(*s, nil)
		rest(time.Second)
		got := r.ids()[1:]
		slices.Sort(got)
		same(t, "attempts after it was enabled again", got, numbered("e", 5))
	})
}

func TestOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.d.Backlog = 100
		b.subscribe(eventing.Subscription{}, status(0, eventing.SocketError))
		b.publish(numbered("e", 130)...)
		rest(20 * time.Second)
		var dead []string
		for _, d := range b.dead("s") {
			dead = append(dead, strings.Join(strings.Fields(d)[:2], " "))
		}
		var want []string
		for _, id := range numbered("e", 30) {
			want = append(want, id+" BacklogExceeded")
		}
		slices.Sort(dead)
		slices.Sort(want)
		same(t, "the oldest", dead, want)
	})
}

func TestRedeliver(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.publish("before") // there was nobody
		var on atomic.Bool
		r := b.subscribe(eventing.Subscription{InFlight: 1, Retry: eventing.Retry{MaxAttempts: 1}}, switched(&on))
		start := time.Now()
		b.publish("e-0", "e-1")
		rest(time.Second)
		same(t, "dead letters", len(b.dead("s")), 2)
		on.Store(true)
		if err := b.d.Redeliver(t.Context(), eventing.EventSubscription, "S", "e-1"); err != nil {
			t.Fatal(err)
		}
		rest(time.Second)
		same(t, "one again", r.ids(), []string{"e-0", "e-1", "e-1"})
		same(t, "its count begins anew", r.got[2].counts, "0")
		if n, err := b.d.RedeliverSince(t.Context(), eventing.EventSubscription, "s", start); err != nil || n != 2 {
			t.Errorf("%d are redelivered (%v), want 2", n, err)
		}
		rest(time.Second)
		again := r.ids()[3:]
		slices.Sort(again)
		same(t, "all again", again, []string{"e-0", "e-1"})
		for _, err := range []error{
			b.d.Redeliver(t.Context(), eventing.EventSubscription, "s", "missing"), b.d.Redeliver(t.Context(), eventing.Webhook, "s", "e-0"),
			b.d.Enqueue(t.Context(), eventing.Webhook, "s", eventing.Event{ID: "x"}),
		} {
			if !errors.Is(err, eventing.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		}
		ping := eventing.Event{ID: "ping", Type: "not wanted", Data: []byte("{}"), Time: time.Now()}
		if err := b.d.Enqueue(t.Context(), eventing.EventSubscription, "s", ping); err != nil {
			t.Fatal(err)
		}
		rest(time.Second)
		same(t, "to one alone", r.ids()[5:], []string{"ping"})
		history, err := b.db.History(t.Context(), eventing.EventSubscription, "s", 100)
		if err != nil || len(history) != 6 || history[0].Event.ID != "ping" || history[0].Outcome != eventing.Delivered || history[5].Error != "answered 503" {
			t.Errorf("history is %+v (%v)", history, err)
		}
	})
}

func TestExpiredSubscription(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := b.subscribe(eventing.Subscription{Expires: time.Now().Add(time.Hour)}, status(500, eventing.Aborted))
		b.publish("e-0")
		rest(2 * time.Hour)
		n := len(r.ids())
		if _, err := b.db.Subscription(t.Context(), eventing.EventSubscription, "s"); !errors.Is(err, eventing.ErrNotFound) {
			t.Errorf("an hour later: %v", err)
		}
		rest(10 * time.Hour)
		same(t, "attempts after its end", len(r.ids()), n)
	})
}

func TestRate(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		r := b.subscribe(eventing.Subscription{Rate: 6}, nil)
		b.publish(numbered("e", 5)...)
		start := time.Now()
		rest(time.Minute)
		same(t, "attempts", r.since(start), strings.Fields("0s 10s 20s 30s 40s"))
	})
}

// TestOutage has a receiver that is down for 90 s, beside one that is not.
// Nothing is lost, what has waited arrives within a minute, and the other
// notices nothing.
func TestOutage(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		var on atomic.Bool
		on.Store(true)
		r := b.subscribe(eventing.Subscription{Name: "sick"}, func(d eventing.Delivery) error {
			if on.Load() {
				return nil
			}
			return status(0, eventing.SocketError)(d)
		})
		well := b.subscribe(eventing.Subscription{Name: "well"}, nil)
		start := time.Now()
		for i := range 720 { // 3 minutes
			on.Store(i < 120 || i >= 480)
			b.publish(fmt.Sprint("e-", i))
			rest(250 * time.Millisecond)
		}
		for i, got := range well.got {
			if late := got.at.Sub(start) - time.Duration(i)*250*time.Millisecond; late > 50*time.Millisecond {
				t.Fatalf("event %d was %v late for the one that is well", i, late)
			}
		}
		last := map[string]time.Time{}
		for _, got := range r.got {
			last[got.ids] = got.at
		}
		same(t, "events that arrived", []int{len(last), len(well.got)}, []int{720, 720})
		back := start.Add(2 * time.Minute)
		for id, at := range last {
			if at.After(back) && at.Sub(back) > time.Minute && idNumber(id) < 480 {
				t.Errorf("%s arrived %v after the receiver was back", id, at.Sub(back))
			}
		}
		same(t, "dead letters", b.dead("sick"), nil)
	})
}

func idNumber(id string) int {
	var n int
	_, _ = fmt.Sscanf(id, "e-%d", &n)
	return n
}
