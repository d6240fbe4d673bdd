package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"acrd/eventing"
)

// kafkaSink writes each event as one record to a topic. Records with one key
// stay in order.
type kafkaSink struct {
	target *target
	topic  string
	login  sasl.Mechanism // nil logs in as nobody
	line   *line[*kafkaLink]
}

func newKafka(t *target) (*kafkaSink, error) {
	s := &kafkaSink{target: t, topic: strings.Trim(t.url.Path, "/")}
	if s.topic == "" || strings.Contains(s.topic, "/") {
		return nil, errors.New("the destination's URL names no topic")
	}
	var err error
	if s.login, err = s.mechanism(); err != nil {
		return nil, err
	}
	s.line = newLine(s.dial)
	return s, nil
}

// mechanism is SASL's PLAIN, unless the URL asks for SCRAM. Event Hubs want
// their connection string for a password.
func (s *kafkaSink) mechanism() (sasl.Mechanism, error) {
	l, err := parseLogin(s.target.credential, s.target.url.Hostname())
	if err != nil || l == (login{}) {
		return nil, err
	}
	if connectionString(s.target.credential)["sharedaccesskey"] != "" {
		l = login{"$ConnectionString", s.target.credential}
	}
	switch name := s.target.url.Query().Get("mechanism"); strings.ToUpper(name) {
	case "", "PLAIN":
		return plain.Auth{User: l.user, Pass: l.password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: l.user, Pass: l.password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: l.user, Pass: l.password}.AsSha512Mechanism(), nil
	default:
		return nil, fmt.Errorf("there is no mechanism %q: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", name)
	}
}

// Deliver implements eventing.Sink.
func (s *kafkaSink) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	records, err := s.records(d)
	if err != nil {
		return nil, err
	}
	err = s.line.use(ctx, func(l *kafkaLink) error { return l.produce(ctx, records) })
	return s.target.exchange("PRODUCE", "Kafka", d, err), err
}

// Close implements eventing.Sink.
func (s *kafkaSink) Close() error {
	s.line.close()
	return nil
}

func (s *kafkaSink) records(d eventing.Delivery) ([]*kgo.Record, error) {
	records := make([]*kgo.Record, 0, len(d.Events))
	for _, a := range d.Events {
		body, contentType, err := encode(d, a)
		if err != nil {
			return nil, err
		}
		key := a.Key
		if key == "" {
			key = a.Subject
		}
		r := &kgo.Record{Topic: s.topic, Value: body, Timestamp: a.Time}
		for name, value := range single(d, a).Properties() {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		for name, value := range a.Attributes {
			if strings.EqualFold(name, "PartitionKey") {
				key = value
				continue
			}
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "content-type", Value: []byte(contentType)})
		r.Key = []byte(key)
		records = append(records, r)
	}
	return records, nil
}

// kafkaLink is a client of a cluster.
type kafkaLink struct {
	client *kgo.Client
	over   chan struct{} // closed by close
	once   sync.Once

	mu        sync.Mutex // guards what follows
	dialled   error      // why the last connection was not made
	loggingIn bool       // a broker has not answered a login yet
}

// dial finds out whether the cluster answers, and lets one in: the SDK would
// hide the reason behind repetitions otherwise.
func (s *kafkaSink) dial(ctx context.Context) (*kafkaLink, error) {
	l := &kafkaLink{over: make(chan struct{})}
	options := []kgo.Opt{
		kgo.SeedBrokers(s.target.address("9092")),
		kgo.Dialer(l.dialer(s.target)),
		kgo.ClientID("acrd"),
		kgo.DisableClientMetrics(),
		kgo.RequestRetries(0),
		kgo.RecordRetries(0),
		kgo.UnknownTopicRetries(0),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.DisableIdempotentWrite(), // whose repetitions are never given up
		kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // Event Hubs know gzip alone
		kgo.ProducerBatchMaxBytes(2 << 20),
		kgo.ProducerLinger(0),
	}
	if s.login != nil {
		options = append(options, kgo.SASL(watchedLogin{s.login, l}))
	}
	var err error
	if l.client, err = kgo.NewClient(options...); err != nil {
		return nil, invalid(err)
	}
	// Greeting a broker takes as long as it takes, whatever ctx says.
	defer context.AfterFunc(ctx, l.close)()
	if err := l.client.Ping(ctx); err != nil {
		err = errors.Join(ctx.Err(), err)
		l.close()
		return nil, l.failed("connect", err)
	}
	return l, nil
}

func (l *kafkaLink) dialer(t *target) func(ctx context.Context, network, hostPort string) (net.Conn, error) {
	return func(ctx context.Context, _, hostPort string) (net.Conn, error) {
		conn, err := t.connect(ctx, hostPort)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.dialled = err
		return conn, err
	}
}

// watchedLogin says when a login has begun, and when it has ended well: brokers
// may just hang up otherwise.
type watchedLogin struct {
	sasl.Mechanism
	link *kafkaLink
}

// Authenticate implements sasl.Mechanism.
func (w watchedLogin) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := w.Mechanism.Authenticate(ctx, host)
	w.link.setLoggingIn(true)
	return watchedSession{session, w.link}, first, err
}

type watchedSession struct {
	sasl.Session
	link *kafkaLink
}

// Challenge implements sasl.Session.
func (w watchedSession) Challenge(answer []byte) (done bool, next []byte, err error) {
	done, next, err = w.Session.Challenge(answer)
	w.link.setLoggingIn(!done)
	return done, next, err
}

func (l *kafkaLink) setLoggingIn(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loggingIn = is
}

func (l *kafkaLink) produce(ctx context.Context, records []*kgo.Record) error {
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return l.failed("produce", err)
	}
	return nil
}

func (l *kafkaLink) alive() bool {
	select {
	case <-l.over:
		return false
	default:
		return true
	}
}

func (l *kafkaLink) close() {
	l.once.Do(func() {
		close(l.over)
		l.client.Close()
	})
}

// kafkaOutcomes are Kafka's words for what Event Grid has words for.
var kafkaOutcomes = map[*kerr.Error]eventing.Outcome{
	kerr.UnknownTopicOrPartition:      eventing.NotFound,
	kerr.UnknownTopicID:               eventing.NotFound,
	kerr.InvalidTopicException:        eventing.NotFound,
	kerr.TopicAuthorizationFailed:     eventing.Unauthorized,
	kerr.ClusterAuthorizationFailed:   eventing.Unauthorized,
	kerr.SaslAuthenticationFailed:     eventing.Unauthorized,
	kerr.UnsupportedSaslMechanism:     eventing.Unauthorized,
	kerr.MessageTooLarge:              eventing.PayloadTooLarge,
	kerr.RecordListTooLarge:           eventing.PayloadTooLarge,
	kerr.InvalidRecord:                eventing.BadRequest,
	kerr.PolicyViolation:              eventing.BadRequest,
	kerr.RequestTimedOut:              eventing.TimedOut,
	kerr.ThrottlingQuotaExceeded:      eventing.Busy,
	kerr.NotEnoughReplicas:            eventing.Busy,
	kerr.NotEnoughReplicasAfterAppend: eventing.Busy,
	kerr.NotLeaderForPartition:        eventing.Busy,
	kerr.LeaderNotAvailable:           eventing.Busy,
	kerr.KafkaStorageError:            eventing.Full,
}

// failed says what became of a delivery. The reason for which a broker could
// not be reached is better than what the SDK makes of it.
func (l *kafkaLink) failed(operation string, err error) error {
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		o, ok := kafkaOutcomes[known]
		if !ok {
			o = eventing.SocketError
		}
		return failedAs(o, operation, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialled != nil {
		err = l.dialled
	} else if l.loggingIn && errors.Is(err, io.EOF) {
		return failedAs(eventing.Unauthorized, operation, errors.New("the broker has hung up on a login"))
	}
	return failed(operation, err)
}
