//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"acrd/internal/address"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/source"
	"github.com/moby/buildkit/source/git"
	sourcehttp "github.com/moby/buildkit/source/http"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/moby/buildkit/util/tracing"
)

// errDenied is an address that a Dockerfile may not fetch from.
var errDenied = errors.New("address refused")

// guardSources replaces BuildKit's http and git sources. What a Dockerfile
// fetches with ADD is fetched by this process, which is on the host's network:
// what steps cannot reach, ADD must not reach for them.
func (k *kit) guardSources(runs netip.Prefix) error {
	deny := func(addr netip.AddrPort) error {
		if runs.Contains(addr.Addr().Unmap()) {
			return fmt.Errorf("%w: %s is in the network of a run", errDenied, addr.Addr())
		}
		if err := address.DenyHost(addr); err != nil {
			return fmt.Errorf("%w: %w", errDenied, err)
		}
		return nil
	}
	web, err := sourcehttp.NewSource(sourcehttp.Opt{CacheAccessor: k.worker.CacheMgr, Transport: guardedTransport(deny)})
	if err != nil {
		return fmt.Errorf("http source: %w", err)
	}
	k.worker.HTTPSource = web
	k.worker.SourceManager.Register(web)
	if k.worker.GitSource != nil {
		k.worker.SourceManager.Register(&guardedGit{k.worker.GitSource, deny})
	}
	return nil
}

func guardedTransport(deny func(netip.AddrPort) error) http.RoundTripper {
	d := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address %q: %w", address, err)
		}
		return deny(addr)
	}}
	return tracing.NewTransport(&http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, ForceAttemptHTTP2: true,
		MaxIdleConns: 100, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second,
	})
}

// A guardedGit looks up where a repository is before git goes there. Git looks
// it up again: who can change the answer in between gets as far as git's first
// request.
type guardedGit struct {
	*git.Source
	deny func(netip.AddrPort) error
}

// lookUpTimeout bounds the look-up of a name.
const lookUpTimeout = 5 * time.Second

// Identifier is where BuildKit reads what a build names as a source.
func (g *guardedGit) Identifier(scheme, ref string, attrs map[string]string, platform *pb.Platform) (source.Identifier, error) {
	id, err := g.Source.Identifier(scheme, ref, attrs, platform)
	if err != nil {
		return nil, err
	}
	repository, ok := id.(*git.GitIdentifier)
	if !ok {
		return nil, fmt.Errorf("%T is not a git repository", id)
	}
	u, err := gitutil.ParseURL(repository.Remote)
	if err != nil {
		return nil, fmt.Errorf("git repository: %w", err)
	}
	return id, g.check(u.Host)
}

func (g *guardedGit) check(host string) error {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), lookUpTimeout, errors.New("the name server does not answer"))
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil //nolint:nilerr // git will say it better
	}
	for _, ip := range found {
		if err := g.deny(netip.AddrPortFrom(ip, 0)); err != nil {
			return err
		}
	}
	return nil
}
