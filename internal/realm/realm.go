// Package realm says who may be shown the credential of a registry. Registries
// answer with the address of a server that gives tokens for it, their realm:
// one that is hostile, or was taken over, names a server of somebody else.
package realm

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"golang.org/x/net/publicsuffix"
)

// Pairs are the token servers that the owner trusts with the credential of a
// registry: HOST[:PORT] of the registry to HOST[:PORT] of each.
type Pairs map[string][]string

// Accepts tells whether u may be shown the credential of a registry: it is the
// registry itself, a token server that the owner has named, or one that
// answers with TLS on the usual port of a host of the same registrable domain.
// Another port of the same host may be another user's. Without TLS only a
// registry that is plain is asked, and what the owner has named for it.
func (p Pairs) Accepts(registry string, plain bool, u *url.URL) bool {
	if u.Scheme != "https" && (u.Scheme != "http" || !plain) {
		return false
	}
	own, at := address(u.Scheme, registry), address(u.Scheme, u.Host)
	named := slices.ContainsFunc(p[registry], func(host string) bool { return address(u.Scheme, host) == at })
	return at == own || named || u.Scheme == "https" && port(at) == "443" && sameSite(u.Hostname(), hostname(registry))
}

// address spells out the port of a host.
func address(scheme, host string) string {
	u := url.URL{Host: host}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func port(address string) string { return (&url.URL{Host: address}).Port() }

func hostname(host string) string { return (&url.URL{Host: host}).Hostname() }

// sameSite tells whether one owner has both names.
func sameSite(a, b string) bool {
	if a == b {
		return true
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return false
	}
	of, err := publicsuffix.EffectiveTLDPlusOne(a)
	if err != nil {
		return false
	}
	with, err := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && of == with
}

// OnLoopback tells whether a registry, HOST[:PORT], is reached inside this
// machine, where it may speak HTTP without TLS.
func OnLoopback(registry string) bool {
	host := hostname(registry)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// A Guard is the way to one registry with its credential. Neither that nor a
// token goes anywhere else, whatever the registry answers and wherever it
// redirects to. What it would not let pass fails.
type Guard struct {
	Next     http.RoundTripper
	Registry string // HOST[:PORT]
	Plain    bool   // it speaks HTTP without TLS
	Pairs    Pairs
}

// RoundTrip implements http.RoundTripper.
func (g Guard) RoundTrip(req *http.Request) (*http.Response, error) {
	// A form may have the credential in its body.
	shows := req.Header.Get("Authorization") != "" || req.Method == http.MethodPost
	if shows && !g.Pairs.Accepts(g.Registry, g.Plain, req.URL) {
		return nil, &Error{Registry: g.Registry, At: url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host}}
	}
	return g.Next.RoundTrip(req)
}

// An Error says that a registry wants its credential sent to somebody else.
type Error struct {
	Registry string
	At       url.URL // scheme and host
}

func (e *Error) Error() string {
	return fmt.Sprintf("registry %s wants its credential sent to %s, which is not done: if that is its token server, the owner may say so with --token-server %s=%s", e.Registry, e.At.String(), e.Registry, e.At.Host)
}
