package eventing_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/sinks"
	"acrd/internal/store"
)

// killedEnv makes the test's own program the daemon that is killed.
const killedEnv = "ACRD_TEST_KILLED_STORE"

// TestKilled kills a daemon again and again while it publishes and delivers.
// Whatever it has said to be published arrives, at each of three endpoints,
// one of which fails now and then.
func TestKilled(t *testing.T) {
	if path := os.Getenv(killedEnv); path != "" {
		publishUntilKilled(t, path)
		return
	}
	const kills = 25
	var mu sync.Mutex // guards got
	got := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was killed
		}
		if r.URL.Path == "/flaky" && rand.N(10) == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for part := range strings.SplitSeq(string(body), `"id":"`) {
			if id, _, ok := strings.Cut(part, `"`); ok && strings.HasPrefix(id, "k-") {
				got[r.URL.Path+" "+id]++
			}
		}
	}))
	defer s.Close()
	path := filepath.Join(t.TempDir(), "acrd.db")
	db := openStore(t, path)
	for name, d := range map[string]eventing.Destination{"well": {}, "batches": {MaxEvents: 20}, "flaky": {}} {
		d.Type, d.URL, d.Trusted = eventing.ToWebHook, s.URL+"/"+name, true
		sub := eventing.Subscription{Kind: eventing.EventSubscription, Name: name, State: eventing.Succeeded, Schema: eventing.EventGridSchema, Filter: eventing.Filter{Types: []string{"x"}}, Destination: d}
		err := db.ChangeSubscription(t.Context(), sub.Kind, name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &sub, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var published []string
	for range kills {
		published = append(published, killOnce(t, path)...)
	}
	db = openStore(t, path)
	defer db.Close()
	if err := drain(t, db); err != nil {
		t.Fatal(err)
	}
	again := 0
	for _, id := range published {
		for _, name := range []string{"well", "batches", "flaky"} {
			n := got["/"+name+" "+id]
			if n == 0 {
				t.Errorf("event %s was lost on its way to %s", id, name)
			}
			again += max(0, n-1)
		}
	}
	t.Logf("%d kills, %d events to 3 endpoints, %d deliveries repeated", kills, len(published), again)
	if len(published) < kills {
		t.Errorf("only %d events were published", len(published))
	}
}

func openStore(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: path, Sealer: plain{}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// quick is a dispatcher whose schedule has no long pauses.
func quick(db *store.DB) *eventing.Dispatcher {
	keys := func(context.Context) (sinks.Keys, error) { return sinks.Keys{}, nil }
	return &eventing.Dispatcher{
		Store: db, Registry: "/registry", Alone: true, Lease: time.Minute, Log: slog.New(slog.DiscardHandler),
		Jitter: func(time.Duration) time.Duration { return 20 * time.Millisecond },
		Open: func(d eventing.Destination) (eventing.Sink, error) {
			return sinks.NewWebHook(d, keys, "test", address.Dialer{})
		},
	}
}

func publishUntilKilled(t *testing.T, path string) {
	db := openStore(t, path)
	go func() { _ = quick(db).Serve(t.Context()) }()
	for n := 0; ; n++ {
		id := fmt.Sprintf("k-%d-%d", os.Getpid(), n)
		if err := db.AddEvents(t.Context(), eventing.Event{ID: id, Type: "x", Time: time.Now(), Data: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		fmt.Println(id)
		time.Sleep(time.Millisecond)
	}
}

// killOnce returns what was published before the kill.
func killOnce(t *testing.T, path string) []string {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilled$")
	child.Env = append(os.Environ(), killedEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var published []string
	lines := bufio.NewScanner(out)
	timer := (*time.Timer)(nil)
	for lines.Scan() {
		if timer == nil { // it is at work
			timer = time.AfterFunc(rand.N(300*time.Millisecond), func() { _ = child.Process.Kill() })
		}
		if strings.HasPrefix(lines.Text(), "k-") {
			published = append(published, lines.Text())
		}
	}
	_ = child.Wait() // it was killed
	return published
}

// drain delivers what is left.
func drain(t *testing.T, db *store.DB) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- quick(db).Serve(ctx) }()
	for ctx.Err() == nil {
		open, err := db.Outbox(ctx, 1)
		if err != nil {
			return err
		}
		depths, err := db.Depths(ctx)
		if err != nil {
			return err
		}
		if len(open) == 0 && len(depths) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return <-served
}
