package control

import (
	"context"
	"crypto/rand"
	"net"
	"strings"
	"time"
)

// A Door is a listener inside a container that leads to a unix socket of the
// host.
type Door struct {
	Address string // inside: 127.0.0.1:5000
	Socket  string // outside
}

// runPrefix begins the address of our end of a connection for a run. It is in
// Linux's abstract namespace, and leaves no file behind.
const runPrefix = "@acrd-run/"

// Dial connects to the socket. Whoever accepts the connection can ask [RunOf]
// for which run it is; an empty run is none.
func (d *Door) Dial(ctx context.Context, run string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if run != "" {
		dialer.LocalAddr = &net.UnixAddr{Name: runPrefix + run + "/" + rand.Text(), Net: "unix"}
	}
	return dialer.DialContext(ctx, "unix", d.Socket)
}

// RunOf is the run that the other end of a connection was dialled for, empty
// if none. Only whoever may connect to the socket can say so.
func RunOf(c net.Conn) string {
	name, ok := strings.CutPrefix(c.RemoteAddr().String(), runPrefix)
	if !ok {
		return ""
	}
	run, _, _ := strings.Cut(name, "/")
	return run
}
