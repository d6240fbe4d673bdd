package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/internal/api"
	"acrd/internal/buildkit"
	"acrd/internal/buildkit/control"
	"acrd/internal/contexts"
	"acrd/internal/forge"
	"acrd/internal/idle"
	"acrd/internal/metrics"
	"acrd/internal/realm"
	"acrd/internal/registry"
	"acrd/internal/secrets"
	"acrd/internal/source"
	"acrd/internal/store"
	"acrd/internal/traces"
	"acrd/runner"
	"acrd/triggers"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// daemonOptions are what acrd serve's flags say.
type daemonOptions struct {
	state, listen, socket string
	engine                string // address of a remote BuildKit; empty is the child
	hosts                 []string
	slots                 int
	automatic             int           // runs that triggers may start; 0 is one less than slots
	quiet                 time.Duration // see triggers.Scheduler
	poll                  time.Duration // see triggers.Commits
	drain                 time.Duration
	hurry                 <-chan struct{} // ends the drain
	records               storeValues
	identity              identity
	subnets               string
	cache                 control.Cache
	limits                control.Limits
	disk                  control.Disk
	plainHTTP             []string
	tokenServers          realm.Pairs // beside the registries themselves
	allowPrivate          []string    // private destinations of events, HOST:PORT
	ssh                   sshValues
	imageAliases          map[string]string
	logArchive            string           // empty is a folder of the state
	certificate           *api.Certificate // nil: no TLS
	secrets               secrets.Config
	debug                 bool
	log                   *slog.Logger
	// followed says that others than this process may follow its runs.
	followed bool
	// ready is called once everything answers.
	ready func(registry string)
}

// A daemon is all parts of a running acrd, and the folder that holds their
// state.
type daemon struct {
	daemonOptions
	tcp, unix, inner net.Listener // inner serves the registry alone, for runs that are allowed in
	registry         *registry.Registry
	bases            *triggers.Bases
	timers           *triggers.Timers
	scheduler        *triggers.Scheduler
	commits          *triggers.Commits
	intake           *triggers.Intake
	scans            *triggers.Scans
	statuses         *forge.Statuses
	dispatcher       *eventing.Dispatcher
	handshake        *eventing.Handshake
	verifier         *inbound.Verifier
	hooks            *triggers.Hooks
	receiver         *inbound.Receiver
	engine           buildEngine
	key              *secrets.Key
	store            *store.DB
	runner           *runner.Runner
	housekeeping     *housekeeping
	handler          http.Handler
	traffic          traffic
	close            []func() error
}

// buildEngine is the engine child, or the client of a remote BuildKit.
type buildEngine interface {
	runner.Engine
	Serve(ctx context.Context) error
	Ready(ctx context.Context) error
}

// runDaemon serves until ctx has ended, lets runs finish, and tears everything
// down in the reverse order of its making.
func runDaemon(ctx context.Context, o daemonOptions) (err error) {
	d := &daemon{daemonOptions: o}
	defer func() { err = errors.Join(err, d.tearDown()) }()
	stopTraces, err := traces.Open(ctx, "acrd")
	if err != nil {
		return &usageError{err.Error()}
	}
	d.later(func() error { stopTraces(); return nil })
	for _, step := range []func(context.Context) error{d.openState, d.openStore, d.openListeners, d.openParts} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.serve(ctx)
}

func (d *daemon) tearDown() error {
	var errs []error
	for _, v := range slices.Backward(d.close) {
		errs = append(errs, v())
	}
	return errors.Join(errs...)
}

// later registers what ends a part.
func (d *daemon) later(f func() error) { d.close = append(d.close, f) }

// openState takes the state folder for this process alone, and removes what
// runs of an earlier one left in it.
func (d *daemon) openState(context.Context) error {
	if err := os.MkdirAll(d.state, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	// The kernel's list of mounts has no symbolic link in it, and runc wants none.
	state, err := filepath.EvalSymlinks(d.state)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	d.state = state
	lock, err := os.OpenFile(d.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	d.later(lock.Close)
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &usageError{fmt.Sprintf("another acrd is using the state folder %s: stop it, or choose another with --state", d.state)}
	}
	if err := d.removeTrials(); err != nil {
		return err
	}
	return d.setAside()
}

func (d *daemon) path(parts ...string) string {
	return filepath.Join(append([]string{d.state}, parts...)...)
}

func (d *daemon) openListeners(ctx context.Context) error {
	var err error
	if d.tcp, err = new(net.ListenConfig).Listen(ctx, "tcp", d.listen); err != nil {
		return &hostError{fmt.Errorf("%w: choose another address with --listen or $ACRD_LISTEN", err)}
	}
	d.later(closeListener(d.tcp))
	if err := d.openTLS(); err != nil {
		return err
	}
	if d.socket == "" {
		d.socket = d.path(socketName)
	}
	if d.unix, err = listenSocket(ctx, d.socket); err != nil {
		return err
	}
	d.later(closeListener(d.unix))
	if d.inner, err = listenSocket(ctx, d.path("registry.sock")); err != nil {
		return err
	}
	d.later(closeListener(d.inner))
	return nil
}

func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// listenSocket makes a socket for this user alone.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > 107 {
		return nil, &usageError{fmt.Sprintf("the socket path %s is longer than the 107 bytes that the kernel allows: choose a shorter --state", path)}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	before := unix.Umask(0o177)
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	unix.Umask(before)
	return l, err
}

// host is the name that images have: localhost, whatever loopback it is.
func (d *daemon) host() string {
	host, port, err := net.SplitHostPort(d.tcp.Addr().String())
	if err != nil {
		return d.tcp.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func (d *daemon) openParts(ctx context.Context) error {
	var err error
	if err := d.openRegistry(ctx); err != nil {
		return err
	}
	token, err := ownerToken(d.path("token"))
	if err != nil {
		return err
	}
	uploads := &contexts.Store{Dir: d.path("contexts"), Limits: contexts.Limits{LinksOut: true}, Log: d.log}
	fetcher := &source.Fetcher{Dir: d.path("sources"), Identity: d.ssh.key, KnownHosts: d.ssh.knownHosts, TokenServers: d.tokenServers, Log: d.log}
	d.housekeeping = &housekeeping{daemon: d, uploads: uploads, fetcher: fetcher}
	d.openEngine()
	lg, err := d.openLogs(ctx, d.store)
	if err != nil {
		return err
	}
	local := &secrets.Local{Values: d.store, Key: d.key}
	resolver, err := d.openSecrets(local)
	if err != nil {
		return err
	}
	counts := metrics.New(version)
	archives := &api.Archives{Dir: d.path("uploads")}
	d.housekeeping.archives = archives
	d.statuses = &forge.Statuses{Tasks: d.store, Client: fetcher.Client(), Log: d.log}
	d.runner = &runner.Runner{
		Store: d.store, Logs: lg, Sources: &sources{fetcher, uploads, archives}, Engine: &toolEngine{d.engine, d.path("registry.sock")}, Secrets: resolver,
		Registry: d.host(), Dir: d.path("runs"), Slots: d.slots, DrainTimeout: d.drain, Hurry: d.hurry, Log: d.log,
		ImageAliases: d.imageAliases, FetchText: fetcher.Text, LogURL: d.logURL,
		Observe: runner.Observers(trimWhenIdle(), counts.Observer(), traces.Observer(), d.statuses.Observer()),
	}
	if err := d.placeRunner(d.runner); err != nil {
		return err
	}
	d.openTriggers(fetcher)
	d.openEvents(local, counts)
	i := info()
	i.Registry = d.host()
	management := &api.Server{
		Runs: d.runner, Records: d.store, Tasks: d.intake, TaskRuns: d.store, Timers: d.store, Archives: archives, Logs: lg, LogLink: lg.Link, Contexts: contexts.Handler(uploads), Info: i, Log: d.log,
		CheckTagPattern: func(p string) error { _, err := triggers.ParseTagPattern(p); return err },
		Triggers:        &triggers.Explainer{Bases: d.bases, Intents: d.store, Tasks: d.store, Runs: d.store, Commits: d.commits, Timers: d.store},
		Approve:         d.commits.Approve,
		Policies:        d.registry,
	}
	d.tellOf(management)
	gate := &api.Gate{Owner: token, Tokens: d.store, OpenRegistry: api.Loopback(d.tcp.Addr())}
	admin := &api.Admin{Tokens: gate.Tokens, Secrets: local, Sources: d.store, Collect: d.collect, Log: d.log}
	d.openHooks(local, counts)
	d.handler = api.Protect(d.traffic.watch(open(d.doors(house{gate, management, admin, lg, counts}))), d.names())
	return nil
}

func hostOnly(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func (d *daemon) openEngine() {
	if d.daemonOptions.engine != "" {
		d.engine = buildkit.NewRemote(d.daemonOptions.engine, d.registries(), d.log)
		return
	}
	sum := sha256.Sum256([]byte(d.state))
	d.engine = buildkit.New(buildkit.Options{
		Config: control.Config{
			Dir: d.path("engine"), Instance: hex.EncodeToString(sum[:])[:5], Subnets: d.subnets,
			PlainHTTP: append([]string{d.host()}, d.plainHTTP...),
			Own:       d.own(), Cache: d.cache, Run: d.limits, Disk: d.disk, Debug: d.debug,
		},
		RegistrySocket: d.path("registry.sock"),
		Registries:     d.registries(),
		Log:            d.log,
	})
}

func (d *daemon) registries() buildkit.Registries {
	return buildkit.Registries{Transport: registryTransport(), PlainHTTP: d.plainHTTP, TokenServers: d.tokenServers}
}

// ownerToken is the token of whoever owns the state folder, made when there
// is none.
func ownerToken(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(b))) >= 26 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("owner's token: %w", err)
	}
	token := rand.Text() + rand.Text()
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("owner's token: %w", err)
	}
	return token, nil
}

// serve runs the parts. They end in this order: the runner drains, for runs
// still push to the registry; then HTTP; then the engine.
func (d *daemon) serve(ctx context.Context) error {
	engineCtx, stopEngine := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopEngine(nil)
	httpCtx, stopHTTP := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHTTP(nil)

	var engineErr error
	engineDone := make(chan struct{})
	go func() {
		engineErr = d.engine.Serve(engineCtx)
		close(engineDone)
	}()
	defer func() { stopEngine(nil); <-engineDone }()
	if err := d.engine.Ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if d.daemonOptions.engine != "" {
			return &hostError{err}
		}
		return &hostError{fmt.Errorf("%w\nRun 'acrd doctor' to see what this host lacks", err)}
	}
	if err := d.setAside(); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, s := range []struct {
		l        net.Listener
		h        http.Handler
		patience time.Duration
	}{
		{d.tcp, d.handler, shutdownPatience},
		{d.unix, api.Owner(d.handler), shutdownPatience},
		{d.inner, d.inside(), 0}, // its clients were runs
	} {
		g.Go(func() error { return serveHTTP(httpCtx, s.l, s.h, s.patience) })
	}
	g.Go(func() error {
		defer stopHTTP(nil)
		err := d.runner.Serve(gctx)
		if d.followed {
			d.traffic.calm(httpCtx, lastQuestion, shutdownPatience)
		}
		return err
	})
	g.Go(func() error { return d.store.Serve(httpCtx) })
	g.Go(func() error { return d.registry.Serve(httpCtx) })
	d.serveTriggers(gctx, g)
	d.serveEvents(httpCtx, g)
	g.Go(func() error {
		d.removeLeftovers(httpCtx)
		d.housekeeping.serve(httpCtx)
		return nil
	})
	g.Go(func() error {
		select {
		case <-engineDone:
			if engineErr != nil {
				return engineErr
			}
		case <-httpCtx.Done():
		}
		return nil
	})
	if d.ready != nil {
		d.ready(d.host())
	}
	return g.Wait()
}

const (
	// shutdownPatience is how long answers under way may take once nothing
	// new is taken.
	shutdownPatience = 2 * time.Second
	// lastQuestion is what a client may take between the end of a run's log
	// and its question how the run went.
	lastQuestion = 300 * time.Millisecond
)

// whoAsks is what a connection tells of the other side.
func whoAsks(ctx context.Context, c net.Conn) context.Context {
	ctx = api.WithPeer(ctx, c)
	if run := control.RunOf(c); run != "" {
		ctx = registry.WithActor(ctx, "run "+run)
	}
	return ctx
}

// leftPatience is what a client may take to send the rest of a body that nobody
// wants: the server reads some of it before the next request.
const leftPatience = 5 * time.Second

// leftUnread cuts off clients that send slowly what was refused unread.
func leftUnread(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leftPatience))
		}
	})
}

func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, patience time.Duration) error {
	s := &http.Server{
		Handler: leftUnread(h), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ConnContext: whoAsks, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), patience, http.ErrServerClosed)
	defer cancel()
	if err := s.Shutdown(closing); err != nil {
		return s.Close()
	}
	return nil
}

// trimWhenIdle gives back what a run has needed once no run goes on ending.
func trimWhenIdle() runner.Observer {
	trimmer := &idle.Trimmer{}
	return runner.Observer{Run: func(ctx context.Context, _ *runner.Run) (context.Context, func(*runner.Run)) {
		return ctx, func(*runner.Run) { trimmer.Ended() }
	}}
}
