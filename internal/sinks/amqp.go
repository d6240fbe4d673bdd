package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"acrd/eventing"
)

// amqpSink sends each event as one message to an address of AMQP 1.0.
type amqpSink struct {
	target *target
	node   string
	login  login
	line   *line[*amqpLink]
}

func newAMQP(t *target) (*amqpSink, error) {
	l, err := parseLogin(t.credential, t.url.Hostname())
	if err != nil {
		return nil, err
	}
	s := &amqpSink{target: t, node: node(t), login: l}
	if s.node == "" {
		return nil, errors.New("the destination's URL names no queue, topic or hub")
	}
	s.line = newLine(s.dial)
	return s, nil
}

// rabbit are the words that RabbitMQ's addresses begin with, after a slash.
// Others' addresses are bare names.
var rabbit = []string{"queue", "queues", "topic", "exchange", "exchanges", "amq"}

func node(t *target) string {
	if a := t.url.Query().Get("address"); a != "" {
		return a
	}
	bare := strings.Trim(t.url.Path, "/")
	if first, _, more := strings.Cut(bare, "/"); more && t.Type == eventing.ToAMQP && slices.Contains(rabbit, first) {
		return "/" + bare
	}
	return bare
}

// Deliver implements eventing.Sink.
func (s *amqpSink) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	messages, err := s.messages(d)
	if err != nil {
		return nil, err
	}
	err = s.line.use(ctx, func(l *amqpLink) error { return l.send(ctx, messages) })
	return s.target.exchange("SEND", "AMQP 1.0", d, err), err
}

// Close implements eventing.Sink.
func (s *amqpSink) Close() error {
	s.line.close()
	return nil
}

// amqpLink is a connection with its one link.
type amqpLink struct {
	raw    net.Conn
	conn   *amqp.Conn
	sender *amqp.Sender
}

func (s *amqpSink) dial(ctx context.Context) (*amqpLink, error) {
	port := "5672"
	if s.target.tls != nil {
		port = "5671"
	}
	raw, err := s.target.connect(ctx, s.target.address(port))
	if err != nil {
		return nil, failed("connect", err)
	}
	l := &amqpLink{raw: raw}
	if err := l.attach(ctx, s); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *amqpLink) attach(ctx context.Context, s *amqpSink) (err error) {
	sasl := amqp.SASLTypeAnonymous()
	if s.login != (login{}) {
		sasl = amqp.SASLTypePlain(s.login.user, s.login.password)
	}
	l.conn, err = amqp.NewConn(ctx, l.raw, &amqp.ConnOptions{HostName: hostName(s.target), SASLType: sasl, WriteTimeout: Timeout})
	if err != nil {
		return amqpFailed("open", refused(err))
	}
	session, err := l.conn.NewSession(ctx, nil)
	if err != nil {
		return amqpFailed("begin", err)
	}
	l.sender, err = session.NewSender(ctx, s.node, &amqp.SenderOptions{TargetDurability: amqp.DurabilityUnsettledState})
	if err != nil {
		return amqpFailed("attach", err)
	}
	return nil
}

// hostName is what the peer is asked for. RabbitMQ takes the name of a virtual
// host for it.
func hostName(t *target) string {
	if v := t.url.Query().Get("vhost"); v != "" {
		return "vhost:" + v
	}
	return t.url.Hostname()
}

// refused gives the answer to a login that go-amqp has no type for one.
func refused(err error) error {
	if strings.HasPrefix(err.Error(), "SASL ") || strings.HasPrefix(err.Error(), "no supported auth") {
		return &amqp.Error{Condition: amqp.ErrCondUnauthorizedAccess, Description: "the login was refused"}
	}
	return err
}

// send returns when the peer has taken all messages, or says that it has not.
func (l *amqpLink) send(ctx context.Context, messages []*amqp.Message) error {
	receipts := make([]amqp.SendReceipt, 0, len(messages))
	for _, m := range messages {
		r, err := l.sender.SendWithReceipt(ctx, m, nil)
		if over(err) && len(receipts) == 0 {
			err = fmt.Errorf("%w: %w", errStale, err)
		}
		if err != nil {
			return amqpFailed("send", err)
		}
		receipts = append(receipts, r)
	}
	for _, r := range receipts {
		state, err := r.Wait(ctx)
		if err != nil {
			return amqpFailed("send", err)
		}
		if err := settled(state); err != nil {
			return err
		}
	}
	return nil
}

// over says that a link is no more.
func over(err error) bool {
	link, session, conn := (*amqp.LinkError)(nil), (*amqp.SessionError)(nil), (*amqp.ConnError)(nil)
	return errors.As(err, &link) || errors.As(err, &session) || errors.As(err, &conn)
}

func settled(state amqp.DeliveryState) error {
	switch s := state.(type) {
	case *amqp.StateAccepted:
		return nil
	case *amqp.StateRejected:
		if s.Error != nil {
			return amqpFailed("send", s.Error)
		}
		return failedAs(eventing.BadRequest, "send", errors.New("the message was rejected"))
	default: // released or modified: nobody has it
		return failedAs(eventing.Busy, "send", errors.New("the message was given back"))
	}
}

func (l *amqpLink) alive() bool {
	select {
	case <-l.conn.Done():
		return false
	default:
		return true
	}
}

// close lets go of the network first: a peer that reads no more cannot hold it
// up.
func (l *amqpLink) close() {
	_ = l.raw.SetDeadline(time.Now().Add(time.Second))
	if l.conn != nil {
		_ = l.conn.Close()
	}
	l.raw.Close()
}

// conditions are the words of AMQP, and those of Service Bus, for what Event
// Grid has words for.
var conditions = map[amqp.ErrCond]eventing.Outcome{
	amqp.ErrCondNotFound:              eventing.NotFound,
	amqp.ErrCondResourceDeleted:       eventing.NotFound,
	amqp.ErrCondUnauthorizedAccess:    eventing.Unauthorized,
	amqp.ErrCondNotAllowed:            eventing.Forbidden,
	amqp.ErrCondResourceLimitExceeded: eventing.Full,
	amqp.ErrCondMessageSizeExceeded:   eventing.PayloadTooLarge,
	amqp.ErrCondTransferLimitExceeded: eventing.Busy, // no credit until the deadline
	amqp.ErrCondResourceLocked:        eventing.Busy,
	amqp.ErrCondPreconditionFailed:    eventing.BadRequest,
	amqp.ErrCondInvalidField:          eventing.BadRequest,
	amqp.ErrCondDecodeError:           eventing.BadRequest,
	"com.microsoft:server-busy":       eventing.Busy,
	"com.microsoft:timeout":           eventing.TimedOut,
	"com.microsoft:entity-disabled":   eventing.Disabled,
	"com.microsoft:auth-failed":       eventing.Unauthorized,
	"com.microsoft:argument-error":    eventing.BadRequest,
}

// amqpFailed says what became of a delivery. Service Bus asks those who find it
// busy to wait for 10 s.
func amqpFailed(operation string, err error) error {
	peer := (*amqp.Error)(nil)
	if !errors.As(err, &peer) {
		return failed(operation, err)
	}
	o, ok := conditions[peer.Condition]
	if !ok {
		o = eventing.SocketError
	}
	e := failedAs(o, operation, err)
	if peer.Condition == "com.microsoft:server-busy" {
		e.RetryAfter = 10 * time.Second
	}
	return e
}
