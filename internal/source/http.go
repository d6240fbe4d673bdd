package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"acrd/internal/address"
)

// dialer makes the connections of every kind of fetch. The address policy is
// asked about the address that is really dialled, after names are resolved.
func (f *Fetcher) dialer(limits Limits) *net.Dialer {
	deny := f.Deny
	if deny == nil {
		deny = address.DenyMetadata
	}
	return &net.Dialer{
		Timeout: limits.Connect,
		Control: func(_, address string, _ syscall.RawConn) error {
			addr, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("address %q: %w", address, err)
			}
			if err := deny(addr); err != nil {
				return fmt.Errorf("%w: %w", ErrDenied, err)
			}
			return nil
		},
	}
}

// A timedTransport is the http.RoundTripper of one fetch. It adds to a
// http.Transport the deadlines and the size limit of a meter. Environment
// variables that name a proxy are not read: behind one, the address policy
// would judge the wrong address.
type timedTransport struct {
	meter *meter
	base  *http.Transport
}

func (f *Fetcher) newTransport(m *meter) *timedTransport {
	return &timedTransport{meter: m, base: &http.Transport{
		Proxy:                  f.Proxy,
		DialContext:            f.dialer(m.limits).DialContext,
		TLSClientConfig:        f.TLS.Clone(),
		TLSHandshakeTimeout:    m.limits.Connect,
		ResponseHeaderTimeout:  m.limits.FirstByte,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // an archive is to arrive as it is
		ForceAttemptHTTP2:      true,
	}}
}

func (t *timedTransport) close() { t.base.CloseIdleConnections() }

func (t *timedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	// The timeouts of http.Transport do not cover a peer that stops reading
	// the request.
	wait := t.meter.limits.Connect + t.meter.limits.FirstByte
	unanswered := time.AfterFunc(wait, func() {
		cancel(fmt.Errorf("%w: no answer within %v", ErrNoProgress, wait))
	})
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	unanswered.Stop()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			err = fmt.Errorf("%w: %s did not answer in time: %w", ErrNoProgress, req.URL.Host, err)
		}
		cancel(nil)
		return nil, err
	}
	resp.Body = &body{Reader: t.meter.watch(ctx, resp.Body, cancel), closer: resp.Body, cancel: cancel}
	return resp, nil
}

type body struct {
	io.Reader
	closer io.Closer
	cancel context.CancelCauseFunc
}

func (b *body) Close() error {
	b.cancel(nil)
	return b.closer.Close()
}

// A bound transport sends a credential to one origin and to no other, whatever
// redirects and challenges the origin answers with. With the zero credential
// it sends none anywhere.
type bound struct {
	base       http.RoundTripper
	origin     string
	credential credential
}

type credential struct {
	user, password string
}

func (b *bound) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.credential != (credential{}) && origin(req.URL) == b.origin && req.Header.Get("Authorization") == "" {
		req = req.Clone(req.Context())
		req.SetBasicAuth(b.credential.user, b.credential.password)
	}
	return b.base.RoundTrip(req)
}

// origin is the scheme, host and port of u: what a credential is bound to.
func origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ssh": "22", "git": "9418"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// sameOrUpgraded allows a redirect within one host, where http may become
// https but not the other way round.
func sameOrUpgraded(from, to *url.URL) bool {
	upgraded := *from
	upgraded.Scheme = "https"
	return origin(to) == origin(from) ||
		from.Scheme == "http" && from.Port() == "" && origin(to) == origin(&upgraded)
}

// plain undoes the wrapping of http.Client, which quotes the whole URL: the
// query of a URL can be a credential.
func plain(err error) error {
	if quoted := (*url.Error)(nil); errors.As(err, &quoted) {
		return quoted.Err
	}
	return err
}

// statusError says what an HTTP status means for who wrote the context. What a
// server writes beside it is not passed on.
func statusError(status int) error {
	text := fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += ": it wants a credential, or another one"
	case http.StatusNotFound:
		text += ": it is not there, or not for the credential that was used"
	}
	return errors.New(text)
}
