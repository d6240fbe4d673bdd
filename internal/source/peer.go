package source

import (
	"context"
	"net/url"
	"strings"
)

// A peer is a repository as git is told of it.
type peer struct {
	url      string   // what git connects to
	protocol string   // and how
	env      []string // what it needs for it
	show     string   // what it is called, by people
	failed   func() error
	close    func()
}

func (r *peer) fault() error {
	if r.failed == nil {
		return nil
	}
	return r.failed()
}

// reach returns the peer at address, which is a git URL without credential.
// It is to be closed.
func (f *Fetcher) reach(ctx context.Context, address string, cred credential, m *meter) (*peer, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return f.reachRelayed(ctx, address, m)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	g := f.newGateway(u, cred, m)
	if err := g.open(); err != nil {
		return nil, err
	}
	return g.peer(address), nil
}

// peer is the repository behind an open gateway.
func (g *gateway) peer(show string) *peer {
	return &peer{
		url:      g.url(),
		protocol: "http",
		env: []string{
			"GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=http.extraHeader",
			"GIT_CONFIG_VALUE_0=" + tokenHeader + ": " + g.token,
		},
		show:   show,
		failed: g.failed,
		close:  g.close,
	}
}
