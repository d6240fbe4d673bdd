package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"acrd/eventing"
	"acrd/internal/address"
)

// A target is what every sink knows of where it delivers to.
type target struct {
	eventing.Destination
	url *url.URL // without the userinfo
	// scheme is the protocol, whether it is encrypted or not: "amqp" for amqps.
	scheme     string
	credential string // that of the URL's userinfo, if there is no other
	dialer     address.Dialer
	tls        *tls.Config // nil if the URL asks for none
}

func newTarget(d eventing.Destination, credential string, dialer address.Dialer) (*target, error) {
	if d.URL == "" {
		found, err := eventing.ResourceURL(d)
		if err != nil {
			return nil, err
		}
		d.URL = found
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, errors.New("the destination's URL cannot be read") // err tells the URL
	}
	if u.User != nil && credential == "" {
		credential = u.User.String()
		if password, ok := u.User.Password(); ok {
			credential = u.User.Username() + ":" + password
		}
	}
	u.User = nil
	dialer.Private = d.Trusted
	t := &target{Destination: d, url: u, credential: strings.TrimSpace(credential), dialer: dialer}
	if err := t.protocol(); err != nil {
		return nil, err
	}
	return t, nil
}

// protocol finds out what is spoken, and whether it is encrypted.
func (t *target) protocol() error {
	encrypted, plain := eventing.Schemes(t.Type)
	switch scheme := t.url.Scheme; {
	case slices.Contains(plain, scheme):
		t.scheme = scheme
	case slices.Contains(encrypted, scheme):
		t.scheme = spoken(scheme)
	default:
		return fmt.Errorf("the URL of a destination of endpointType %s begins with %s", t.Type, strings.Join(slices.Concat(encrypted, plain), " or "))
	}
	if t.scheme == "file" {
		return nil
	}
	if t.url.Hostname() == "" {
		return errors.New("the destination's URL names no host")
	}
	if slices.Contains(plain, t.url.Scheme) {
		return nil
	}
	var err error
	t.tls, err = t.encryption()
	return err
}

// spoken is the protocol beneath the encryption.
func spoken(scheme string) string {
	switch scheme {
	case "sb":
		return "amqp"
	case "tls":
		return "nats"
	}
	return strings.TrimSuffix(scheme, "s")
}

func (t *target) encryption() (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         t.url.Hostname(),
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.Insecure,
	}
	if t.CA == "" {
		return c, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM([]byte(t.CA)) {
		return nil, errors.New("the destination's CA holds no certificate in PEM")
	}
	c.RootCAs = roots
	return c, nil
}

// address is host:port.
func (t *target) address(port string) string {
	if p := t.url.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(t.url.Hostname(), port)
}

// connect opens a connection, encrypted if the URL asks for it.
func (t *target) connect(ctx context.Context, hostPort string) (net.Conn, error) {
	conn, err := t.dialer.DialContext(ctx, "tcp", hostPort)
	if err != nil || t.tls == nil {
		return conn, err
	}
	c := t.tls.Clone() // a broker may have sent us to another
	if c.ServerName, _, err = net.SplitHostPort(hostPort); err != nil {
		conn.Close()
		return nil, err
	}
	encrypted := tls.Client(conn, c)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return encrypted, nil
}

// shown is the URL as errors and exchanges tell it: without what may be secret
// in it.
func (t *target) shown() string {
	u := *t.url
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}
