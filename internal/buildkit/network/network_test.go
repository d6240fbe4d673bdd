//go:build linux

package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// open makes a pool for one test, in a corner of the address space that no
// daemon of this host uses, and removes it again.
func open(t testing.TB) *Pool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("networks need root")
	}
	p := &Pool{Instance: fmt.Sprintf("%05x", os.Getpid()&0xfffff), Subnets: netip.MustParsePrefix("10.251.0.0/16")}
	if err := p.Open(); errors.Is(err, ErrCapability) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if n, err := p.Sweep(); n > 0 || err != nil {
			t.Errorf("%d interfaces left over, %v", n, err)
		}
	})
	return p
}

func bridge(t testing.TB, p *Pool, name string, o BridgeOptions) *Bridge {
	t.Helper()
	b, err := p.Bridge(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func attach(t testing.TB, b *Bridge, name string) *Endpoint {
	t.Helper()
	e, err := b.Attach(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// serve answers with a word on every connection, from inside e.
func serve(t *testing.T, e *Endpoint, word string) {
	t.Helper()
	l, err := e.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	answer(t, l, word)
}

func answer(t *testing.T, l net.Listener, word string) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, word)
			c.Close()
		}
	}()
}

// ask dials address from inside e, or from the host if e is nil.
func ask(e *Endpoint, address string) (string, error) {
	var got string
	do := func() error {
		d := net.Dialer{Timeout: time.Second}
		c, err := d.Dial("tcp4", address)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		got = string(b)
		return err
	}
	if e == nil {
		return got, do()
	}
	err := inNamespace(e.ns, do)
	return got, err
}

// reach is ask, again and again for up to 10 s, where an answer is wanted: on a
// busy machine packets wait, too.
func reach(e *Endpoint, address, want string) (got string, err error) {
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if got, err = ask(e, address); got == want {
			break
		}
	}
	return got, err
}

func TestReach(t *testing.T) {
	p := open(t)
	one, two := bridge(t, p, "one", BridgeOptions{}), bridge(t, p, "two", BridgeOptions{})
	web, job, other := attach(t, one, "web"), attach(t, one, "job"), attach(t, two, "job")
	serve(t, web, "web")
	serve(t, other, "other")
	host, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	answer(t, host, "host")
	port := host.Addr().(*net.TCPAddr).Port

	type want struct {
		from *Endpoint
		to   string
		word string // empty: must not be reached
	}
	for name, w := range map[string]want{
		"same bridge":              {job, web.Addr.String() + ":80", "web"},
		"host to container":        {nil, web.Addr.String() + ":80", "web"},
		"other bridge":             {other, web.Addr.String() + ":80", ""},
		"other bridge, back":       {job, other.Addr.String() + ":80", ""},
		"host by own gateway":      {job, fmt.Sprintf("%s:%d", one.Gateway(), port), ""},
		"host by other gateway":    {job, fmt.Sprintf("%s:%d", two.Gateway(), port), ""},
		"host by loopback":         {job, fmt.Sprintf("127.0.0.1:%d", port), ""},
		"host by own address":      {job, fmt.Sprintf("%s:%d", hostAddress(t), port), ""},
		"host, positive control":   {nil, fmt.Sprintf("127.0.0.1:%d", port), "host"},
		"cloud metadata, if there": {job, "169.254.169.254:80", ""},
	} {
		got, err := reach(w.from, w.to, w.word)
		if got != w.word {
			t.Errorf("%s: asking %s: got %q, %v; want %q", name, w.to, got, err, w.word)
		}
	}
}

// Two daemons on one host leave each other's runs alone, and apart. It takes
// br_netfilter in the kernel to see a difference within a bridge.
func TestTwoPools(t *testing.T) {
	p := open(t)
	q := &Pool{Instance: "other", Subnets: p.Subnets}
	if err := q.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	ours, theirs := bridge(t, p, "run", BridgeOptions{}), bridge(t, q, "run", BridgeOptions{})
	web, job, other := attach(t, ours, "web"), attach(t, ours, "job"), attach(t, theirs, "job")
	serve(t, web, "web")
	serve(t, other, "other")
	for _, w := range []struct {
		from, to *Endpoint
		want     string
	}{{job, web, "web"}, {other, web, ""}, {web, other, ""}} {
		if got, err := reach(w.from, w.to.Addr.String()+":80", w.want); got != w.want {
			t.Errorf("%s asking %s: got %q, %v; want %q", w.from.Addr, w.to.Addr, got, err, w.want)
		}
	}
}

func TestIsolatedAndInward(t *testing.T) {
	p := open(t)
	builds := bridge(t, p, "builds", BridgeOptions{Isolated: true})
	a, b := attach(t, builds, ""), attach(t, builds, "")
	serve(t, a, "a")
	if got, _ := ask(b, a.Addr.String()+":80"); got != "" {
		t.Errorf("one build reached another: %q", got)
	}
	inward := bridge(t, p, "inward", BridgeOptions{Inward: true})
	c, d := attach(t, inward, "c"), attach(t, inward, "d")
	serve(t, c, "c")
	if got, err := reach(d, c.Addr.String()+":80", "c"); got != "c" {
		t.Errorf("within an inward bridge: got %q, %v", got, err)
	}
	if _, err := ask(d, "192.0.2.1:80"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("out of an inward bridge: %v, want unreachable", err)
	}
}

func TestAddresses(t *testing.T) {
	p := open(t)
	b := bridge(t, p, "b", BridgeOptions{})
	first := attach(t, b, "web")
	go first.Close() // the second try waits for it
	if again := attach(t, b, "web"); again.Addr != first.Addr {
		t.Errorf("second try of web has %s, first had %s", again.Addr, first.Addr)
	}
	if db := attach(t, b, "db"); db.Addr == first.Addr {
		t.Errorf("db and web share %s", db.Addr)
	}
	seen := map[netip.Addr]bool{}
	for range 1 << (32 - bridgeBits) { // more than the bridge has
		a, err := b.borrow()
		if err != nil {
			t.Fatalf("after %d addresses: %v", len(seen), err)
		}
		seen[a] = true
		b.giveBack(a)
	}
	if len(seen) < 1000 {
		t.Errorf("only %d addresses in turn; neighbours remember old ones", len(seen))
	}
}

func TestSubnetsAvoidTheHost(t *testing.T) {
	p := open(t)
	first := bridge(t, p, "first", BridgeOptions{})
	q := &Pool{Instance: "other", Subnets: p.Subnets} // another daemon, same range
	if err := q.Open(); err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	second, err := q.Bridge(t.Context(), "second", BridgeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if first.subnet.Overlaps(second.subnet) {
		t.Errorf("%s and %s overlap", first.subnet, second.subnet)
	}
}

func TestSweep(t *testing.T) {
	p := open(t)
	b, err := p.Bridge(t.Context(), "lost", BridgeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attach(t.Context(), "lost"); err != nil {
		t.Fatal(err)
	}
	n, err := p.Sweep()
	if n == 0 || err != nil {
		t.Errorf("Sweep() = %d, %v; want the bridge gone", n, err)
	}
	if _, err := netlink.LinkByName(b.Name()); err == nil {
		t.Errorf("%s is still there", b.Name())
	}
}

func BenchmarkAttach(b *testing.B) {
	p := open(b)
	br, err := p.Bridge(b.Context(), "bench", BridgeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer br.Close()
	for b.Loop() {
		e, err := br.Attach(b.Context(), "step")
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}

func hostAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	return "127.0.0.2"
}
