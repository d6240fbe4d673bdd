package eventing_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/sinks"
	"acrd/internal/store"
)

// endpoints are ten webhooks on the loopback.
type endpoints struct {
	urls []string
	got  atomic.Int64
	seen sync.Map // id of endpoint and event: when
}

func newEndpoints(tb testing.TB, n int) *endpoints {
	e := &endpoints{}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { l.Close() })
		e.urls = append(e.urls, "http://"+l.Addr().String())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go e.answer(c, i)
			}
		}()
	}
	return e
}

// answer takes requests with as little work as can be: the receiver is not what
// is measured, and has the same processors.
func (e *endpoints) answer(c net.Conn, endpoint int) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 16<<10)
	var body []byte
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
			if len(line) == 2 {
				break
			}
		}
		body = slices.Grow(body[:0], length)[:length]
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		e.note(endpoint, body)
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// note finds the ids of a batch without reading all of its JSON.
func (e *endpoints) note(endpoint int, body []byte) {
	now := time.Now()
	for part := range strings.SplitSeq(string(body), `"id":"bench-`) {
		id, _, ok := strings.Cut(part, `"`)
		if n, err := strconv.Atoi(id); ok && err == nil {
			if _, again := e.seen.LoadOrStore([2]int{endpoint, n}, now); !again {
				e.got.Add(1)
			}
		}
	}
}

// await waits for so many deliveries, or for a minute, without the questions to
// the store that empty asks: counting what waits has a price, too.
func (e *endpoints) await(deliveries int64) {
	for deadline := time.Now().Add(time.Minute); e.got.Load() < deliveries && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// A plant is a dispatcher on SQLite with webhooks that are really called.
type plant struct {
	db   *store.DB
	d    *eventing.Dispatcher
	stop func()
}

func newPlant(b *testing.B) *plant {
	b.Helper()
	db, err := store.Open(b.Context(), store.Options{URL: filepath.Join(b.TempDir(), "acrd.db"), Sealer: plain{}})
	if err != nil {
		b.Fatal(err)
	}
	keys := func(context.Context) (sinks.Keys, error) { return sinks.Keys{}, nil }
	p := &plant{db: db, d: &eventing.Dispatcher{
		Store: db, Registry: "/registry", Alone: true, Lease: time.Minute, Log: slog.New(slog.DiscardHandler),
		Open: func(d eventing.Destination) (eventing.Sink, error) {
			return sinks.NewWebHook(d, keys, "bench", address.Dialer{})
		},
	}}
	return p
}

func (p *plant) serve(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.d.Serve(ctx); err != nil {
			b.Error(err)
		}
	}()
	p.stop = func() { cancel(); <-done }
}

func (p *plant) close(b *testing.B) {
	p.stop()
	if err := p.db.Close(); err != nil {
		b.Error(err)
	}
}

func (p *plant) subscribe(b *testing.B, urls []string, batch int) {
	b.Helper()
	for i, url := range urls {
		s := eventing.Subscription{
			Kind: eventing.EventSubscription, Name: fmt.Sprint("bench-", i), State: eventing.Succeeded, Schema: eventing.EventGridSchema,
			Destination: eventing.Destination{Type: eventing.ToWebHook, URL: url, MaxEvents: batch, PreferredKB: 1024, Trusted: true},
		}
		err := p.db.ChangeSubscription(b.Context(), s.Kind, s.Name, func(*eventing.Subscription) (*eventing.Subscription, error) { return &s, nil })
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchEvent(n int) eventing.Event {
	e := eventing.NewRegistryEvent(eventing.ImagePushed, time.Now(), eventing.Target{
		MediaType: "application/vnd.oci.image.manifest.v1+json", Repository: "team/app", Tag: "v1", Digest: "sha256:" + strings.Repeat("0", 64), Size: 1234,
	}, eventing.Origin{Location: "local"})
	e.ID = fmt.Sprint("bench-", n)
	return e
}

func (p *plant) publish(b *testing.B, first, n int) {
	events := make([]eventing.Event, n)
	for i := range events {
		events[i] = benchEvent(first + i)
	}
	if err := p.db.AddEvents(b.Context(), events...); err != nil {
		b.Error(err)
	}
}

// empty waits until all is delivered and written down.
func (p *plant) empty(b *testing.B) {
	b.Helper()
	for {
		open, err := p.db.OpenEvents(b.Context(), 1)
		if err != nil {
			b.Fatal(err)
		}
		depths, err := p.db.Depths(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if len(open) == 0 && len(depths) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkFanOut tells ten webhooks of a stream of events, twenty of which are
// written at a time. What is measured ends when the last delivery is written
// down as well. Bar: 2,000 events a second.
func BenchmarkFanOut(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			const n, at = 10_000, 20
			e := newEndpoints(b, 10)
			p := newPlant(b)
			p.subscribe(b, e.urls, batch)
			p.serve(b)
			defer p.close(b)
			first := 0
			for b.Loop() {
				for i := first; i < first+n; i += at {
					p.publish(b, i, at)
				}
				first += n
				e.await(int64(10 * first))
				p.empty(b)
				if got := e.got.Load(); got != int64(10*first) {
					b.Fatalf("%d deliveries of %d", got, 10*first)
				}
			}
			b.ReportMetric(float64(first)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(2000, "events/s-bar")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkLatency publishes 100 events a second, each in a transaction of its
// own, to ten webhooks. Bar: p99 of 100 ms from before that transaction to the
// last endpoint that has the event.
func BenchmarkLatency(b *testing.B) {
	const n = 1000
	e := newEndpoints(b, 10)
	p := newPlant(b)
	p.subscribe(b, e.urls, 1)
	p.serve(b)
	defer p.close(b)
	var times []time.Duration
	first := 0
	for b.Loop() {
		began := make([]time.Time, n)
		tick := time.NewTicker(10 * time.Millisecond)
		for i := range n {
			<-tick.C
			began[i] = time.Now()
			p.publish(b, first+i, 1)
		}
		tick.Stop()
		p.empty(b)
		for i := range n {
			last := time.Duration(0)
			for endpoint := range e.urls {
				at, ok := e.seen.Load([2]int{endpoint, first + i})
				if !ok {
					b.Fatalf("event %d is not at endpoint %d", i, endpoint)
				}
				last = max(last, at.(time.Time).Sub(began[i]))
			}
			times = append(times, last)
		}
		first += n
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2])/1e6, "ms-p50")
	b.ReportMetric(float64(times[len(times)*99/100])/1e6, "ms-p99")
	b.ReportMetric(100, "ms-p99-bar")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkBacklog lets 100,000 events wait for an endpoint that is down, and
// then takes them. Bar: 64 MiB more than before.
func BenchmarkBacklog(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		var down atomic.Bool
		down.Store(true)
		var got atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			body, _ := io.ReadAll(r.Body)
			got.Add(int64(strings.Count(string(body), `"metadataVersion"`)))
		}))
		p := newPlant(b)
		p.d.Backlog = 2 * n
		p.subscribe(b, []string{s.URL}, 100)
		debug.FreeOSMemory()
		before, most := resident(b), 0
		p.serve(b)
		for i := 0; i < n; i += 500 {
			p.publish(b, i, 500)
			most = max(most, resident(b))
		}
		time.Sleep(2 * time.Second)
		most = max(most, resident(b))
		down.Store(false)
		start := time.Now()
		for p.waiting(b) > 0 {
			time.Sleep(20 * time.Millisecond)
			most = max(most, resident(b))
		}
		if got.Load() < n {
			b.Fatalf("%d of %d were delivered", got.Load(), n)
		}
		b.ReportMetric(float64(most-before)/(1<<20), "MiB")
		b.ReportMetric(64, "MiB-bar")
		b.ReportMetric(time.Since(start).Seconds(), "s-to-drain")
		b.ReportMetric(0, "ns/op")
		p.close(b)
		s.Close()
	}
}

func (p *plant) waiting(b *testing.B) int {
	depths, err := p.db.Depths(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	total := 0
	for _, d := range depths {
		total += d.Events
	}
	return total
}

// resident is what this process has in memory, in bytes.
func resident(b *testing.B) int {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
