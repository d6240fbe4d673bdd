package sinks

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/sinks/sinktest"
)

// TestKafka runs the suite against a cluster in this process.
func TestKafka(t *testing.T) {
	var consumer *kgo.Client
	sinkTo := func(t *testing.T, p *sinktest.Proxy, path, credential string, trusted bool) eventing.Sink {
		return mustOpen(t, eventing.Destination{
			Type: eventing.ToKafka, URL: "kafka://" + p.Address() + path, Trusted: trusted, Attributes: sinktest.Attributes(),
		}, credential)
	}
	open := func(t *testing.T, p *sinktest.Proxy, path, credential string, trusted bool) eventing.Sink {
		consumer = newConsumer(t, newCluster(t, p), p)
		return sinkTo(t, p, path, credential, trusted)
	}
	sinktest.Run(t, sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			return open(t, p, "/events", "ada:pass-4711", trusted)
		},
		Again: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
			return sinkTo(t, p, "/events", "ada:pass-4711", true)
		},
		Connects: true,
		Received: func(t *testing.T, n int) []sinktest.Message { return consume(t, consumer, n) },
		Largest:  1_000_000, TooLarge: 1_100_000,
		Lasting: []goleak.Option{goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*clientConn).read.func1")},
		Secrets: []string{"pass-4711", "wrong-0815"},
		Wrong: map[eventing.Outcome]func(*testing.T, *sinktest.Proxy) eventing.Sink{
			eventing.Unauthorized: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return open(t, p, "/events", "ada:wrong-0815", true)
			},
			eventing.NotFound: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return open(t, p, "/missing", "ada:pass-4711", true)
			},
		},
	})
}

func mustOpen(t *testing.T, d eventing.Destination, credential string) eventing.Sink {
	t.Helper()
	sink, err := Open(d, credential, address.Dialer{})
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func newCluster(t *testing.T, p *sinktest.Proxy) *kfake.Cluster {
	t.Helper()
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1), kfake.SeedTopics(1, "events"),
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", "pass-4711"),
		kfake.ListenFn(sinktest.Advertise(p)),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func newConsumer(t *testing.T, cluster *kfake.Cluster, p *sinktest.Proxy) *kgo.Client {
	t.Helper()
	login := (&kafkaSink{target: &target{credential: "ada:pass-4711", url: mustURL(t, "kafka://x")}})
	mechanism, err := login.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("events"), kgo.SASL(mechanism),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.Dialer(sinktest.Past(p)),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func consume(t *testing.T, client *kgo.Client, n int) (messages []sinktest.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(messages) < n {
		fetched := client.PollRecords(ctx, n-len(messages))
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d records of %d: %v", len(messages), n, err)
		}
		for r := range fetched.RecordsAll() {
			m := sinktest.Message{Body: r.Value, Properties: map[string]string{}}
			for _, h := range r.Headers {
				m.Properties[h.Key] = string(h.Value)
			}
			m.ID, m.ContentType = m.Properties["aeg-output-event-id"], m.Properties["content-type"]
			messages = append(messages, m)
		}
	}
	return messages
}
