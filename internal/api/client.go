package api

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A Client speaks to a daemon. It is safe for concurrent use.
type Client struct {
	http *http.Client
	base string
}

// ErrUnreachable says that no daemon answers at the address.
var ErrUnreachable = errors.New("no daemon answers")

// A Problem is an answer of the daemon that is not a success.
type Problem struct {
	Status        int
	Code, Message string
	// Target is the field that is at fault, if it is one.
	Target string
}

func (p *Problem) Error() string {
	if p.Target != "" && p.Status == http.StatusBadRequest {
		return p.Target + ": " + p.Message
	}
	return p.Message
}

// NewClient speaks to server: unix:PATH, or an http or https URL. The token is
// sent over TCP only; a socket knows its user.
func NewClient(server, token string) (*Client, error) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", strings.TrimPrefix(path, "//"))
		}
		return &Client{&http.Client{Transport: reaching{&http.Transport{DialContext: dial}}}, "http://localhost"}, nil
	}
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server %q: want unix:PATH or http(s)://HOST:PORT", server)
	}
	return &Client{&http.Client{Transport: withToken{reaching{http.DefaultTransport}, token, *u}}, u.Scheme + "://" + u.Host}, nil
}

// reaching makes ErrUnreachable of whatever keeps a request from being
// answered, or the cause if that is the end of its context.
type reaching struct{ next http.RoundTripper }

func (t reaching) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		return resp, nil
	}
	if cause := context.Cause(r.Context()); cause != nil {
		return nil, cause
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return nil, fmt.Errorf("%w that this machine trusts: %w: name a file with the authority's certificate in $SSL_CERT_FILE", ErrUnreachable, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// withToken shows the token to the daemon, and to nobody whom a redirect names.
type withToken struct {
	next  http.RoundTripper
	token string
	at    url.URL
}

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.token != "" && r.URL.Scheme == t.at.Scheme && r.URL.Host == t.at.Host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	return t.next.RoundTrip(r)
}

// HTTP is the client's connection, and Base the address of the daemon.
func (c *Client) HTTP() *http.Client { return c.http }

// Base is the address of the daemon, as URLs begin.
func (c *Client) Base() string { return c.base }

// Contexts is the address below which uploads go.
func (c *Client) Contexts() string { return c.base + ourRoot }

// Info asks who answers.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var i Info
	return i, c.call(ctx, http.MethodGet, "/version", nil, &i)
}

// Schedule queues a run.
func (c *Client) Schedule(ctx context.Context, b *RunRequest) (*Run, error) {
	var r Run
	return &r, c.call(ctx, http.MethodPost, ourRoot+"/scheduleRun", b, &r)
}

// Run looks up a run.
func (c *Client) Run(ctx context.Context, id string) (*Run, error) {
	var r Run
	return &r, c.call(ctx, http.MethodGet, ourRoot+"/runs/"+url.PathEscape(id), nil, &r)
}

// Runs lists the newest runs.
func (c *Client) Runs(ctx context.Context, top int) ([]*Run, error) {
	return c.Find(ctx, "", top)
}

// Cancel asks a run to stop.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, ourRoot+"/runs/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// LogOptions say what part of a log to read.
type LogOptions struct {
	Offset int64
	Follow bool
	Step   *string // one step's output only
}

// Log reads a run's log. The caller closes it.
func (c *Client) Log(ctx context.Context, id string, o LogOptions) (io.ReadCloser, error) {
	q := url.Values{"offset": {strconv.FormatInt(o.Offset, 10)}, "follow": {strconv.FormatBool(o.Follow)}}
	if o.Step != nil {
		q.Set("step", *o.Step)
	}
	return c.stream(ctx, ourRoot+"/runs/"+url.PathEscape(id)+"/log?"+q.Encode())
}

// Progress reads a run's build progress, JSON lines. The caller closes it.
func (c *Client) Progress(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.stream(ctx, ourRoot+"/runs/"+url.PathEscape(id)+"/progress?follow=true")
}

// Park offers a connection to the agent of a build. It returns a connection
// on which the build may speak some time.
func (c *Client) Park(ctx context.Context, agent string) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+ourRoot+"/sshAgents/"+url.PathEscape(agent), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", agentUpgrade)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unwrapURL(err)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		resp.Body.Close()
		return nil, fmt.Errorf("park ssh agent: %s", resp.Status)
	}
	return conn, nil
}

func (c *Client) stream(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unwrapURL(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// unwrapURL takes off what http.Client puts around an error: the address, of
// which a user knows nothing.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func problem(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	p := &Problem{Status: resp.StatusCode, Code: resp.Status, Message: strings.TrimSpace(string(b))}
	var body errorBody
	if json.Unmarshal(b, &body) == nil && body.Error.Message != "" {
		p.Code, p.Message, p.Target = body.Error.Code, body.Error.Message, body.Error.Target
	}
	if p.Message == "" {
		p.Message = resp.Status
	}
	return p
}
