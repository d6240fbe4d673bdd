package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// A canary listens on this host and counts who comes.
type canary struct {
	net.Listener
	visits atomic.Int64
}

func newCanary(t *testing.T, network, address string) *canary {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c := &canary{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.visits.Add(1)
			fmt.Fprint(conn, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\ncanary\n")
			conn.Close()
		}
	}()
	return c
}

// hostAddresses are all that this host has, one among them that the test has
// given to it: nobody can have made a rule for that.
func hostAddresses(t *testing.T) []netip.Addr {
	t.Helper()
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("canary%d", os.Getpid()%100000)}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	extra, _ := netlink.ParseAddr("198.51.100.7/32")
	if err := netlink.AddrAdd(link, extra); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var found []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			found = append(found, p.Addr())
		}
	}
	return found
}

// knock is a script that tries to connect to each of the addresses, and says
// "ADDRESS open" or "ADDRESS shut".
func knock(addresses []string) string {
	var script strings.Builder
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a)
		fmt.Fprintf(&script, "(nc -w 1 %s %s </dev/null >/dev/null 2>&1 && echo '%s open' || echo '%s shut') &\n", host, port, a, a)
	}
	return script.String() + "wait\n"
}

// TestIsolation lets a cmd step and a RUN knock at everything that listens on
// this host, at the daemon, and at another run.
func TestIsolation(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	d.stop()
	_, port, _ := net.SplitHostPort(d.registry)
	cert, key := selfSigned(t)
	d.start("--listen", "0.0.0.0:"+port, "--tls-cert", cert, "--tls-key", key)
	addresses := hostAddresses(t)
	everywhere := newCanary(t, "tcp", ":0")
	loopback := newCanary(t, "tcp", "127.0.0.1:0")
	abstract := newCanary(t, "unix", "@acrd-canary-"+filepath.Base(d.state))
	_, open, _ := net.SplitHostPort(everywhere.Addr().String())
	_, daemonPort, _ := net.SplitHostPort(d.registry)

	targets := []string{loopback.Addr().String()}
	for _, a := range addresses {
		targets = append(targets, net.JoinHostPort(a.String(), open), net.JoinHostPort(a.String(), daemonPort))
	}
	for _, a := range targets { // each of them is there
		conn, err := net.DialTimeout("tcp", a, 2*time.Second)
		if err != nil {
			t.Fatalf("nobody listens: %v", err)
		}
		conn.Close()
	}
	// Another run, of which we know the address, and its gateway: an address
	// of this host that only steps have.
	other := d.begin(d.folder(map[string]string{"acb.yaml": otherRun}), "run", ".")
	other.await("reached by its own yes")
	its := between(other.String(), "its address ", "\n")
	gateway := netip.MustParseAddr(its).Prev()
	targets = append(targets, net.JoinHostPort(its, "7000"),
		net.JoinHostPort(gateway.String(), open), net.JoinHostPort(gateway.String(), daemonPort))
	sees := everywhere.visits.Load() + loopback.visits.Load()

	dir := d.folder(map[string]string{
		"acb.yaml": "version: v1.1.0\nsteps:\n  - cmd: $Registry/base/busybox:1 sh knock\n",
		"knock": "gate=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')\n" +
			"for port in " + open + " " + daemonPort + "; do nc -w 1 $gate $port </dev/null >/dev/null 2>&1 && echo \"$gate:$port open\" || echo \"$gate:$port shut\"; done\n" +
			knock(targets) + "find / -xdev -type s 2>/dev/null | sed 's/$/ is a socket/'\nsed 's/^/unix: /' /proc/net/unix\necho knocked\n",
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nCOPY knock /\nRUN sh /knock\n",
	})
	for name, args := range map[string][]string{
		"cmd": {"run", "."},
		"RUN": {"build", "--no-push", "--no-cache", "--progress", "plain", "."},
	} {
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			got := d.succeed(d.acrd(dir, args...)).String()
			if !strings.Contains(got, "knocked") {
				t.Errorf("it has not tried:\n%s", got)
			}
			for _, a := range targets {
				if !strings.Contains(got, a+" shut") {
					t.Errorf("%s is not shut", a)
				}
			}
			for _, bad := range []string{" open", "is a socket", "acrd-canary", "docker.sock"} {
				if strings.Contains(got, bad) {
					t.Errorf("%q in\n%s", bad, got)
				}
			}
		})
	}
	if got := everywhere.visits.Load() + loopback.visits.Load() - sees; got != 0 || abstract.visits.Load() != 0 {
		t.Errorf("%d visits at canaries, %d at the one in the abstract name space", got, abstract.visits.Load())
	}
	other.interrupt()
	other.wait(15 * time.Second)
}

// otherRun has a service, and makes sure that the way to it is found by who
// may go it.
const otherRun = `version: v1.1.0
steps:
  - id: service
    detach: true
    cmd: $Registry/base/busybox:1 sh -c 'hostname -i > address; exec nc -ll -p 7000 -e echo hello'
  - id: own
    cmd: $Registry/base/busybox:1 sh -c 'until nc -w 2 service 7000 </dev/null | grep -q hello; do usleep 50000; done; echo its address $(cat address); echo reached by its own yes; sleep 100000'
`

// TestInstructionsReachNoHost: what a Dockerfile makes the engine fetch is
// not fetched from this host, nor from a cloud's metadata service, and no
// frontend is loaded from an image.
func TestInstructionsReachNoHost(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	c := newCanary(t, "tcp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(c.Addr().String())
	extra := hostAddresses(t)
	extra = slices.DeleteFunc(extra, func(a netip.Addr) bool { return !a.Is4() })
	const from = "FROM REGISTRY/base/busybox:1\n"
	rows := map[string]string{
		"ADD, loopback":       from + "ADD http://127.0.0.1:" + port + "/x /\n",
		"ADD, by name":        from + "ADD http://localhost:" + port + "/x /\n",
		"ADD, IPv4 in IPv6":   from + "ADD http://[::ffff:127.0.0.1]:" + port + "/x /\n",
		"ADD, the daemon":     from + "ADD http://REGISTRY/v2/_catalog /\n",
		"ADD, metadata":       from + "ADD http://169.254.169.254/latest/meta-data/ /\n",
		"ADD git, loopback":   from + "ADD http://127.0.0.1:" + port + "/x.git /x\n",
		"ADD git, by name":    from + "ADD git://localhost:" + port + "/x.git /x\n",
		"ADD git, metadata":   from + "ADD https://169.254.169.254/x.git /x\n",
		"a frontend":          "# syntax=127.0.0.1:" + port + "/evil:1\n" + from,
		"a frontend, as name": "# syntax=localhost:" + port + "/evil:1\n" + from,
	}
	for _, a := range extra {
		rows["ADD, "+a.String()] = from + "ADD http://" + net.JoinHostPort(a.String(), port) + "/x /\n"
	}
	for name, dockerfile := range rows {
		t.Run(name, func(t *testing.T) {
			d := d.in(t)
			r := d.acrd(d.folder(map[string]string{"Dockerfile": dockerfile}), "build", "--no-push", "--progress", "plain", ".")
			if got := r.String(); r.code != 1 || !strings.Contains(got, "address refused") && !strings.Contains(got, "syntax=") {
				t.Errorf("exit code %d:\n%s", r.code, got)
			}
		})
	}
	if n := c.visits.Load(); n != 0 {
		t.Errorf("%d visits at the canary", n)
	}
}

// selfSigned makes a certificate for localhost and its key, as files.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	public, err1 := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	secret, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
