package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/runner"
)

// A Gate lets requests in by what their token allows: one of Tokens, or the
// owner's, which allows everything. Requests that came through Owner need
// none. Set the fields before the first request.
type Gate struct {
	Owner  string // the owner's token
	Tokens Tokens // nil: there are no others
	// OpenRegistry lets everybody pull and push, as on loopback.
	OpenRegistry bool

	mu    sync.Mutex // guards known
	known map[string]seen
}

// seen is a token as it was when it was last looked at; nil if there was none.
type seen struct {
	token *Token
	at    time.Time
}

const (
	// recheck is how often a token is looked at, while it is used and while
	// something is open that it opened. Twice that is less than the 5 s
	// within which a token that was deleted is worth nothing.
	recheck  = 2 * time.Second
	maxKnown = 10_000
)

// errRevoked ends what is open when its token is gone.
var errRevoked = errors.New("the token was deleted, or has expired")

// Management lets in by the scope that a request of the management API needs.
// Tokens come as Bearer, or as the password of Basic.
func (g *Gate) Management(next http.Handler) http.Handler {
	return g.guard(next, managementScope, func(w http.ResponseWriter, _ *http.Request, status int, message string) {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, status, "Unauthorized", message)
			return
		}
		refuse(w, status, "AuthorizationFailed", message)
	})
}

// Registry lets in by the scope that a request of the registry needs, of OCI's
// API or of ACR's. docker login takes any user's name, and the token as
// password; Azure's clients get theirs from Exchange.
func (g *Gate) Registry(next http.Handler) http.Handler {
	if g.OpenRegistry {
		return g.challenged(g.recognize(next))
	}
	return g.guard(next, registryScope, func(w http.ResponseWriter, r *http.Request, status int, message string) {
		code := "DENIED"
		if status == http.StatusUnauthorized {
			challenge(w, r)
			code = "UNAUTHORIZED"
		}
		refuseRegistry(w, status, code, message)
	})
}

// recognize lets everybody in, and knows the owner.
func (g *Gate) recognize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.isOwner(credential(r)) {
			r = r.WithContext(context.WithValue(r.Context(), ownerKey{}, true))
		}
		next.ServeHTTP(w, r)
	})
}

// Metrics lets in who may read; on loopback everybody.
func (g *Gate) Metrics(next http.Handler) http.Handler {
	if g.OpenRegistry {
		return next
	}
	return g.Management(next)
}

// managementScope is what a request needs. What is not named here is the
// owner's.
func managementScope(r *http.Request) Scope {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if strings.HasPrefix(r.URL.Path, adminRoot+"/") {
			return ScopeOwner
		}
		return ScopeRead
	}
	parts := strings.Split(strings.ToLower(strings.Trim(r.URL.Path, "/")), "/")
	last := parts[len(parts)-1]
	switch {
	case parts[0] != "subscriptions" || len(parts) < 9: // not below a registry
		return ScopeOwner
	case r.Method == http.MethodPost && slices.Contains([]string{"listlogsasurl", "listdetails"}, last):
		return ScopeRead
	case r.Method == http.MethodPost && slices.Contains([]string{"schedulerun", "cancel", "listbuildsourceuploadurl"}, last),
		slices.Contains([]string{"contexts", "sshagents", "taskruns", "runs"}, parts[8]):
		return ScopeSubmit
	}
	return ScopeOwner
}

func registryScope(r *http.Request) Scope {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return ScopePull
	}
	return ScopePush
}

type refusal func(w http.ResponseWriter, r *http.Request, status int, message string)

func (g *Gate) guard(next http.Handler, scope func(*http.Request) Scope, refuse refusal) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := credential(r)
		if owns(r.Context()) || g.isOwner(given) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ownerKey{}, true)))
			return
		}
		t, err := g.find(r.Context(), given)
		need := scope(r)
		switch {
		case errors.Is(err, runner.ErrNotFound), err == nil && t.expired(time.Now()):
			refuse(w, r, http.StatusUnauthorized, "this needs a token that is known here and has not expired: give it in $ACRD_TOKEN; the owner's is in the file 'token' of the daemon's state folder")
		case err != nil:
			w.Header().Set("Retry-After", "5")
			refuse(w, r, http.StatusServiceUnavailable, "the daemon cannot look up tokens just now")
		case !t.allows(need, time.Now()):
			refuse(w, r, http.StatusForbidden, "the token "+t.Name+" allows "+scopeList(t.Scopes)+", and this needs "+string(need)+": ask the owner for a token with that scope")
		default:
			g.serve(next, w, r, t)
		}
	})
}

// credential is the token of a request, empty if it has none.
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func (g *Gate) isOwner(given string) bool {
	got, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(g.Owner))
	return g.Owner != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// find looks a token up, at most every so often.
func (g *Gate) find(ctx context.Context, given string) (*Token, error) {
	if g.Tokens == nil || !strings.HasPrefix(given, tokenPrefix) {
		return nil, runner.ErrNotFound
	}
	hash := HashToken(given)
	g.mu.Lock()
	s, ok := g.known[hash]
	g.mu.Unlock()
	if ok && time.Since(s.at) < recheck {
		return s.token, s.err()
	}
	return g.look(ctx, hash)
}

func (g *Gate) look(ctx context.Context, hash string) (*Token, error) {
	now := time.Now()
	t, err := g.Tokens.TokenByHash(ctx, hash)
	if err != nil && !errors.Is(err, runner.ErrNotFound) {
		return nil, err
	}
	s := seen{t, now}
	if err != nil {
		s.token = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil || len(g.known) >= maxKnown {
		g.known = map[string]seen{}
	}
	g.known[hash] = s
	return s.token, s.err()
}

func (s seen) err() error {
	if s.token == nil {
		return runner.ErrNotFound
	}
	return nil
}

// serve lets a request in for as long as its token is good. One that is cut
// off is cut off hard, so that nobody takes a log for whole.
func (g *Gate) serve(next http.Handler, w http.ResponseWriter, r *http.Request, t *Token) {
	ctx := r.Context()
	if slices.Contains(t.Scopes, ScopeOwner) {
		ctx = context.WithValue(ctx, ownerKey{}, true)
	}
	if !g.OpenRegistry && !t.allows(ScopePush, time.Now()) {
		ctx = context.WithValue(ctx, keepKey{}, true)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { g.watch(ctx, cancel, credential(r), w) })
	defer watching.Wait()
	defer cancel(nil)
	next.ServeHTTP(w, r.WithContext(ctx))
	if errors.Is(context.Cause(ctx), errRevoked) {
		panic(http.ErrAbortHandler)
	}
}

// watch ends a request when its token is gone. While tokens cannot be looked
// up, none can be deleted either.
func (g *Gate) watch(ctx context.Context, cancel context.CancelCauseFunc, given string, w http.ResponseWriter) {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t, err := g.find(ctx, given)
		if errors.Is(err, runner.ErrNotFound) || err == nil && t.expired(time.Now()) {
			cancel(errRevoked)
			c := http.NewResponseController(w) // whoever waits for the client waits no more
			_ = c.SetReadDeadline(time.Now())
			_ = c.SetWriteDeadline(time.Now())
			return
		}
	}
}

// Owns says that a gate has let a request in as the owner's.
func Owns(r *http.Request) bool { return owns(r.Context()) }

// keepsRegistry says that whoever asks may not delete in the registry, nor may
// the runs that he asks for.
func keepsRegistry(ctx context.Context) bool { return ctx.Value(keepKey{}) != nil }

// owns says that a request is the owner's.
func owns(ctx context.Context) bool { return ctx.Value(ownerKey{}) != nil }
