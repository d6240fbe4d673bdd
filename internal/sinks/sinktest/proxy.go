package sinktest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy stands between a sink and its receiver, and does to their
// connections what networks do. It is safe for concurrent use.
type Proxy struct {
	// Accepted counts connections.
	Accepted atomic.Int64

	address string
	delay   atomic.Int64 // of each chunk, in nanoseconds
	stalled atomic.Bool
	budget  atomic.Int64 // bytes that still go upstream before a reset; negative is no end

	mu       sync.Mutex // guards what follows
	upstream string
	listener net.Listener
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

// NewProxy listens on a free port of the loopback until the test ends.
func NewProxy(tb testing.TB) *Proxy {
	tb.Helper()
	p := &Proxy{conns: map[net.Conn]bool{}, address: "127.0.0.1:0"}
	p.budget.Store(-1)
	p.Up(tb)
	tb.Cleanup(func() {
		p.Down()
		p.running.Wait()
	})
	return p
}

// To says where the receiver is: a host:port.
func (p *Proxy) To(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = upstream
}

func (p *Proxy) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	upstream := p.upstream
	p.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, "tcp", upstream)
}

// Address is the host:port that sinks connect to.
func (p *Proxy) Address() string { return p.address }

// Up lets connections in, and undoes every fault.
func (p *Proxy) Up(tb testing.TB) {
	tb.Helper()
	p.delay.Store(0)
	p.stalled.Store(false)
	p.budget.Store(-1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		tb.Fatal(err)
	}
	p.listener, p.address = l, l.Addr().String()
	p.running.Go(func() { p.serve(l) })
}

// Down refuses connections, and resets those that there are.
func (p *Proxy) Down() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
	}
	p.listener = nil
	p.mu.Unlock()
	p.Reset()
}

// Slow delays each chunk of bytes.
func (p *Proxy) Slow(d time.Duration) { p.delay.Store(int64(d)) }

// Stall takes connections and bytes, and passes nothing on.
func (p *Proxy) Stall() { p.stalled.Store(true) }

// ResetAfter resets connections once so many bytes have gone upstream; negative
// does not.
func (p *Proxy) ResetAfter(bytes int) { p.budget.Store(int64(bytes)) }

// Reset resets all connections.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		abort(c)
	}
}

// abort closes a connection as a host does that knows nothing of it.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

func (p *Proxy) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.Accepted.Add(1)
		p.running.Go(func() { p.pass(c) })
	}
}

func (p *Proxy) pass(down net.Conn) {
	up, err := p.dial(context.Background())
	if err != nil {
		abort(down)
		return
	}
	if !p.keep(down, up) {
		return
	}
	defer p.forget(down, up)
	var both sync.WaitGroup
	both.Go(func() { p.copy(up, down, true) })
	both.Go(func() { p.copy(down, up, false) })
	both.Wait()
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.listener == nil {
			abort(c)
			continue
		}
		p.conns[c] = true
	}
	return p.listener != nil
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
}

// copy ends both connections when one ends.
func (p *Proxy) copy(to, from net.Conn, upstream bool) {
	defer to.Close()
	defer from.Close()
	chunk := make([]byte, 16<<10)
	for {
		n, err := from.Read(chunk)
		if n > 0 && !p.write(to, from, chunk[:n], upstream) {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				abort(to)
			}
			return
		}
	}
}

func (p *Proxy) write(to, from net.Conn, b []byte, upstream bool) bool {
	if p.stalled.Load() {
		return true
	}
	time.Sleep(time.Duration(p.delay.Load()))
	if upstream && p.budget.Load() >= 0 && p.budget.Add(-int64(len(b))) <= 0 {
		p.budget.Store(0)
		abort(to)
		abort(from)
		return false
	}
	_, err := to.Write(b)
	return err == nil
}

// Advertise listens for a server that tells its clients where it is: it tells
// them the proxy, which leads to it.
func Advertise(p *Proxy) func(network, _ string) (net.Listener, error) {
	return func(network, _ string) (net.Listener, error) {
		as, err := net.ResolveTCPAddr(network, p.Address())
		if err != nil {
			return nil, err
		}
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		p.To(l.Addr().String())
		return advertised{l, as}, nil
	}
}

type advertised struct {
	net.Listener
	as net.Addr
}

func (l advertised) Addr() net.Addr { return l.as }

// Past connects to what is behind the proxy.
func Past(p *Proxy) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) }
}
