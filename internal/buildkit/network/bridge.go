//go:build linux

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Bridge is the network of one run. It is safe for concurrent use. Close it
// after the last endpoint.
type Bridge struct {
	pool    *Pool
	options BridgeOptions
	subnet  netip.Prefix
	link    *netlink.Bridge

	mu    sync.Mutex // guards what follows
	given map[string]*lease
	free  []netip.Addr // of containers without a name, oldest first
	last  netip.Addr
}

// A lease is the address of one name. In holds a token while an endpoint has
// the address.
type lease struct {
	addr netip.Addr
	in   chan struct{}
}

// Name is the name of the bridge's interface on the host.
func (b *Bridge) Name() string { return b.link.Attrs().Name }

// Gateway is the host's own address on the bridge.
func (b *Bridge) Gateway() netip.Addr { return b.subnet.Addr().Next() }

// Address reserves the address that name has on this bridge for as long as
// the bridge lives: a step that is tried again comes back under the address
// that other steps have already looked up.
func (b *Bridge) Address(name string) (netip.Addr, error) {
	l, err := b.lease(name)
	if err != nil {
		return netip.Addr{}, err
	}
	return l.addr, nil
}

func (b *Bridge) lease(name string) (*lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.given[name]; ok {
		return l, nil
	}
	a, err := b.fresh()
	if err != nil {
		return nil, err
	}
	l := &lease{addr: a, in: make(chan struct{}, 1)}
	b.given[name] = l
	return l, nil
}

// borrow takes an address for a container that nobody looks up by name.
func (b *Bridge) borrow() (netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, err := b.fresh()
	if err != nil && len(b.free) > 0 {
		a, b.free, err = b.free[0], b.free[1:], nil
	}
	return a, err
}

func (b *Bridge) giveBack(a netip.Addr) {
	b.mu.Lock()
	b.free = append(b.free, a)
	b.mu.Unlock()
}

// fresh is called with the lock held.
func (b *Bridge) fresh() (netip.Addr, error) {
	a := b.last.Next()
	if !b.last.IsValid() {
		a = b.Gateway().Next()
	}
	if !b.subnet.Contains(a.Next()) { // the last one is for broadcast
		return netip.Addr{}, fmt.Errorf("no address left in %s", b.subnet)
	}
	b.last = a
	return a, nil
}

// Close removes the bridge and with it whatever is still attached.
func (b *Bridge) Close() error {
	err := b.pool.filter.forbid(b.Name())
	if e := netlink.LinkDel(b.link); e != nil && !errors.Is(e, unix.ENODEV) {
		err = errors.Join(err, fmt.Errorf("delete bridge %s: %w", b.Name(), e))
	}
	b.pool.give(b.subnet)
	return err
}

func (b *Bridge) up(name string) (err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	b.link = &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(b.link); err != nil {
		return fmt.Errorf("add interface %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = netlink.LinkDel(b.link)
		}
	}()
	// No IPv6 on the bridge: its link-local address would be one more way
	// from a container to whatever listens on this host.
	disableIPv6(name)
	if !b.options.Inward {
		if err := netlink.AddrAdd(b.link, &netlink.Addr{IPNet: b.ipnet(b.Gateway())}); err != nil {
			return fmt.Errorf("give %s an address: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(b.link); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return b.pool.filter.allow(name)
}

func (b *Bridge) ipnet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(b.subnet.Bits(), 32)}
}

// disableIPv6 does nothing on a kernel without IPv6.
func disableIPv6(iface string) {
	_ = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", iface, "disable_ipv6"), []byte("1"), 0o644)
}
