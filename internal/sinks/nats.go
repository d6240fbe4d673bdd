package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"acrd/eventing"
)

// natsSink publishes each event as one message to a stream of JetStream. The
// stream drops a message whose id it has.
type natsSink struct {
	target  *target
	subject string // empty is one of the event's own
	options nats.Options
	line    *line[*natsLink]
}

func newNATS(t *target) (*natsSink, error) {
	s := &natsSink{target: t, subject: strings.Trim(t.url.Path, "/")}
	if strings.ContainsAny(s.subject, " \t*>/") {
		return nil, errors.New("the destination's URL has no subject that can be published to")
	}
	s.options = nats.GetDefaultOptions()
	s.options.Url = "nats://" + t.address("4222")
	s.options.AllowReconnect = false
	s.options.SkipHostLookup = true // the dialer's own is the one that is judged
	s.options.Timeout = Timeout
	s.options.NoCallbacksAfterClientClose = true
	s.options.Name = "acrd"
	// A server may want encryption that the URL does not ask for.
	var err error
	if s.options.TLSConfig, err = t.encryption(); err != nil {
		return nil, err
	}
	s.options.Secure = t.tls != nil
	if err := s.logIn(t.credential); err != nil {
		return nil, err
	}
	s.line = newLine(s.dial)
	return s, nil
}

// logIn reads user:password, the contents of a credentials file, or a token.
func (s *natsSink) logIn(credential string) error {
	switch {
	case credential == "":
	case strings.Contains(credential, "-----BEGIN NATS USER JWT-----"):
		return nats.UserCredentialBytes([]byte(credential))(&s.options)
	case strings.Contains(credential, ":"):
		s.options.User, s.options.Password, _ = strings.Cut(credential, ":")
	default:
		s.options.Token = credential
	}
	return nil
}

// Deliver implements eventing.Sink.
func (s *natsSink) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	messages, err := s.messages(d)
	if err != nil {
		return nil, err
	}
	err = s.line.use(ctx, func(l *natsLink) error { return l.publish(ctx, messages) })
	return s.target.exchange("PUB", "NATS", d, err), err
}

// Close implements eventing.Sink.
func (s *natsSink) Close() error {
	s.line.close()
	return nil
}

func (s *natsSink) messages(d eventing.Delivery) ([]*nats.Msg, error) {
	messages := make([]*nats.Msg, 0, len(d.Events))
	for _, a := range d.Events {
		body, contentType, err := encode(d, a)
		if err != nil {
			return nil, err
		}
		m := nats.NewMsg(s.subjectOf(d, a))
		m.Data = body
		for name, value := range single(d, a).Properties() {
			m.Header[name] = []string{value}
		}
		for name, value := range a.Attributes {
			m.Header[name] = []string{value}
		}
		m.Header["Content-Type"] = []string{contentType}
		m.Header[nats.MsgIdHdr] = []string{a.ID}
		messages = append(messages, m)
	}
	return messages, nil
}

// subjectOf is acr.<registry>.<type> unless the URL says otherwise.
func (s *natsSink) subjectOf(d eventing.Delivery, a eventing.Attempted) string {
	if s.subject != "" {
		return s.subject
	}
	return "acr." + token(path.Base(d.Registry)) + "." + strings.Trim(token(a.Type), ".")
}

// token keeps a publisher's own type from being a wildcard.
func token(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '*' || r == '>' {
			return '_'
		}
		return r
	}, s)
}

// natsLink is a connection to a server.
type natsLink struct {
	conn   *nats.Conn
	stream jetstream.JetStream
	// refused is what the server has said about a message that it will not
	// acknowledge.
	refused chan error
}

func (s *natsSink) dial(ctx context.Context) (*natsLink, error) {
	l := &natsLink{refused: make(chan error, 1)}
	o := s.options
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.refuse(err) }
	hook := &natsDialer{ctx: ctx, target: s.target}
	o.CustomDialer = hook
	// The SDK takes no context: one that ends takes the socket away.
	defer context.AfterFunc(ctx, hook.hangUp)()
	var err error
	if l.conn, err = o.Connect(); err != nil {
		return nil, natsFailed("connect", errors.Join(hook.err, ctx.Err(), err))
	}
	if l.stream, err = jetstream.New(l.conn); err != nil {
		l.close()
		return nil, natsFailed("connect", err)
	}
	return l, nil
}

func (l *natsLink) refuse(err error) {
	select {
	case l.refused <- err:
	default:
	}
}

func (l *natsLink) publish(ctx context.Context, messages []*nats.Msg) error {
	for i, m := range messages {
		if err := l.publishOne(ctx, m); err != nil {
			if i == 0 && errors.Is(err, nats.ErrConnectionClosed) {
				err = fmt.Errorf("%w: %w", errStale, err)
			}
			return natsFailed("publish", err)
		}
	}
	return nil
}

func (l *natsLink) publishOne(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := make(chan error, 1)
	go func() {
		_, err := l.stream.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case err := <-l.refused:
		cancel(err)
		if <-answered == nil {
			return nil // another message was meant
		}
		return err
	}
}

func (l *natsLink) alive() bool { return l.conn.IsConnected() }
func (l *natsLink) close()      { l.conn.Close() }

// natsDialer opens the one connection of a link.
type natsDialer struct {
	ctx    context.Context // the SDK asks for a connection without one
	target *target
	mu     sync.Mutex // guards what follows
	conn   net.Conn
	err    error
}

// Dial implements nats.CustomDialer.
func (d *natsDialer) Dial(network, hostPort string) (net.Conn, error) {
	conn, err := d.target.dialer.DialContext(d.ctx, network, hostPort)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn, d.err = conn, err
	return conn, err
}

func (d *natsDialer) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}

// natsFailed says what became of a delivery.
func natsFailed(operation string, err error) error {
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) {
		return failedAs(natsAnswer(api), operation, err)
	}
	for _, known := range []struct {
		err     error
		outcome eventing.Outcome
	}{
		{jetstream.ErrNoStreamResponse, eventing.NotFound},
		{nats.ErrNoResponders, eventing.NotFound},
		{nats.ErrMaxPayload, eventing.PayloadTooLarge},
		{nats.ErrAuthorization, eventing.Unauthorized},
		{nats.ErrAuthExpired, eventing.Unauthorized},
		{nats.ErrAuthRevoked, eventing.Unauthorized},
		{nats.ErrPermissionViolation, eventing.Unauthorized},
		{nats.ErrAccountAuthExpired, eventing.Unauthorized},
		{nats.ErrBadSubject, eventing.BadRequest},
		{nats.ErrTimeout, eventing.TimedOut},
	} {
		if errors.Is(err, known.err) {
			return failedAs(known.outcome, operation, err)
		}
	}
	return failed(operation, err)
}

// natsAnswer reads a stream's answer that is not an acknowledgement.
func natsAnswer(e *jetstream.APIError) eventing.Outcome {
	switch {
	case e.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return eventing.PayloadTooLarge
	case natsFull[e.ErrorCode]:
		return eventing.Full
	case e.Code == http.StatusNotFound:
		return eventing.NotFound
	case e.Code == http.StatusBadRequest:
		return eventing.BadRequest
	}
	return eventing.Busy
}

// natsFull are the codes for a stream, an account or a server that has no room.
var natsFull = map[jetstream.ErrorCode]bool{
	10002: true, // account resources exceeded
	10023: true, // insufficient resources
	10028: true, // insufficient memory
	10047: true, // insufficient storage
	10077: true, // the stream has the messages or bytes that it may have
}
