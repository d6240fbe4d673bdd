//go:build linux

// Package engine is the inside of the engine child: BuildKit's own parts
// composed into one process, with acrd's networks, containers and image store
// under them. It is the only package that links BuildKit's daemon half.
//
// The daemon starts this process and talks to it over two sockets: BuildKit's
// API for builds, and internal/buildkit/control for everything that BuildKit
// has no word for: the commands of a run, its network, its images. A crash of
// BuildKit ends this process and leaves the daemon alive.
//
// What a process that is killed leaves behind (containers, mounts, bridges,
// control groups, folders), the next one removes before it serves; see reap.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/control"
	"acrd/internal/buildkit/network"
	"acrd/internal/idle"
	"acrd/internal/traces"

	"github.com/moby/buildkit/util/bklog"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// errParentGone ends a child whose daemon has ended.
var errParentGone = errors.New("the daemon is gone")

// Main is the whole life of the engine child: it reads its Config from
// standard input, serves on the files it was given, and ends when its input
// does. It returns the exit code.
func Main() int {
	status := os.NewFile(control.StatusFD, "status")
	var config control.Config
	input := json.NewDecoder(os.Stdin)
	if err := input.Decode(&config); err != nil {
		fmt.Fprintln(os.Stderr, "acrd engine: this command is started by acrd serve, not by hand")
		return 2
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(errParentGone)
	}()
	setUpProcess(config)
	stopTraces, err := traces.Open(ctx, "acrd-engine")
	if err != nil {
		fmt.Fprintln(os.Stderr, "acrd engine:", err) // builds matter more
	}
	defer stopTraces()
	say := func(s control.Status) {
		_ = json.NewEncoder(status).Encode(s)
		status.Close()
	}
	e, err := open(ctx, config)
	if err != nil {
		say(control.Status{Error: err.Error(), Final: errors.Is(err, network.ErrCapability)})
		return 1
	}
	err = e.serve(ctx, func() { say(control.Status{Reaped: e.reaped}) })
	if err != nil && !errors.Is(context.Cause(ctx), errParentGone) {
		fmt.Fprintln(os.Stderr, "acrd engine:", err)
		return 1
	}
	return 0
}

// setUpProcess changes what only a whole process can: the limits on a step's
// output in BuildKit, its logger, and who inherits orphans.
func setUpProcess(c control.Config) {
	os.Setenv("BUILDKIT_STEP_LOG_MAX_SIZE", "-1")
	os.Setenv("BUILDKIT_STEP_LOG_MAX_SPEED", "-1")
	logrus.SetLevel(logrus.ErrorLevel)
	if c.Debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	bklog.L = logrus.NewEntry(logrus.StandardLogger())
}

// An engine is the composed BuildKit and the runs that are open in it.
type engine struct {
	config  control.Config
	kit     *kit
	pool    *network.Pool
	builds  *network.Bridge // where RUN of every Dockerfile runs
	runtime *container.Runtime
	runs    *runs
	log     *slog.Logger
	claim   *claim
	reaped  int
	idle    idle.Trimmer
}

func open(ctx context.Context, c control.Config) (*engine, error) {
	if err := container.AdoptOrphans(); err != nil {
		return nil, err
	}
	e := &engine{
		config:  c,
		log:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
		runtime: &container.Runtime{Dir: filepath.Join(c.Dir, "runc")},
		pool:    &network.Pool{Instance: c.Instance},
	}
	if c.Subnets != "" {
		subnets, err := netip.ParsePrefix(c.Subnets)
		if err != nil {
			return nil, fmt.Errorf("subnets: %w", err)
		}
		e.pool.Subnets = subnets
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("engine folder: %w", err)
	}
	var err error
	if e.claim, err = newClaim(ctx, filepath.Join(c.Dir, "lock")); err != nil {
		return nil, err
	}
	if e.reaped, err = e.reap(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier engine left: %w", err)
	}
	if err := e.pool.Open(); err != nil {
		return nil, err
	}
	for _, group := range []string{e.group("runs"), e.group("builds")} {
		if err := e.runtime.Cgroups.Create(group, container.Limits{}); err != nil {
			return nil, err
		}
	}
	if e.builds, err = e.pool.Bridge(ctx, "builds", network.BridgeOptions{Isolated: true}); err != nil {
		return nil, fmt.Errorf("%w: %w", network.ErrCapability, err)
	}
	e.runs = newRuns(e)
	if e.kit, err = compose(ctx, e); err != nil {
		return nil, errors.Join(err, e.leaveHost())
	}
	return e, nil
}

// leaveHost removes what the engine has made outside its folder.
func (e *engine) leaveHost() error {
	return errors.Join(e.builds.Close(), e.pool.Close(), e.runtime.Cgroups.Remove(e.group()))
}

// group is the path of a control group of this engine.
func (e *engine) group(parts ...string) string {
	return filepath.Join(append([]string{"/", "acrd-" + e.config.Instance}, parts...)...)
}

// serve returns when ctx has ended and every run has been torn down.
func (e *engine) serve(ctx context.Context, ready func()) error {
	kitListener, err := inherited(control.BuildKitFD)
	if err != nil {
		return err
	}
	controlListener, err := inherited(control.ControlFD)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: e.handler(), ReadHeaderTimeout: 5 * time.Second}
	burying, stop := context.WithCancelCause(context.WithoutCancel(ctx)) // closing waits for the dead, too
	defer stop(nil)
	go container.Bury(burying, 3*time.Second, e.group("builds"))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.kit.server.Serve(kitListener) })
	g.Go(func() error {
		if err := server.Serve(controlListener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		closing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 10*time.Second, errParentGone)
		defer cancel()
		e.runs.closeAll(closing)
		e.kit.server.Stop()
		return server.Close()
	})
	ready()
	return errors.Join(g.Wait(), e.close())
}

func (e *engine) close() error {
	err := errors.Join(e.kit.close(), e.leaveHost())
	if err != nil {
		return err
	}
	return e.claim.release()
}

func inherited(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("inherit listener %d: %w", fd, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the daemon's, for the next child
	}
	return l, nil
}
