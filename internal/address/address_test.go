package address

import (
	"net"
	"net/netip"
	"testing"
)

func TestDenyMetadata(t *testing.T) {
	for address, denied := range map[string]bool{
		"127.0.0.1:80": false, "10.1.2.3:22": false, "192.168.0.1:443": false, "[::1]:80": false, "[fd12::1]:80": false,
		"8.8.8.8:443": false, "[2606:4700::1]:443": false, "0.0.0.0:80": false, "[64:ff9b::8.8.8.8]:80": false, "[::]:80": false,

		"169.254.169.254:80": true, "169.254.0.1:1": true, "168.63.129.16:80": true, "100.100.100.200:80": true,
		"[fe80::1]:80": true, "[fe80::1%eth0]:80": true, "[fd00:ec2::254]:80": true, "[fd00:ec2::254%0]:80": true,
		"[::ffff:169.254.169.254]:80": true, "[::ffff:168.63.129.16]:80": true, "[::169.254.169.254]:80": true,
		"[64:ff9b::169.254.169.254]:80": true, "[64:ff9b::a83f:8110]:80": true, "[64:ff9b:1::169.254.169.254]:80": true,
		"[2002:a9fe:a9fe::1]:80": true,
	} {
		if err := DenyMetadata(netip.MustParseAddrPort(address)); (err != nil) != denied {
			t.Errorf("%s: %v; want it denied: %v", address, err, denied)
		}
	}
}

func TestDenyHost(t *testing.T) {
	denied := map[string]bool{
		"8.8.8.8:443": false, "10.255.254.253:80": false,

		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "0.0.0.0:80": true, "[::]:80": true,
		"[::ffff:127.0.0.1]:80": true, "[64:ff9b::127.0.0.1]:80": true, "169.254.169.254:80": true,
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		denied[netip.AddrPortFrom(netip.MustParsePrefix(a.String()).Addr(), 80).String()] = true
	}
	for address, want := range denied {
		if err := DenyHost(netip.MustParseAddrPort(address)); (err != nil) != want {
			t.Errorf("%s: %v; want it denied: %v", address, err, want)
		}
	}
}
