package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"acrd/internal/buildkit/control"
	"acrd/steps"
)

const (
	// stopGrace is between SIGTERM and SIGKILL when a step is cut short.
	// All of it together must stay well below the ten seconds that a cancel
	// may take.
	stopGrace = 4 * time.Second
	// stopPatience bounds the wait for a container after its SIGKILL.
	stopPatience = 5 * time.Second
)

// Exec runs a command in a container of the run.
func (s *runSession) Exec(ctx context.Context, op *steps.ExecOp, out steps.Output) error {
	if err := s.permit(op.Needs()); err != nil {
		return err
	}
	if _, err := s.borrow(); err != nil {
		return s.gen.blame(ctx, err)
	}
	spec, err := s.execSpec(op)
	if err != nil {
		return err
	}
	if op.Detach {
		return s.detach(ctx, spec, out)
	}
	return s.attended(ctx, spec, out, nil)
}

// attended runs a command to its end. If ctx ends first the command is
// stopped, and what it still says is heard.
func (s *runSession) attended(ctx context.Context, spec control.Exec, out steps.Output, started func()) error {
	// The request outlives ctx, by as long as stopping takes.
	bound, unbind := s.gen.bind(context.WithoutCancel(ctx))
	defer unbind()
	life, cut := context.WithCancelCause(bound)
	defer cut(nil)
	go func() {
		select {
		case <-ctx.Done():
			s.stop(life, spec.ID, stopGrace)
			cut(context.Cause(ctx)) // what has not ended is killed with its request
		case <-life.Done():
		}
	}()
	notice := func(line string) { fmt.Fprintln(out.Stderr, line) }
	exit, err := s.gen.control.Exec(life, s.place.Run, spec, control.Output{
		Started: started, Notice: notice, Stdout: out.Stdout, Stderr: out.Stderr,
	})
	if err != nil {
		err = s.gen.blame(life, err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, steps.ErrEngineStopped) {
		return cause
	}
	if err != nil {
		return err
	}
	return exitError(exit)
}

// stop asks a command to end, and returns when ctx does, or when the command
// should have ended.
func (s *runSession) stop(ctx context.Context, id string, grace time.Duration) {
	ctx, cancel := context.WithTimeoutCause(ctx, grace+stopPatience, errors.New("the container does not end"))
	defer cancel()
	_ = s.gen.control.Stop(ctx, s.place.Run, id, control.Stop{Grace: grace})
	<-ctx.Done()
}

// detach returns once the command runs. It ends with the run, or with itself;
// how, is nobody's concern any more.
func (s *runSession) detach(ctx context.Context, spec control.Exec, out steps.Output) error {
	started := make(chan struct{})
	failed := make(chan error, 1)
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.detached.Go(func() {
		defer cancel(nil)
		failed <- s.attended(life, spec, out, func() { close(started) })
	})
	go func() {
		select {
		case <-s.stopping:
			s.stop(life, spec.ID, 0) // as docker rm -f, and acb, do
		case <-life.Done():
		}
	}()
	select {
	case <-started:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		cancel(context.Cause(ctx))
		return context.Cause(ctx)
	}
}

func exitError(e control.Exit) error {
	switch {
	case e.Fault != "":
		return errors.New(e.Fault)
	case e.Code == 0:
		return nil
	case e.OOM:
		return &steps.ExitError{Code: e.Code, Reason: "out of memory"}
	case e.PIDs:
		return &steps.ExitError{Code: e.Code, Reason: "too many processes"}
	}
	return &steps.ExitError{Code: e.Code, Reason: e.Reason}
}

// permit refuses what the owner has not granted to this run. Of a build's
// needs BuildKit sees those in the Dockerfile, and refuses them itself.
func (s *workshop) permit(needs []steps.Need) error {
	for _, need := range needs {
		if !s.allowed(need.Entitlement) {
			return need.Refusal()
		}
	}
	return nil
}

func (s *runSession) execSpec(op *steps.ExecOp) (control.Exec, error) {
	x := control.Exec{
		ID: fmt.Sprintf("%d", s.execs.Add(1)), Step: op.Step,
		Image: op.Image, Platform: op.Platform,
		Entrypoint: op.Entrypoint, Args: op.Args, User: op.User, WorkDir: op.WorkDir, Hostname: op.Hostname,
		Env:      append([]string{"HOME=" + steps.HomeDir}, op.Env...),
		Network:  op.Network,
		AddHosts: op.AddHosts,
		Limits:   control.Limits{Memory: op.Memory, PIDs: op.PIDs, CPUs: op.CPUs},
		ShmSize:  op.ShmSize,
		AddCaps:  op.AddCaps, DropCaps: op.DropCaps, Devices: op.Devices,
		ReadOnly: op.ReadOnly, Privileged: op.Privileged,
	}
	if x.Network == "" {
		x.Network = control.NetworkBridge
	}
	for _, u := range op.Ulimits {
		x.Ulimits = append(x.Ulimits, control.Ulimit(u))
	}
	if own, ok := s.own(op.Image); ok {
		x.Image, x.Own = strings.TrimPrefix(own.name, "docker-image://"), true
	} else {
		named, err := normalized(op.Image)
		if err != nil {
			return x, &steps.ExitError{Code: 125, Reason: err.Error()}
		}
		x.Image = named
	}
	var err error
	if x.Ports, err = ports(op.Ports); err != nil {
		return x, err
	}
	x.Mounts, err = s.mounts(op)
	return x, err
}

// mounts are the folders that every step has, the volumes of this one, and
// what the owner allowed of the host.
func (s *runSession) mounts(op *steps.ExecOp) ([]control.Mount, error) {
	home, err := filepath.Rel(s.place.Dir, s.place.Home)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	mounts := []control.Mount{
		{Source: s.place.Workspace, Target: steps.WorkspaceDir, Host: true},
		{Source: home, Target: steps.HomeDir},
		{Source: "secret/docker", Target: path.Join(steps.HomeDir, ".docker")},
	}
	for _, v := range op.Volumes {
		mounts = append(mounts, control.Mount{Source: path.Join("secret/volumes", v.Name, v.File), Target: v.Path})
	}
	for _, m := range op.HostMounts {
		mounts = append(mounts, control.Mount{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Host: true})
	}
	return mounts, nil
}

// ports reads docker's -p: [[ip:]host:]container[/tcp]. Without an address a
// port is published on the loopback only: a step is not a public server.
func ports(specs []string) ([]control.Port, error) {
	var all []control.Port
	for _, spec := range specs {
		p := control.Port{HostIP: "127.0.0.1"}
		text, protocol, _ := strings.Cut(spec, "/")
		if protocol != "" && protocol != "tcp" {
			return nil, &steps.RefusedError{Reason: fmt.Sprintf("port %s: only tcp is published", spec)}
		}
		rest, container := "", text
		if at := strings.LastIndexByte(text, ':'); at >= 0 {
			rest, container = text[:at], text[at+1:]
		}
		host := rest
		if at := strings.LastIndexByte(rest, ':'); at >= 0 {
			p.HostIP, host = strings.Trim(rest[:at], "[]"), rest[at+1:]
		}
		var err1, err2 error
		p.Container, err1 = strconv.Atoi(container)
		if host != "" {
			p.HostPort, err2 = strconv.Atoi(host)
		}
		if err1 != nil || err2 != nil || p.Container < 1 || p.Container > 65535 || p.HostPort > 65535 || net.ParseIP(p.HostIP) == nil {
			return nil, &steps.RefusedError{Reason: fmt.Sprintf("port %q: want [[ADDRESS:]HOST:]CONTAINER", spec)}
		}
		all = append(all, p)
	}
	return all, nil
}
