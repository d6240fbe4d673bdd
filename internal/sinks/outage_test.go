package sinks_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/go-amqp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/sinks"
	"acrd/internal/sinks/sinktest"
	"acrd/internal/store"
)

// outage is how long receivers are out of reach.
func outage(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("ACRD_OUTAGE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 90 * time.Second
}

// TestOutage delivers to all kinds of receivers, each three times: to one that
// goes away, to one that becomes slow, and to one whose connections are reset
// again and again. Nothing is lost, what each message says of earlier attempts
// is true, dead letters say why they died, and two healthy receivers see
// nothing of it.
func TestOutage(t *testing.T) {
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		t.Skip("ACRD_INTEGRATION is not 1")
	}
	t.Parallel()
	w := newWorld(t)
	w.azureStorage(t)
	w.receivers(t)
	w.graves(t)
	w.serve(t)

	w.doom(t)
	w.publish(t, 3*time.Second)
	w.faults(t)
	w.publish(t, outage(t))
	w.repair(t)
	w.publish(t, 3*time.Second)
	returned := time.Now()
	w.settle(t, returned)
	w.judge(t)
}

// perSecond is the rate of events.
const perSecond = 10

// world is a dispatcher with its receivers.
type world struct {
	db        *store.DB
	dir       string
	key       map[string]string // credentials by the secret's name
	published []string
	at        map[string]time.Time
	down      []*sinktest.Proxy
	slow      []*sinktest.Proxy
	reset     []*sinktest.Proxy
	resetting atomic.Bool
	healthy   []string
	lasting   []string
	doomed    []string // events that the graves want
	graveyard map[string]grave
	azure     *sinktest.Azure
	blobs     *container.Client
	letters   eventing.Destination // of dead letters, in Azure

	mu       sync.Mutex                  // guards what follows
	received map[string]map[string][]int // subscription, event: the counts that its messages said
	latency  map[string][]time.Duration
	failed   map[string]map[string]int // subscription, event: attempts that failed
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		dir: t.TempDir(), key: map[string]string{}, at: map[string]time.Time{},
		received: map[string]map[string][]int{}, latency: map[string][]time.Duration{}, failed: map[string]map[string]int{},
	}
	var err error
	if w.db, err = store.Open(t.Context(), store.Options{URL: filepath.Join(w.dir, "acrd.db"), Sealer: unsealed{}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// unsealed seals nothing.
type unsealed struct{}

func (unsealed) SealFor(_ string, b []byte) ([]byte, error) { return b, nil }
func (unsealed) OpenFor(_ string, b []byte) ([]byte, error) { return b, nil }

func (w *world) subscribe(t *testing.T, name string, d eventing.Destination, change ...func(*eventing.Subscription)) {
	t.Helper()
	d.Trusted = true
	s := &eventing.Subscription{
		Kind: eventing.EventSubscription, Name: name, State: eventing.Succeeded, Schema: eventing.CloudEvents10, Destination: d, Created: time.Now(),
	}
	for _, c := range change {
		c(s)
	}
	err := w.db.ChangeSubscription(t.Context(), s.Kind, name, func(*eventing.Subscription) (*eventing.Subscription, error) { return s, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// watched counts the attempts of a subscription.
type watched struct {
	eventing.Sink
	world *world
}

func (s watched) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	x, err := s.Sink.Deliver(ctx, d)
	if err != nil {
		s.world.mu.Lock()
		defer s.world.mu.Unlock()
		if s.world.failed[d.Subscription] == nil {
			s.world.failed[d.Subscription] = map[string]int{}
		}
		for _, e := range d.Events {
			s.world.failed[d.Subscription][e.ID]++
		}
	}
	return x, err
}

func (w *world) open(d eventing.Destination) (eventing.Sink, error) {
	var sink eventing.Sink
	var err error
	if d.Type == eventing.ToWebHook {
		sink, err = sinks.NewWebHook(d, func(context.Context) (sinks.Keys, error) { return sinks.Keys{}, nil }, "", address.Dialer{})
	} else {
		sink, err = sinks.Open(d, w.key[d.Secret], address.Dialer{})
	}
	if err != nil {
		return nil, err
	}
	return watched{sink, w}, nil
}

// serve runs a dispatcher until the test ends.
func (w *world) serve(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	var all sync.WaitGroup
	d := &eventing.Dispatcher{
		Store: w.db, Open: w.open, Registry: "/registries/demo", Alone: true, DeadDelay: time.Second,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	all.Go(func() { _ = w.db.Serve(ctx) })
	all.Go(func() { _ = d.Serve(ctx) })
	t.Cleanup(func() {
		cancel(errors.New("the test is over"))
		all.Wait()
		w.db.Close()
	})
}

func (w *world) publish(t *testing.T, length time.Duration) {
	t.Helper()
	for end, tick := time.Now().Add(length), time.NewTicker(time.Second/perSecond); time.Now().Before(end); <-tick.C {
		w.publishOne(t, "app:v1")
	}
}

// doom publishes the events that the graves want, too.
func (w *world) doom(t *testing.T) {
	t.Helper()
	for range 5 {
		w.doomed = append(w.doomed, w.publishOne(t, "doomed:v1"))
	}
}

func (w *world) publishOne(t *testing.T, subject string) string {
	t.Helper()
	e := sinktest.Event(fmt.Sprintf("00000000-0000-4000-8000-%012d", len(w.published))).Event
	e.Subject, e.Time = subject, time.Now()
	w.mu.Lock()
	w.at[e.ID] = e.Time
	w.published = append(w.published, e.ID)
	w.mu.Unlock()
	if err := w.db.AddEvents(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return e.ID
}

// tell takes down that a subscription's receiver has got a message.
func (w *world) tell(subscription string, body []byte, count int) {
	var e struct{ ID string }
	_ = json.Unmarshal(body, &e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.received[subscription] == nil {
		w.received[subscription] = map[string][]int{}
	}
	w.received[subscription][e.ID] = append(w.received[subscription][e.ID], count)
	w.latency[subscription] = append(w.latency[subscription], time.Since(w.at[e.ID]))
}

// count reads aeg-delivery-count; -1 is none.
func count(text string) int {
	n := -1
	_, _ = fmt.Sscan(text, &n)
	return n
}

// each makes three subscriptions of a kind of receiver.
func (w *world) each(t *testing.T, kind, upstream string, destination func(name string, p *sinktest.Proxy) eventing.Destination) {
	t.Helper()
	for fault, into := range map[string]*[]*sinktest.Proxy{"down": &w.down, "slow": &w.slow, "reset": &w.reset} {
		p, name := sinktest.NewProxy(t), kind+"-"+fault
		p.To(upstream)
		*into = append(*into, p)
		w.lasting = append(w.lasting, name)
		w.subscribe(t, name, destination(name, p))
	}
}

func (w *world) receivers(t *testing.T) {
	t.Helper()
	w.webhooks(t)
	w.kafka(t)
	w.nats(t)
	w.rabbit(t)
	w.queues(t)
}

func (w *world) webhooks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			w.tell(strings.Trim(r.URL.Path, "/"), body, count(r.Header.Get("aeg-delivery-count")))
		}
	}))
	t.Cleanup(server.Close)
	to := func(name string, p *sinktest.Proxy) eventing.Destination {
		return eventing.Destination{Type: eventing.ToWebHook, URL: "http://" + p.Address() + "/" + name}
	}
	w.each(t, "webhook", server.Listener.Addr().String(), to)
	for _, name := range []string{"healthy-1", "healthy-2"} {
		p := sinktest.NewProxy(t)
		p.To(server.Listener.Addr().String())
		w.healthy = append(w.healthy, name)
		w.subscribe(t, name, to(name, p))
	}
}

// until runs a loop that receives until the test ends.
func until(t *testing.T, loop func(context.Context)) {
	ctx, cancel := context.WithCancelCause(context.Background())
	var all sync.WaitGroup
	all.Go(func() { loop(ctx) })
	t.Cleanup(func() {
		cancel(errors.New("the test is over"))
		all.Wait()
	})
}

func (w *world) kafka(t *testing.T) {
	// The proxies are what the one broker would advertise: each has its own.
	for fault, into := range map[string]*[]*sinktest.Proxy{"down": &w.down, "slow": &w.slow, "reset": &w.reset} {
		p, name := sinktest.NewProxy(t), "kafka-"+fault
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, name), kfake.ListenFn(sinktest.Advertise(p)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		*into = append(*into, p)
		w.lasting = append(w.lasting, name)
		w.subscribe(t, name, eventing.Destination{Type: eventing.ToKafka, URL: "kafka://" + p.Address() + "/" + name})
		client, err := kgo.NewClient(
			kgo.SeedBrokers(p.Address()), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchMaxWait(100*time.Millisecond), kgo.Dialer(sinktest.Past(p)),
		)
		if err != nil {
			t.Fatal(err)
		}
		until(t, func(ctx context.Context) {
			defer client.Close()
			for ctx.Err() == nil {
				for r := range client.PollFetches(ctx).RecordsAll() {
					for _, h := range r.Headers {
						if h.Key == "aeg-delivery-count" {
							w.tell(name, r.Value, count(string(h.Value)))
						}
					}
				}
			}
		})
	}
}

func (w *world) nats(t *testing.T) {
	_, server := sinktest.NATS(t)
	conn, err := nats.Connect("nats://"+server, nats.UserInfo(sinktest.User, sinktest.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	streams, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	w.key["login"] = sinktest.User + ":" + sinktest.Password
	w.each(t, "nats", server, func(name string, p *sinktest.Proxy) eventing.Destination {
		s, err := streams.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		consumer, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		consuming, err := consumer.Consume(func(m jetstream.Msg) { w.tell(name, m.Data(), count(m.Headers().Get("aeg-delivery-count"))) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(consuming.Stop)
		return eventing.Destination{Type: eventing.ToNATS, URL: "nats://" + p.Address() + "/" + name, Secret: "login"}
	})
}

func (w *world) rabbit(t *testing.T) {
	_, server := sinktest.RabbitMQ(t)
	conn, err := amqp.Dial(t.Context(), "amqp://"+server, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(sinktest.User, sinktest.Password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	session, err := conn.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.each(t, "amqp", server, func(name string, p *sinktest.Proxy) eventing.Destination {
		// Only a sender can declare a durable queue.
		_, err := session.NewSender(t.Context(), "/queue/"+name, &amqp.SenderOptions{TargetDurability: amqp.DurabilityUnsettledState})
		if err != nil {
			t.Fatal(err)
		}
		receiver, err := session.NewReceiver(t.Context(), "/amq/queue/"+name, &amqp.ReceiverOptions{Credit: 100})
		if err != nil {
			t.Fatal(err)
		}
		until(t, func(ctx context.Context) {
			for m, err := receiver.Receive(ctx, nil); err == nil; m, err = receiver.Receive(ctx, nil) {
				w.tell(name, m.GetData(), count(fmt.Sprint(m.ApplicationProperties["aeg-delivery-count"])))
				_ = receiver.AcceptMessage(ctx, m)
			}
		})
		return eventing.Destination{Type: eventing.ToAMQP, URL: "amqp://" + p.Address() + "/queue/" + name, Secret: "login"}
	})
}

// azureStorage is where queues, and dead letters, are.
func (w *world) azureStorage(t *testing.T) {
	t.Helper()
	w.azure = sinktest.Azurite(t)
	w.key["azure"] = w.azure.Key
	login, err := container.NewSharedKeyCredential(w.azure.Account, w.azure.Key)
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + w.azure.Blob + "/" + w.azure.Account + "/letters"
	w.blobs, err = container.NewClientWithSharedKeyCredential(address, login, nil)
	if err == nil {
		_, err = w.blobs.Create(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.letters = eventing.Destination{Type: eventing.ToStorageBlob, URL: address, Secret: "azure", Trusted: true}
}

func (w *world) queues(t *testing.T) {
	t.Helper()
	key, err := azqueue.NewSharedKeyCredential(w.azure.Account, w.azure.Key)
	if err != nil {
		t.Fatal(err)
	}
	w.each(t, "queue", w.azure.Queue, func(name string, p *sinktest.Proxy) eventing.Destination {
		client, err := azqueue.NewQueueClientWithSharedKeyCredential("http://"+w.azure.Queue+"/"+w.azure.Account+"/"+name, key, nil)
		if err == nil {
			_, err = client.Create(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		until(t, func(ctx context.Context) { w.drain(ctx, name, client) })
		return eventing.Destination{Type: eventing.ToStorageQueue, URL: "http://" + p.Address() + "/" + w.azure.Account + "/" + name, Secret: "azure"}
	})
}

func (w *world) drain(ctx context.Context, name string, client *azqueue.QueueClient) {
	most := int32(32)
	for tick := time.NewTicker(200 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		answer, err := client.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{NumberOfMessages: &most})
		if err != nil {
			continue
		}
		for _, m := range answer.Messages {
			if body, err := base64.StdEncoding.DecodeString(*m.MessageText); err == nil {
				w.tell(name, body, -1)
				_, _ = client.DeleteMessage(ctx, *m.MessageID, *m.PopReceipt, nil)
			}
		}
	}
}

func (w *world) faults(t *testing.T) {
	for _, p := range w.down {
		p.Down()
	}
	for _, p := range w.slow {
		p.Slow(400 * time.Millisecond)
	}
	w.resetting.Store(true)
	until(t, func(ctx context.Context) {
		tick := time.NewTicker(700 * time.Millisecond)
		for n := 0; ctx.Err() == nil && w.resetting.Load(); n++ {
			for _, p := range w.reset {
				p.Reset()
				p.ResetAfter([]int{300, -1}[n%2]) // in the middle of a delivery, too
			}
			<-tick.C
		}
		for _, p := range w.reset {
			p.ResetAfter(-1)
		}
	})
}

func (w *world) repair(t *testing.T) {
	w.resetting.Store(false)
	for _, p := range slices.Concat(w.down, w.slow) {
		p.Up(t)
	}
}

// settle waits until everybody has everything. Event Grid's schedule has its
// longest pause of the time in question after the third attempt.
func (w *world) settle(t *testing.T, returned time.Time) {
	t.Helper()
	for missing := w.missing(); len(missing) > 0; missing = w.missing() {
		if time.Since(returned) > 2*time.Minute {
			t.Fatalf("after %v these lack events: %v", time.Since(returned).Round(time.Second), missing)
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("%d events; everybody has all of them %v after the return", len(w.published), time.Since(returned).Round(100*time.Millisecond))
}

// missing counts the events that subscriptions lack.
func (w *world) missing() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	lack := map[string]int{}
	for _, name := range slices.Concat(w.lasting, w.healthy) {
		if n := len(w.published) - len(w.received[name]); n > 0 {
			lack[name] = n
		}
	}
	return lack
}

func (w *world) judge(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.healthy {
		all := slices.Sorted(slices.Values(w.latency[name]))
		p99 := all[len(all)*99/100]
		t.Logf("%s: p50 %v, p99 %v, worst %v", name, all[len(all)/2], p99, all[len(all)-1])
		if p99 > 2*time.Second {
			t.Errorf("%s: p99 is %v, want at most 2 s", name, p99)
		}
		for id, counts := range w.received[name] {
			if !slices.Equal(counts, []int{0}) {
				t.Errorf("%s: event %s was received with counts %v, want once", name, id, counts)
			}
		}
	}
	for _, name := range w.lasting {
		twice, again := 0, 0
		for id, counts := range w.received[name] {
			failures := w.failed[name][id]
			// A stream of NATS drops what it has: the acknowledgement was lost.
			most := slices.Max(counts)
			kept := most < failures && strings.HasPrefix(name, "nats-")
			if most >= 0 && most != failures && !kept {
				t.Errorf("%s: event %s: its messages say %v earlier attempts, there were %d", name, id, counts, failures)
			}
			if len(counts) > 1 {
				twice++
			}
			if failures > 0 {
				again++
			}
			if len(counts) > failures+1 {
				t.Errorf("%s: event %s was received %d times in %d attempts", name, id, len(counts), failures+1)
			}
		}
		t.Logf("%s: %d events, %d needed more than one attempt, %d came more than once", name, len(w.received[name]), again, twice)
		if strings.HasSuffix(name, "-down") && again == 0 {
			t.Errorf("%s: nothing has failed", name)
		}
	}
	w.judgeLetters(t)
}

// A grave is a subscription whose events die, and what their letters say.
type grave struct {
	reason   string
	attempts int
	outcome  string
	letters  func(t *testing.T) [][]byte
}

// graves are subscriptions to what refuses events, or is not there. Their
// letters go into a folder, and to Azure.
func (w *world) graves(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(count(strings.Trim(r.URL.Path, "/")))
	}))
	t.Cleanup(server.Close)
	nobody := sinktest.NewProxy(t)
	nobody.Down()
	w.graveyard = map[string]grave{}
	for _, g := range []struct {
		name, url string
		retry     eventing.Retry
		grave     grave
	}{
		{"attempts", "http://" + nobody.Address(), eventing.Retry{MaxAttempts: 2}, grave{reason: "MaxDeliveryAttemptsExceeded", attempts: 2, outcome: "SocketError"}},
		{"ttl", "http://" + nobody.Address(), eventing.Retry{TTL: 5 * time.Second}, grave{reason: "TimeToLiveExceeded", attempts: 1, outcome: "SocketError"}},
		{"bad", server.URL + "/400", eventing.Retry{}, grave{reason: "UndeliverableDueToBadRequest", attempts: 1, outcome: "BadRequest"}},
		{"large", server.URL + "/413", eventing.Retry{}, grave{reason: "UndeliverableDueToPayloadTooLarge", attempts: 1, outcome: "PayloadTooLarge"}},
		{"login", server.URL + "/401", eventing.Retry{}, grave{reason: "UndeliverableDueToUnauthorized", attempts: 1, outcome: "Unauthorized"}},
	} {
		for kind, letters := range map[string]eventing.Destination{
			"folder": {Type: eventing.ToFolder, URL: (&url.URL{Scheme: "file", Path: filepath.Join(w.dir, "letters")}).String(), Trusted: true},
			"blob":   w.letters,
		} {
			name := "grave-" + g.name + "-" + kind
			g.grave.letters = map[string]func(*testing.T) [][]byte{"folder": w.inFolder(name), "blob": w.inBlobs(name)}[kind]
			w.graveyard[name] = g.grave
			w.subscribe(t, name, eventing.Destination{Type: eventing.ToWebHook, URL: g.url}, func(s *eventing.Subscription) {
				s.Schema, s.Filter.SubjectBegins, s.Retry, s.DeadLetter = eventing.EventGridSchema, "doomed", g.retry, &letters
			})
		}
	}
}

func (w *world) inFolder(name string) func(*testing.T) [][]byte {
	return func(t *testing.T) (letters [][]byte) {
		paths, _ := filepath.Glob(filepath.Join(w.dir, "letters", strings.ToUpper(name), "*/*/*/*/*.json"))
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			letters = append(letters, b)
		}
		return letters
	}
}

func (w *world) inBlobs(name string) func(*testing.T) [][]byte {
	return func(t *testing.T) (letters [][]byte) {
		prefix := strings.ToUpper(name) + "/"
		for pager := w.blobs.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix}); pager.More(); {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Segment.BlobItems {
				answer, err := w.blobs.NewBlobClient(*item.Name).DownloadStream(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				letters = append(letters, b)
			}
		}
		return letters
	}
}

func (w *world) judgeLetters(t *testing.T) {
	t.Helper()
	for name, g := range w.graveyard {
		dead := map[string]int{}
		for _, b := range g.letters(t) {
			var letters []struct {
				ID, DeadLetterReason, LastDeliveryOutcome string
				DeliveryAttempts                          int
			}
			if err := json.Unmarshal(b, &letters); err != nil {
				t.Errorf("%s: letter %s: %v", name, b, err)
			}
			for _, l := range letters {
				dead[l.ID]++
				if l.DeadLetterReason != g.reason || l.DeliveryAttempts != g.attempts || l.LastDeliveryOutcome != g.outcome {
					t.Errorf("%s: letter %+v, want %s after %d attempts for %s", name, l, g.reason, g.attempts, g.outcome)
				}
			}
		}
		for _, id := range w.doomed {
			if dead[id] != 1 {
				t.Errorf("%s: event %s has %d letters, want 1", name, id, dead[id])
			}
		}
		if len(dead) != len(w.doomed) {
			t.Errorf("%s: %d dead letters, want %d", name, len(dead), len(w.doomed))
		}
	}
}
