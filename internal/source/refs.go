package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"acrd/steps"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Refs are the names that a repository has for commits.
type Refs struct {
	// Commits are by the full names of refs. Annotated tags are seen through.
	Commits map[string]string
	// Head is where HEAD points, if it was asked for and is known.
	Head string
}

// A StatusError is an HTTP server that refuses.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // 0: it did not say
}

func (e *StatusError) Error() string { return statusError(e.Status).Error() }

// A refsClient asks http servers for refs, over connections that are kept. Of
// a server it needs a single request of 200 bytes: the capabilities of version
// 2 of git's protocol are not asked for first, unless it turns out that this
// server wants otherwise.
type refsClient struct {
	once      sync.Once
	transport *http.Transport
	mu        sync.Mutex // guards known
	known     map[string]remoteKind
}

// A remoteKind is how a repository differs from the usual.
type remoteKind struct {
	base   string // where it has moved to
	format string // of its hashes, if that is not sha1
	old    bool   // its server does not know version 2
}

// perHost is how many connections one server gets from all lists of refs.
const perHost = 8

// Refs lists the refs of the repository c whose names begin with one of the
// prefixes. One that is empty has none. A server that refuses is a
// *StatusError.
func (f *Fetcher) Refs(ctx context.Context, c steps.Context, prefixes []string) (*Refs, error) {
	limits := f.Limits.withDefaults()
	wait := limits.Connect + limits.FirstByte
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%w: not done within %v", ErrNoProgress, wait))
	defer cancel()
	refs, err := f.listRefs(ctx, c, prefixes)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("refs of %s: %w", c, plain(err))
	}
	maps.DeleteFunc(refs.Commits, func(name, _ string) bool { return !hasPrefix(name, prefixes) })
	return refs, nil
}

func hasPrefix(name string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (f *Fetcher) listRefs(ctx context.Context, c steps.Context, prefixes []string) (*Refs, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return f.listByGit(ctx, c)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	f.refs.once.Do(func() { f.refs.open(f) })
	scheme, host := gitHost(c.URL)
	a := &asking{
		client: &f.refs, prefixes: prefixes,
		http: &http.Client{
			Transport:     &bound{base: f.refs.transport, origin: origin(u), credential: f.credential(ctx, c, scheme, host)},
			CheckRedirect: followRefs,
		},
	}
	return a.list(ctx, u.String())
}

// Client is for small questions to the servers that have repositories: it goes
// only where a fetch may, and follows no redirect.
func (f *Fetcher) Client() *http.Client {
	f.refs.once.Do(func() { f.refs.open(f) })
	return &http.Client{
		Transport: f.refs.transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (r *refsClient) open(f *Fetcher) {
	limits := f.Limits.withDefaults()
	r.known = map[string]remoteKind{}
	r.transport = &http.Transport{
		Proxy: f.Proxy, DialContext: f.dialer(limits).DialContext, TLSClientConfig: f.TLS.Clone(),
		TLSHandshakeTimeout: limits.Connect, ResponseHeaderTimeout: limits.FirstByte, MaxResponseHeaderBytes: 64 << 10,
		DisableCompression: true, ForceAttemptHTTP2: true,
		MaxConnsPerHost: perHost, MaxIdleConnsPerHost: perHost, MaxIdleConns: 256, IdleConnTimeout: 90 * time.Second,
	}
}

func (r *refsClient) kind(address string) remoteKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[address]
}

func (r *refsClient) learn(address string, k remoteKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k == (remoteKind{}) {
		delete(r.known, address)
		return
	}
	r.known[address] = k
}

// followRefs lets a server move a repository, but not to another host, and not
// in the middle of a question.
func followRefs(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case first.Method != http.MethodGet:
		return http.ErrUseLastResponse // then it is asked where to
	case len(via) > 5:
		return errors.New("redirected more than 5 times")
	case !sameOrUpgraded(first.URL, req.URL) || !strings.HasSuffix(req.URL.Path, advertPath):
		return fmt.Errorf("redirected to %s, where it is not followed: write that address if you trust it", origin(req.URL))
	}
	req.URL.User = nil
	req.Header.Del("Referer")
	return nil
}

// An asking is one question for refs.
type asking struct {
	client   *refsClient
	http     *http.Client
	prefixes []string
}

const (
	advertPath = "/info/refs"
	uploadPack = "git-upload-pack"
	// maxRefs is what a listing may take: 50,000 refs are 3 MB.
	maxRefs = 64 << 20
)

// list asks in the way that worked last, and finds another if it does not work
// any more.
func (a *asking) list(ctx context.Context, address string) (*Refs, error) {
	k := a.client.kind(address)
	if !k.old {
		refs, err := a.lsRefs(ctx, address, k)
		if err == nil || !worthDiscovery(err) || ctx.Err() != nil {
			return refs, err
		}
	}
	k, refs, err := a.discover(ctx, address)
	if err != nil {
		return nil, err
	}
	if refs == nil {
		if refs, err = a.lsRefs(ctx, address, k); err != nil {
			return nil, err
		}
	}
	a.client.learn(address, k)
	return refs, nil
}

// worthDiscovery says that another way of asking may have another answer.
func worthDiscovery(err error) bool {
	refused := (*StatusError)(nil)
	if errors.As(err, &refused) {
		return refused.Status != http.StatusUnauthorized && refused.Status != http.StatusTooManyRequests && refused.Status < 500
	}
	return errors.Is(err, errProtocol)
}

// discover asks the server what it speaks. If that is the old protocol, the
// answer is the refs themselves.
func (a *asking) discover(ctx context.Context, address string) (remoteKind, *Refs, error) {
	var k remoteKind
	resp, err := a.do(ctx, http.MethodGet, address+advertPath+"?service="+uploadPack, "")
	if err != nil {
		return k, nil, err
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	if final := *resp.Request.URL; strings.HasSuffix(final.Path, advertPath) {
		final.Path, final.RawPath, final.RawQuery = strings.TrimSuffix(final.Path, advertPath), "", ""
		if s := final.String(); s != address {
			k.base = s
		}
	}
	if resp.Header.Get("Content-Type") != "application/x-"+uploadPack+"-advertisement" {
		return k, nil, errors.New("the server speaks only the dumb protocol, in which it cannot be asked for refs")
	}
	lines := &pktReader{r: io.LimitReader(resp.Body, maxRefs)}
	line, err := lines.next()
	if err == nil && strings.HasPrefix(line, "# service=") {
		if _, err = lines.next(); err == nil { // the mark after it
			line, err = lines.next()
		}
	}
	if err != nil {
		return k, nil, err
	}
	if strings.TrimSpace(line) == "version 2" {
		for err == nil && !lines.flushed {
			if line, err = lines.next(); strings.HasPrefix(line, "object-format=") {
				k.format = strings.TrimSpace(strings.TrimPrefix(line, "object-format="))
			}
		}
		if k.format == "sha1" {
			k.format = ""
		}
		return k, nil, err
	}
	k.old = true
	if lines.flushed { // not even capabilities: it is empty
		return k, &Refs{Commits: map[string]string{}}, nil
	}
	again := fmt.Sprintf("%04x%s", len(line)+4, line)
	refs, err := oldRefs(io.MultiReader(strings.NewReader(again), lines.r))
	return k, refs, err
}

// oldRefs reads what a server of version 0 or 1 sends: everything.
func oldRefs(r io.Reader) (*Refs, error) {
	adv := packp.NewAdvRefs()
	err := adv.Decode(r)
	if errors.Is(err, packp.ErrEmptyAdvRefs) || errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return &Refs{Commits: map[string]string{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	refs := &Refs{Commits: map[string]string{}}
	for name, hash := range adv.References {
		refs.Commits[name] = hash.String()
	}
	for name, hash := range adv.Peeled {
		refs.Commits[name] = hash.String()
	}
	if adv.Head != nil {
		refs.Commits["HEAD"] = adv.Head.String()
	}
	for _, link := range adv.Capabilities.Get("symref") {
		if to, ok := strings.CutPrefix(link, "HEAD:"); ok {
			refs.Head = to
		}
	}
	return refs, nil
}

// lsRefs asks in version 2.
func (a *asking) lsRefs(ctx context.Context, address string, k remoteKind) (*Refs, error) {
	if k.base != "" {
		address = k.base
	}
	resp, err := a.do(ctx, http.MethodPost, address+"/"+uploadPack, a.question(k))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	defer drain(resp.Body)
	if resp.Header.Get("Content-Type") != "application/x-"+uploadPack+"-result" {
		return nil, fmt.Errorf("%w: this is no answer of git", errProtocol)
	}
	refs := &Refs{Commits: map[string]string{}}
	lines := &pktReader{r: io.LimitReader(resp.Body, maxRefs)}
	for {
		line, err := lines.next()
		if err != nil {
			return nil, err
		}
		if lines.flushed {
			return refs, nil
		}
		if err := refs.add(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, err
		}
	}
}

func (a *asking) question(k remoteKind) string {
	var b strings.Builder
	pkt := func(line string) { fmt.Fprintf(&b, "%04x%s\n", len(line)+5, line) }
	pkt("command=ls-refs")
	if k.format != "" {
		pkt("object-format=" + k.format)
	}
	b.WriteString("0001")
	pkt("peel")
	pkt("symrefs")
	for _, p := range a.prefixes {
		pkt("ref-prefix " + p)
	}
	b.WriteString("0000")
	return b.String()
}

// add reads hash, name and what else there is of a ref.
func (r *Refs) add(line string) error {
	fields := strings.Split(line, " ")
	if fields[0] == "ERR" {
		return fmt.Errorf("%w: the server says %q", errProtocol, printable(strings.Join(fields[1:], " ")))
	}
	if len(fields) < 2 {
		return fmt.Errorf("%w: %.80q is no ref", errProtocol, line)
	}
	name, commit := fields[1], fields[0]
	for _, attribute := range fields[2:] {
		if peeled, ok := strings.CutPrefix(attribute, "peeled:"); ok {
			commit = peeled
		}
		if target, ok := strings.CutPrefix(attribute, "symref-target:"); ok && name == "HEAD" {
			r.Head = target
		}
	}
	if commit == "unborn" {
		return nil
	}
	if !isHash(commit) {
		return fmt.Errorf("%w: %.80q is no hash", errProtocol, commit)
	}
	r.Commits[name] = commit
	return nil
}

func (a *asking) do(ctx context.Context, method, address, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Git-Protocol", "version=2")
	req.Header.Set("User-Agent", "git/acrd")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+uploadPack+"-request")
		req.Header.Set("Accept", "application/x-"+uploadPack+"-result")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		drain(resp.Body)
		_ = resp.Body.Close()
		return nil, &StatusError{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))}
	}
	return resp, nil
}

// drain reads the little that may be left, so that the connection is kept.
func drain(body io.Reader) { _, _ = io.CopyN(io.Discard, body, 4<<10) }

func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// listByGit is for ssh and git://, which the git program speaks.
func (f *Fetcher) listByGit(ctx context.Context, c steps.Context) (*Refs, error) {
	if f.Dir == "" {
		return nil, errors.New("a Fetcher without a Dir asks no servers over ssh and git://")
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of mirrors: %w", cause(err))
	}
	from, err := f.reach(ctx, c.URL, credential{}, &meter{limits: f.Limits.withDefaults()})
	if err != nil {
		return nil, err
	}
	defer from.close()
	listed, err := (&mirror{f: f}).list(ctx, from, nil)
	if err != nil {
		return nil, err
	}
	refs := &Refs{Commits: map[string]string{}, Head: listed.dest}
	for name, hash := range listed.hash {
		if !strings.HasSuffix(name, "^{}") {
			refs.Commits[name] = hash
		}
	}
	for name, hash := range listed.hash {
		if tag, peeled := strings.CutSuffix(name, "^{}"); peeled {
			refs.Commits[tag] = hash
		}
	}
	return refs, nil
}
