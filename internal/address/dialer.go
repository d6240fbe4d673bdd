package address

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrDenied says that a connection was not made because of where it leads.
var ErrDenied = errors.New("the address is not allowed")

// A Dialer opens connections to the destinations of events, which whoever may
// make a subscription can name. The zero value opens public addresses only.
type Dialer struct {
	// Private lets connections go to this host and to private networks: the
	// owner of the daemon has named the destination. The metadata services of
	// clouds stay out of reach.
	Private bool
	// Allow names destinations that Private holds for, each as host:port,
	// exactly as it is dialled: before names are resolved.
	Allow []string
	// Timeout is for one connection; 0 is 10 s.
	Timeout time.Duration
}

// DialContext connects to a host:port. It is ErrDenied if every address of the
// host is denied.
func (d Dialer) DialContext(ctx context.Context, network, hostPort string) (net.Conn, error) {
	deny := DenyPrivate
	if d.Private || slices.ContainsFunc(d.Allow, func(a string) bool { return strings.EqualFold(a, hostPort) }) {
		deny = DenyMetadata
	}
	dialer := net.Dialer{Timeout: d.Timeout, Control: control(deny)}
	if d.Timeout == 0 {
		dialer.Timeout = 10 * time.Second
	}
	return dialer.DialContext(ctx, network, hostPort)
}

// control asks deny about the address that is really dialled.
func control(deny func(netip.AddrPort) error) func(string, string, syscall.RawConn) error {
	return func(_, text string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("address %q: %w", text, err)
		}
		if err := deny(addr); err != nil {
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
		return nil
	}
}
