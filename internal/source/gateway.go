package source

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A gateway is the network of git for a repository behind http. It listens on
// loopback, and what git asks of it, it asks of the real server with the HTTP
// client of this package.
//
// Git could go there itself. But then it would have to be handed the
// credential, resolve names on its own, and be watched from outside for size
// and progress. This way the credential stays in this process, bound to one
// origin, and git's transfers are under the policy, the deadlines and the
// limits of every other one. Only who knows the token, which git gets by its
// environment, is let through: loopback is open to all users of a machine.
type gateway struct {
	client *http.Client
	token  string
	lfs    bool // lets git-lfs through, too

	mu      sync.Mutex  // guards what follows
	base    *url.URL    // of the repository; moves when the server redirects
	objects []lfsObject // that the server has told where to find
	fault   error       // the first reason why the server did not do its part
	closed  bool

	server    *http.Server
	transport *timedTransport
	running   sync.WaitGroup // the server and its handlers
	origin    string         // http://127.0.0.1:port
}

const tokenHeader = "X-Acrd-Gateway"

func (f *Fetcher) newGateway(base *url.URL, cred credential, m *meter) *gateway {
	g := &gateway{base: base, token: rand.Text(), transport: f.newTransport(m)}
	g.client = &http.Client{
		Transport:     &bound{base: g.transport, origin: origin(base), credential: cred},
		CheckRedirect: g.follow,
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	return g
}

// open begins to listen, until close.
func (g *gateway) open() error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for git: %w", err)
	}
	g.origin = "http://" + l.Addr().String()
	g.running.Go(func() { _ = g.server.Serve(l) })
	return nil
}

// close ends what is under way, and returns when it has ended.
func (g *gateway) close() {
	_ = g.server.Close()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.running.Wait()
	g.transport.close()
}

// enter is false when it is too late to serve a request. Otherwise leave is to
// be called.
func (g *gateway) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.running.Add(1)
	}
	return !g.closed
}

func (g *gateway) leave() { g.running.Done() }

// url is where git finds the repository.
func (g *gateway) url() string { return g.origin + "/git" }

// fail records why r has no answer, unless that is because git has hung up.
func (g *gateway) fail(r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault == nil {
		g.fault = err
	}
}

func (g *gateway) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.enter() {
		return
	}
	defer g.leave()
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(g.token)) != 1 {
		http.Error(w, "not for you", http.StatusForbidden)
		return
	}
	resp, err := g.forward(r)
	if errors.Is(err, errNotServed) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		g.fail(r, plain(err))
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		g.refuse(w, r, resp.StatusCode)
		return
	}
	if r.URL.Path == lfsBatch {
		g.serveBatch(w, resp)
		return
	}
	pass(w.Header(), resp.Header, "Content-Type", "Content-Encoding", "Cache-Control")
	if err := relayBody(w, resp.Body); err != nil {
		g.fail(r, err)
		panic(http.ErrAbortHandler) // git has to see that its answer is cut short
	}
}

var errNotServed = errors.New("not served")

// upstream returns what r stands for at the real server. Only what a fetch
// needs has an answer: both of git's own protocols, and git-lfs.
func (g *gateway) upstream(r *http.Request) (*url.URL, bool) {
	g.mu.Lock()
	u := *g.base
	g.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/git/")
	if !ok || strings.Contains(rest, "..") {
		return nil, false
	}
	get, post := r.Method == http.MethodGet, r.Method == http.MethodPost
	switch {
	case get && rest == "info/refs", get && rest == "HEAD", post && rest == "git-upload-pack":
	case get && strings.HasPrefix(rest, "objects/") && !strings.HasSuffix(rest, "alternates"):
	case post && r.URL.Path == lfsBatch && g.lfs:
	default:
		return nil, false
	}
	next := u.JoinPath(rest)
	next.RawQuery = r.URL.RawQuery
	return next, true
}

func (g *gateway) forward(r *http.Request) (*http.Response, error) {
	if number, ok := strings.CutPrefix(r.URL.Path, lfsObjects); ok {
		return g.forwardObject(r, number)
	}
	upstream, ok := g.upstream(r)
	if !ok {
		return nil, errNotServed
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, upstream.String(), nil)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		req.Body, req.ContentLength = io.NopCloser(r.Body), r.ContentLength
	}
	pass(req.Header, r.Header, "Accept", "Accept-Encoding", "Content-Encoding", "Content-Type", "Git-Protocol", "User-Agent")
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	const advert = "/info/refs"
	if final := resp.Request.URL; final.String() != upstream.String() && strings.HasSuffix(final.Path, advert) {
		moved := *final
		moved.Path, moved.RawPath, moved.RawQuery = strings.TrimSuffix(final.Path, advert), "", ""
		g.mu.Lock()
		g.base = &moved
		g.mu.Unlock()
	}
	return resp, nil
}

// follow lets the server move a repository, but not to another host.
func (g *gateway) follow(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > 5:
		return errors.New("redirected more than 5 times")
	case first.Method != http.MethodGet || !strings.HasSuffix(first.URL.Path, "/info/refs") || !strings.HasSuffix(req.URL.Path, "/info/refs"):
		return errors.New("redirected in the middle of a fetch")
	case !sameOrUpgraded(first.URL, req.URL):
		return fmt.Errorf("redirected to %s, where it is not followed: write that address if you trust it", origin(req.URL))
	}
	req.URL.User = nil
	req.Header.Del("Referer")
	return nil
}

// refuse tells git that there is no answer. It is never a 401, for which git
// would go and ask for a password. A dumb server does not have every object
// that it is asked for, which is no fault.
func (g *gateway) refuse(w http.ResponseWriter, r *http.Request, status int) {
	if !strings.HasPrefix(r.URL.Path, "/git/objects/") {
		g.fail(r, statusError(status))
	}
	if status == http.StatusUnauthorized || status < 400 {
		status = http.StatusForbidden
	}
	http.Error(w, "", status)
}

func pass(to, from http.Header, keys ...string) {
	for _, key := range keys {
		if v := from.Values(key); len(v) > 0 {
			to[key] = v
		}
	}
}

// relayBody copies src to w as it comes, because git shows and acts on the
// parts of a long answer.
func relayBody(w http.ResponseWriter, src io.Reader) error {
	flush := http.NewResponseController(w)
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil // git has gone, and knows why
			}
			if err := flush.Flush(); err != nil {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
