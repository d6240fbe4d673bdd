// Package source fetches the remote contexts of builds: git repositories,
// tarballs and OCI artifacts.
//
// Who writes a context, and whoever serves what it names, is not trusted with
// this machine. So three things hold for every kind: a connection goes only
// where Fetcher.Deny allows, a credential goes only to the scheme, host and
// port it was given for, and what is written stays inside the folder it is
// written to. Time and size are bounded by Limits.
//
// What is fetched is laid out and left alone: symbolic links are links, and
// nothing of it is run. What the folder holds afterwards may still be hostile;
// whoever opens a file in it does so through an os.Root.
package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"acrd/internal/realm"
	"acrd/steps"
)

// A Fetcher downloads remote contexts. It is safe for concurrent use, and must
// not be copied once used.
type Fetcher struct {
	// Dir is scratch: it keeps a bare mirror of each repository, so that a
	// second fetch is small. It may be emptied while nothing is fetched.
	Dir    string
	Limits Limits

	// Credential is asked for what a context does not carry itself. The host
	// has a port if the URL has one, or if it is a registry's. What it returns
	// is sent to that scheme, host and port only. Nil means there is none.
	Credential func(ctx context.Context, scheme, host string) (user, password string, ok bool)

	// Deny returns why a connection to addr is refused. Nil is
	// address.DenyMetadata.
	Deny func(addr netip.AddrPort) error
	// TLS is for authorities beside the system's. Nil is Go's default.
	TLS *tls.Config
	// Proxy is as in http.Transport; nil means none, whatever the environment
	// says. Deny then judges the address of the proxy.
	Proxy func(*http.Request) (*url.URL, error)

	// Identity is the private key that ssh offers; empty offers none.
	// KnownHosts is the file with the keys of ssh servers; empty is what ssh
	// itself would read. An unknown server is refused.
	Identity, KnownHosts string

	// TokenServers are trusted with the credential of a registry beside the
	// registry itself.
	TokenServers realm.Pairs

	Log *slog.Logger // nil discards

	mirrors keyedLock
	refs    refsClient
}

// Fetched says what Fetch found.
type Fetched struct {
	Commit string // git: the full hash
	Branch string // git: its short name, empty if Ref was not a branch
	Digest string // oci: of the manifest; tarball: sha256 of the file
	Dir    string // the context: a real folder, at or below the one fetched into
}

// Fetch puts the files of c, which must be remote, into dir, which must be
// empty or absent. What it does is told on out, a line at a time. On an error
// dir is left empty. No error, line or log record has a credential.
func (f *Fetcher) Fetch(ctx context.Context, c steps.Context, dir string, out io.Writer) (*Fetched, error) {
	fetched, err := f.fetch(ctx, c, dir, out)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", c, err)
	}
	return fetched, nil
}

func (f *Fetcher) fetch(ctx context.Context, c steps.Context, dir string, out io.Writer) (*Fetched, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := emptyDir(dir); err != nil {
		return nil, err
	}
	limits := f.Limits.withDefaults()
	late := fmt.Errorf("%w: not done within %v", ErrLimit, limits.Total)
	ctx, cancel := context.WithTimeoutCause(ctx, limits.Total, late)
	defer cancel()

	m := &meter{limits: limits}
	out, stop := m.tell(ctx, out, 10*time.Second)
	defer stop()
	began := time.Now()
	var fetched *Fetched
	switch c.Kind {
	case steps.ContextGit:
		fetched, err = f.fetchGit(ctx, c, dir, m, out)
	case steps.ContextTarball:
		fetched, err = f.fetchTarball(ctx, c, dir, m, out)
	case steps.ContextOCI:
		fetched, err = f.fetchOCI(ctx, c, dir, m, out)
	default:
		return nil, fmt.Errorf("a %s context is not fetched", c.Kind)
	}
	if err == nil {
		fetched.Dir, err = resolveDir(dir, c.Dir)
	}
	f.log().Debug("fetched", "context", c.String(), "bytes", m.received.Load(), "took", time.Since(began), "err", err)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, errors.Join(err, clearDir(dir))
	}
	return fetched, nil
}

func (f *Fetcher) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// credential is the one for u: what c carries, or else what we are given.
func (f *Fetcher) credential(ctx context.Context, c steps.Context, scheme, host string) credential {
	if user, password, ok := c.Credential(); ok {
		return credential{user, password}
	}
	if f.Credential == nil {
		return credential{}
	}
	user, password, ok := f.Credential(ctx, scheme, host)
	if !ok {
		return credential{}
	}
	return credential{user, password}
}
