// Package address says where connections on behalf of strangers may not go.
// Its functions are asked about the address that is really dialled, after
// names are resolved.
package address

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// metadata are the addresses that describe this machine to itself: the
// metadata services of the clouds, and link-local addresses, behind which they
// live. Nothing that a build is made from is there.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google
}

// DenyMetadata refuses the link-local and metadata addresses in every form that
// ends at one, and allows the rest, loopback and private ones included, because
// that is where git lives on premises.
func DenyMetadata(addr netip.AddrPort) error {
	ip := plain(addr.Addr())
	for _, p := range metadata {
		if p.Contains(ip) {
			return fmt.Errorf("%s is link-local or a cloud's metadata service", addr.Addr())
		}
	}
	return nil
}

// DenyHost refuses what DenyMetadata refuses, and every address that leads to
// this host.
func DenyHost(addr netip.AddrPort) error {
	if err := DenyMetadata(addr); err != nil {
		return err
	}
	ip := plain(addr.Addr())
	own := ip.IsLoopback() || ip.IsUnspecified()
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this host's addresses: %w", err)
	}
	for _, i := range interfaces {
		p, err := netip.ParsePrefix(i.String())
		own = own || err == nil && plain(p.Addr()) == ip
	}
	if own {
		return fmt.Errorf("%s is this host itself", addr.Addr())
	}
	return nil
}

// special are networks that the public internet does not route, beside those
// that netip knows by name.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by the customers of a carrier
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), // documentation, as the next two
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fec0::/10"),
}

// DenyPrivate refuses what DenyHost refuses, and every address that is not on
// the public internet.
func DenyPrivate(addr netip.AddrPort) error {
	if err := DenyHost(addr); err != nil {
		return err
	}
	ip := plain(addr.Addr())
	if ip.IsPrivate() || ip.IsMulticast() || slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return fmt.Errorf("%s is not on the public internet", addr.Addr())
	}
	return nil
}

func plain(ip netip.Addr) netip.Addr { return embedded(ip.WithZone("").Unmap()) }

// embedded returns the IPv4 address that a translating gateway would connect
// to for ip: NAT64, 6to4, and the long-deprecated IPv4-compatible form.
func embedded(ip netip.Addr) netip.Addr {
	if !ip.Is6() {
		return ip
	}
	b := ip.As16()
	switch {
	case nat64.Contains(ip), nat64Local.Contains(ip), compatible.Contains(ip) && binary.BigEndian.Uint32(b[12:]) > 1:
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return ip
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	compatible = netip.MustParsePrefix("::/96")
)
