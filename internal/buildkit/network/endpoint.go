//go:build linux

package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// An Endpoint is a network namespace for one container, with eth0 on a bridge.
// Only an open file holds it, so a killed process leaves none behind.
type Endpoint struct {
	// Addr is the container's address, and invalid for an endpoint from
	// Nowhere.
	Addr netip.Addr

	ns      *os.File
	veth    netlink.Link
	release func() // makes the address free for the next endpoint
	once    sync.Once
	err     error
}

// Attach makes a namespace whose eth0 has the address that Address(name)
// says, or any address if name is empty. While another endpoint of that name
// is open, Attach waits for it to close. The caller closes the endpoint once
// the container is gone; that takes the kernel some 20 ms, so not in the way
// of the next step.
func (b *Bridge) Attach(ctx context.Context, name string) (*Endpoint, error) {
	addr, release, err := b.occupy(ctx, name)
	if err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if err != nil {
		release()
		return nil, err
	}
	e := &Endpoint{Addr: addr, ns: ns, release: release}
	if err := e.plug(b); err != nil {
		return nil, errors.Join(fmt.Errorf("attach %q to %s: %w", name, b.Name(), err), e.Close())
	}
	return e, nil
}

func (b *Bridge) occupy(ctx context.Context, name string) (netip.Addr, func(), error) {
	if name == "" {
		a, err := b.borrow()
		return a, func() { b.giveBack(a) }, err
	}
	l, err := b.lease(name)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	select {
	case l.in <- struct{}{}:
		return l.addr, func() { <-l.in }, nil
	case <-ctx.Done():
		return netip.Addr{}, nil, context.Cause(ctx)
	}
}

// Nowhere makes a namespace that has a loopback interface and nothing else:
// the network called "none".
func Nowhere() (*Endpoint, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	e := &Endpoint{ns: ns, release: func() {}}
	if err := e.configure(func(h *netlink.Handle) error { return loopbackUp(h) }); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Path names the namespace for a container runtime started by this process.
func (e *Endpoint) Path() string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(e.ns.Fd()))
}

// Listen opens a TCP listener inside the namespace, on behalf of the host.
func (e *Endpoint) Listen(address string) (net.Listener, error) {
	var l net.Listener
	err := inNamespace(e.ns, func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp4", address)
		return err
	})
	return l, err
}

// Close unplugs eth0 and lets go of the namespace. It may be called twice.
func (e *Endpoint) Close() error {
	e.once.Do(func() {
		if e.veth != nil {
			// Now, and not when the kernel gets round to the namespace:
			// the next try of a step takes the same address.
			if err := netlink.LinkDel(e.veth); err != nil && !errors.Is(err, unix.ENODEV) {
				e.err = fmt.Errorf("delete interface %s: %w", e.veth.Attrs().Name, err)
			}
		}
		e.err = errors.Join(e.err, e.ns.Close())
		e.release()
	})
	return e.err
}

func (e *Endpoint) plug(b *Bridge) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = vethName(b.pool, b.Name(), e.Addr)
	attrs.MasterIndex = b.link.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0",
		PeerNamespace:    netlink.NsFd(int(e.ns.Fd())),
		PeerHardwareAddr: hardwareAddr(e.Addr),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add interface %s: %w", attrs.Name, err)
	}
	e.veth = veth
	disableIPv6(attrs.Name)
	if b.options.Isolated {
		if err := netlink.LinkSetIsolated(veth, true); err != nil {
			return fmt.Errorf("isolate %s: %w", attrs.Name, err)
		}
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("bring up %s: %w", attrs.Name, err)
	}
	return e.configure(func(h *netlink.Handle) error { return e.address(h, b) })
}

// address gives eth0 its address and its way out, seen from inside.
func (e *Endpoint) address(h *netlink.Handle, b *Bridge) error {
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	if err := h.AddrAdd(eth0, &netlink.Addr{IPNet: b.ipnet(e.Addr)}); err != nil {
		return fmt.Errorf("address eth0: %w", err)
	}
	if err := h.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("bring up eth0: %w", err)
	}
	if err := loopbackUp(h); err != nil {
		return err
	}
	if b.options.Inward {
		return nil
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: b.Gateway().AsSlice()}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("route by %s: %w", b.Gateway(), err)
	}
	return nil
}

func (e *Endpoint) configure(do func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(e.ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink in namespace: %w", err)
	}
	defer h.Close()
	return do(h)
}

func loopbackUp(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

// newNamespace unshares on a thread of its own, which then ends: a thread that
// has been elsewhere is never given back to other goroutines.
func newNamespace() (*os.File, error) {
	type made struct {
		f   *os.File
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: fmt.Errorf("new network namespace: %w", err)}
			return
		}
		containerSysctls()
		f, err := os.Open("/proc/thread-self/ns/net")
		done <- made{f, err}
	}()
	m := <-done
	return m.f, m.err
}

// containerSysctls are docker's: no CAP_NET_RAW is needed to ping, none to
// serve port 80. Kernels that lack one keep their default.
func containerSysctls() {
	for file, value := range map[string]string{
		"/proc/sys/net/ipv6/conf/default/disable_ipv6":  "1",
		"/proc/sys/net/ipv4/ping_group_range":           "0 2147483647",
		"/proc/sys/net/ipv4/ip_unprivileged_port_start": "0",
	} {
		_ = os.WriteFile(file, []byte(value), 0o644)
	}
}

func inNamespace(ns *os.File, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, see newNamespace
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

func vethName(p *Pool, bridge string, a netip.Addr) string {
	sum := sha256.Sum256([]byte(bridge + a.String()))
	name := InterfacePrefix + p.Instance + "v" + hex.EncodeToString(sum[:])
	return name[:15]
}

// hardwareAddr is derived from the address, so that neighbours that remember
// the one need not learn the other again.
func hardwareAddr(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0xac, b[0], b[1], b[2], b[3]}
}
