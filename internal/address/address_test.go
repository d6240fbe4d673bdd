package address

import (
	"errors"
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

func TestDenyPrivate(t *testing.T) {
	for address, denied := range map[string]bool{
		"8.8.8.8:443": false, "[2606:4700::1]:443": false, "[64:ff9b::8.8.8.8]:80": false,

		"127.0.0.1:80": true, "10.1.2.3:22": true, "192.168.0.1:443": true, "172.16.0.1:1": true, "[fd12::1]:80": true,
		"169.254.169.254:80": true, "100.64.0.1:80": true, "0.1.2.3:80": true, "192.0.0.8:80": true, "198.19.0.1:80": true,
		"224.0.0.1:80": true, "255.255.255.255:80": true, "[ff02::1]:80": true, "[fec0::1]:80": true,
		"[::ffff:10.1.2.3]:80": true, "[::10.1.2.3]:80": true, "[64:ff9b::10.1.2.3]:80": true, "[2002:0a01:0203::1]:80": true,
	} {
		if err := DenyPrivate(netip.MustParseAddrPort(address)); (err != nil) != denied {
			t.Errorf("%s: %v; want it denied: %v", address, err, denied)
		}
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	byName := "localhost:" + port
	for _, test := range []struct {
		name   string
		dialer Dialer
		denied bool
	}{
		{"public only", Dialer{}, true},
		{"named by the owner", Dialer{Private: true}, false},
		{"allowed", Dialer{Allow: []string{"LOCALHOST:" + port}}, false},
		{"another port is allowed", Dialer{Allow: []string{"localhost:1"}}, true},
		{"another name is allowed", Dialer{Allow: []string{l.Addr().String()}}, true},
	} {
		conn, err := test.dialer.DialContext(t.Context(), "tcp4", byName)
		if err == nil {
			conn.Close()
		}
		if errors.Is(err, ErrDenied) != test.denied || (err != nil) != test.denied {
			t.Errorf("%s: %v; want it denied: %v", test.name, err, test.denied)
		}
	}
}
