package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"acrd/internal/acr"
	"acrd/runner"
	"acrd/steps"

	"github.com/spf13/pflag"
)

// A toolEngine does what steps ask of ACR's own command line by itself: the
// image is Microsoft's, and the registry that it would talk to is out of a
// step's reach.
type toolEngine struct {
	runner.Engine
	socket string // where the registry answers without asking who it is
}

// acrImage is what the alias acr stands for, without its tag.
const acrImage = "mcr.microsoft.com/acr/acr-cli"

// Open gives a run its session.
func (e *toolEngine) Open(ctx context.Context, p *steps.Place) (steps.Session, error) {
	s, err := e.Engine.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	return &toolSession{Session: s, engine: e, registry: p.Registry, untrusted: p.Untrusted, keep: p.KeepRegistry}, nil
}

// A toolSession is the tools of one run.
type toolSession struct {
	steps.Session
	engine    *toolEngine
	registry  string
	untrusted bool
	keep      bool // delete nothing
}

// Exec runs a command, or does itself what it says.
func (s *toolSession) Exec(ctx context.Context, op *steps.ExecOp, out steps.Output) error {
	image, _, _ := strings.Cut(strings.TrimPrefix(op.Image, acrImage), ":")
	if image != "" || !strings.HasPrefix(op.Image, acrImage) || len(op.Entrypoint) > 0 {
		return s.Session.Exec(ctx, op, out)
	}
	if len(op.Args) == 0 || op.Args[0] != "purge" {
		return &steps.RefusedError{Reason: fmt.Sprintf("acr %s is not supported in a step: only acr purge is; see 'acrd repository' and 'acrd manifest'", strings.Join(op.Args, " "))}
	}
	if s.untrusted {
		return &steps.RefusedError{Reason: "this run is of a pull request from a fork: it purges nothing"}
	}
	if s.keep {
		return &steps.RefusedError{Reason: "whoever asked for this run may not delete in the registry, so it purges nothing: that takes a token with the scope registry-push, or the owner"}
	}
	return s.purge(ctx, op.Args[1:], out)
}

// purge is acr purge. It fails as the command would.
func (s *toolSession) purge(ctx context.Context, args []string, out steps.Output) error {
	p, err := s.readPurge(args, out.Stdout)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		fmt.Fprintln(out.Stderr, "Error:", err)
		return &steps.ExitError{Code: 1}
	}
	if err := purgeInside(ctx, p, s.engine.socket); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		fmt.Fprintln(out.Stderr, "Error:", err)
		return &steps.ExitError{Code: 1}
	}
	return nil
}

// purgeInside purges the registry behind a socket, where nobody asks who it is.
func purgeInside(ctx context.Context, p *acr.Purge, socket string) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	p.Client.HTTP, p.Client.Base = &http.Client{Transport: transport}, "http://"+p.Registry
	return p.Run(ctx)
}

// readPurge reads the command line, which may name the run's registry and no
// other. Who asks is clear: acr-cli's credentials are not needed.
func (s *toolSession) readPurge(args []string, out io.Writer) (*acr.Purge, error) {
	fs := pflag.NewFlagSet("acr purge", pflag.ContinueOnError)
	fs.SetOutput(out)
	var form purgeForm
	form.define(fs)
	registry := fs.StringP("registry", "r", "", "the run's registry")
	fs.StringP("username", "u", "", "not needed")
	fs.StringP("password", "p", "", "not needed")
	fs.StringArrayP("config", "c", nil, "not needed")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if rest := fs.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unknown command %q for \"acr purge\"", rest[0])
	}
	host, _, _ := strings.Cut(s.registry, ":")
	if !slices.Contains([]string{"", s.registry, host}, *registry) {
		return nil, fmt.Errorf("--registry %s: a run purges its own registry, %s, and no other", *registry, s.registry)
	}
	p, err := form.purge(out)
	if err != nil {
		return nil, err
	}
	p.Registry, p.Client = s.registry, &acr.Client{Page: form.page}
	return p, nil
}

// inside is the registry as the daemon's own runs reach it.
func (d *daemon) inside() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v2/", d.registry)
	mux.Handle("/acr/v1/", d.registry.Data())
	return http.NewCrossOriginProtection().Handler(mux)
}
