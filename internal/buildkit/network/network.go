//go:build linux

// Package network gives each run of a task its own Linux bridge, and each
// container on it its own network namespace, by netlink and nftables alone:
// no CNI plugin, no iptables binary, no daemon of its own.
//
// What a container can reach, and what it cannot:
//
//	other containers on the same bridge     yes
//	the outside, by masquerade              yes, but not link-local addresses
//	containers on any other acrd bridge     no
//	any address of the host, any port       no (loopback, bridge, interfaces)
//
// The words: a [Pool] owns the addresses and the packet filter of one engine,
// a [Bridge] is the network of one run, an [Endpoint] is one container's end.
package network

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// InterfacePrefix begins the name of every interface that an acrd on this
// host makes. The packet filter relies on it: whatever is not of the same
// bridge but has this prefix belongs to somebody else's run, of this daemon or
// another.
const InterfacePrefix = "acrd"

// DefaultSubnets is where runs get their addresses when nothing else is said.
var DefaultSubnets = netip.MustParsePrefix("172.28.0.0/14")

// bridgeBits is the size of one bridge's subnet: 1,021 containers at a time.
const bridgeBits = 22

// ErrCapability says that this process may not, or this kernel cannot, make
// the networks that runs need. It is final: trying again changes nothing.
var ErrCapability = errors.New("network capability missing")

// A Pool makes bridges. It is safe for concurrent use. Two pools on one host
// must differ in Instance.
type Pool struct {
	// Instance tells the pools of one host apart: five letters or digits,
	// part of every interface name.
	Instance string
	// Subnets is where bridges take their addresses from; the zero value
	// means DefaultSubnets. Parts that the host already routes are skipped.
	Subnets netip.Prefix

	filter *filter
	mu     sync.Mutex // guards taken
	taken  map[netip.Prefix]bool
}

// Open installs the packet filter and turns on forwarding. An error that
// wraps ErrCapability names what is missing. Call Close when no bridge is
// left.
func (p *Pool) Open() error {
	if len(p.Instance) != 5 {
		return fmt.Errorf("instance %q: want five letters or digits", p.Instance)
	}
	if !p.Subnets.IsValid() {
		p.Subnets = DefaultSubnets
	}
	if !p.Subnets.Addr().Is4() || p.Subnets.Bits() > bridgeBits {
		return fmt.Errorf("subnets %s: want an IPv4 range of /%d or larger", p.Subnets, bridgeBits)
	}
	p.taken = map[netip.Prefix]bool{}
	if err := Probe(); err != nil {
		return err
	}
	f, err := installFilter(p.tableName(), p.prefix(), p.Subnets)
	if err != nil {
		return err
	}
	p.filter = f
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("%w: turn on net.ipv4.ip_forward: %w", ErrCapability, err), f.remove())
	}
	return nil
}

// Close removes the packet filter. Forwarding stays on, because others on
// this host may have come to need it.
func (p *Pool) Close() error { return p.filter.remove() }

// Sweep deletes what pools of the same Instance left behind when they were
// killed. It says how many interfaces it removed. Call it before Open.
func (p *Pool) Sweep() (int, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	swept := 0
	var errs []error
	for _, link := range links {
		if !p.owns(link.Attrs().Name) {
			continue
		}
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete interface %s: %w", link.Attrs().Name, err))
			continue
		}
		swept++
	}
	return swept, errors.Join(errs...)
}

// BridgeOptions say what kind of bridge to make. The zero value is a run's.
type BridgeOptions struct {
	// Isolated keeps the containers of this bridge from each other.
	Isolated bool
	// Inward cuts the bridge off from the outside.
	Inward bool
}

// Bridge makes a network. The name is only a seed for the interface's name:
// any text that is unique among the living bridges of this pool.
func (p *Pool) Bridge(_ context.Context, name string, o BridgeOptions) (*Bridge, error) {
	subnet, err := p.take()
	if err != nil {
		return nil, err
	}
	b := &Bridge{pool: p, options: o, subnet: subnet, given: map[string]*lease{}}
	if err := b.up(p.interfaceName(name)); err != nil {
		p.give(subnet)
		return nil, fmt.Errorf("bridge for %s: %w", name, err)
	}
	return b, nil
}

// take finds a subnet that neither this pool nor the host uses.
func (p *Pool) take() (netip.Prefix, error) {
	routed, err := hostPrefixes()
	if err != nil {
		return netip.Prefix{}, err
	}
	all := subnets(p.Subnets)
	// Pools that start at the same moment must not take the same one.
	start := int(crc32.ChecksumIEEE([]byte(p.Instance))) % max(1, len(all))
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range all {
		sub := all[(start+i)%len(all)]
		if p.taken[sub] || overlapsAny(sub, routed) {
			continue
		}
		p.taken[sub] = true
		return sub, nil
	}
	return netip.Prefix{}, fmt.Errorf("no free subnet left in %s: give the daemon a larger one with --subnets", p.Subnets)
}

func (p *Pool) give(sub netip.Prefix) {
	p.mu.Lock()
	delete(p.taken, sub)
	p.mu.Unlock()
}

func (p *Pool) tableName() string { return InterfacePrefix + "_" + p.Instance }

// prefix begins the names of this pool's interfaces.
func (p *Pool) prefix() string { return InterfacePrefix + p.Instance }

func (p *Pool) owns(name string) bool {
	prefix := p.prefix()
	return len(name) > len(prefix) && name[:len(prefix)] == prefix
}

// interfaceName fits into the kernel's 15 bytes: acrd + instance + hash.
func (p *Pool) interfaceName(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	name := p.prefix() + hex.EncodeToString(sum[:])
	return name[:15]
}

// Probe asks for what everything else rests on. Its error wraps ErrCapability.
func Probe() error {
	if err := unix.Access("/proc/net/netlink", unix.R_OK); err != nil {
		return fmt.Errorf("%w: netlink: %w", ErrCapability, err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for _, need := range []struct {
		bit  uint
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}} {
		if data[need.bit/32].Effective&(1<<(need.bit%32)) == 0 {
			return fmt.Errorf("%w: this process lacks %s", ErrCapability, need.name)
		}
	}
	return nil
}

// Try does for real what runs rest on, and takes it back: a packet filter, a
// bridge, and a namespace attached to it. Its error wraps ErrCapability.
func Try(ctx context.Context) (err error) {
	p := &Pool{Instance: fmt.Sprintf("%05d", os.Getpid()%100_000)}
	if err := p.Open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	b, err := p.Bridge(ctx, "trial", BridgeOptions{Isolated: true})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCapability, err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	e, err := b.Attach(ctx, "")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCapability, err)
	}
	return e.Close()
}

// hostPrefixes are the networks that the host has an address in or a route to.
func hostPrefixes() ([]netip.Prefix, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var all []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			ones, _ := r.Dst.Mask.Size()
			if ones > 0 {
				all = append(all, netip.PrefixFrom(addr.Unmap(), ones))
			}
		}
	}
	return all, nil
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	return slices.ContainsFunc(others, p.Overlaps)
}

// subnets cuts a range into networks for one bridge each.
func subnets(all netip.Prefix) []netip.Prefix {
	a := all.Masked().Addr().As4()
	base := binary.BigEndian.Uint32(a[:])
	var cut []netip.Prefix
	for i := range 1 << max(0, bridgeBits-all.Bits()) {
		binary.BigEndian.PutUint32(a[:], base+uint32(i)<<(32-bridgeBits))
		cut = append(cut, netip.PrefixFrom(netip.AddrFrom4(a), bridgeBits))
	}
	return cut
}
