//go:build linux

package network

import (
	"context"
	"io"
	"net"
	"sync"
)

// A Forward hands the connections of a listener on to somewhere else: a port
// of the host to a container, or a port inside a container to the daemon.
type Forward struct {
	l      net.Listener
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// NewForward starts to accept. It owns l. Close it to stop; connections in
// progress are cut.
func NewForward(l net.Listener, dial func(context.Context) (net.Conn, error)) *Forward {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Forward{l: l, cancel: cancel}
	f.ended.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			f.ended.Go(func() { carry(ctx, in, dial) })
		}
	})
	return f
}

// Addr is where it listens.
func (f *Forward) Addr() net.Addr { return f.l.Addr() }

// Close returns when the last connection has ended.
func (f *Forward) Close() error {
	f.cancel()
	err := f.l.Close()
	f.ended.Wait()
	return err
}

func carry(ctx context.Context, in net.Conn, dial func(context.Context) (net.Conn, error)) {
	defer in.Close()
	out, err := dial(ctx)
	if err != nil {
		return // the other side sees the connection close
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { pour(out, in) })
	both.Go(func() { pour(in, out) })
	both.Wait()
}

// pour copies until the end of src and passes that end on, so that a protocol
// that closes one half still gets its answer.
func pour(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = dst.Close()
}
