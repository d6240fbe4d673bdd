package sinks

import (
	"context"
	"errors"

	"acrd/eventing"
)

// A line is a connection that the first delivery opens, and others share. It
// is safe for concurrent use.
type line[C connection] struct {
	dial func(context.Context) (C, error)

	turn   chan struct{} // held by whoever reads or writes what follows
	conn   C
	open   bool
	closed bool
}

// A connection is safe for concurrent use.
type connection interface {
	// alive says that it can still be used, as far as one knows.
	alive() bool
	// close may be called more than once.
	close()
}

var errClosed = errors.New("the sink is closed")

func newLine[C connection](dial func(context.Context) (C, error)) *line[C] {
	return &line[C]{dial: dial, turn: make(chan struct{}, 1)}
}

// errStale is in the error of a send that has sent nothing, because the peer had
// ended the connection before: brokers do where there was nothing to do for
// long.
var errStale = errors.New("the connection was over")

// use lets send use the connection. If send fails, and does not say that the
// connection is not to blame, the next delivery opens another.
func (l *line[C]) use(ctx context.Context, send func(C) error) error {
	err := l.once(ctx, send)
	if errors.Is(err, errStale) {
		return l.once(ctx, send)
	}
	return err
}

func (l *line[C]) once(ctx context.Context, send func(C) error) error {
	conn, err := l.get(ctx)
	if err != nil {
		return err
	}
	err = send(conn)
	if e := (*eventing.DeliveryError)(nil); err != nil && (!errors.As(err, &e) || breaks[e.Outcome]) {
		conn.close() // it is alive no more
	}
	return err
}

// breaks are the outcomes after which nobody knows what state a connection is
// in.
var breaks = map[eventing.Outcome]bool{eventing.SocketError: true, eventing.TimedOut: true, eventing.Canceled: true, eventing.Unauthorized: true}

func (l *line[C]) get(ctx context.Context) (conn C, err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return conn, ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.closed {
		return conn, failedAs(eventing.Aborted, "deliver", errClosed)
	}
	if l.open && l.conn.alive() {
		return l.conn, nil
	}
	l.hangUp()
	l.conn, err = l.dial(ctx)
	l.open = err == nil
	return l.conn, err
}

func (l *line[C]) hangUp() {
	if l.open {
		l.conn.close()
	}
	l.open = false
}

func (l *line[C]) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.closed = true
	l.hangUp()
}
