package api

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// Protect refuses requests that a web page could make a browser send: those
// under a host name that is not ours, and those from another origin. It goes
// in front of everything, the registry too.
func Protect(next http.Handler, hosts []string) http.Handler {
	var allowed []string
	for _, h := range hosts {
		if h != "" {
			allowed = append(allowed, strings.ToLower(h))
		}
	}
	cross := http.NewCrossOriginProtection()
	// Hooks are proven by their address or a signature, which no browser adds
	// for a page; and senders of CloudEvents name an origin.
	cross.AddInsecureBypassPattern("/hooks/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, hostName(r.Host)) {
			http.Error(w, "this daemon does not go by that name: see --host-name", http.StatusMisdirectedRequest)
			return
		}
		cross.Handler(next).ServeHTTP(w, r)
	})
}

func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// Guard lets in who has the owner's token, and who came through Owner.
func Guard(next http.Handler, token string) http.Handler {
	return (&Gate{Owner: token}).Management(next)
}

type (
	ownerKey struct{}
	peerKey  struct{}
	keepKey  struct{}
)

// Owner marks the requests of a unix socket whose other end is this process's
// user or root. Others are refused.
func Owner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || uid != 0 && uid != os.Geteuid() {
			http.Error(w, "this socket is for its owner", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ownerKey{}, true)))
	})
}

// WithPeer is an http.Server's ConnContext: it notes who is at the other end
// of a unix socket.
func WithPeer(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		if uid, err := peerUID(u); err == nil {
			return context.WithValue(ctx, peerKey{}, uid)
		}
	}
	return ctx
}
