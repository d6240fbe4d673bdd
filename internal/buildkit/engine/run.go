//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/control"
	"acrd/internal/buildkit/network"
	"acrd/internal/mounts"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sys/unix"
)

var (
	errRunClosed = errors.New("the run is closed")
	errNoRun     = errors.New("no such run")
	validID      = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)
)

// runs are the runs that are open. As a BuildKit frontend it is how a run gets
// hold of BuildKit: see Solve.
type runs struct {
	e    *engine
	mu   sync.Mutex // guards open
	open map[string]*run
}

func newRuns(e *engine) *runs { return &runs{e: e, open: map[string]*run{}} }

// A run is the place of one run's commands: folders, networks, images and the
// containers in progress.
type run struct {
	e    *engine
	id   string
	spec control.OpenRun

	lent    chan struct{} // closed once bridge and sid are set
	bridge  frontend.FrontendLLBBridge
	sid     string
	closing chan struct{} // closed by close
	ended   sync.Once

	mu       sync.Mutex // guards the maps and busy.Add against close
	execs    map[string]*execution
	stopped  map[string]bool // ids of executions that were told to stop
	networks map[string]*runNetwork
	images   map[string]*rootImage

	busy    sync.WaitGroup // executions
	tidying sync.WaitGroup // what executions leave to be removed
}

// add opens a run: its secret folder, in memory, and its control group.
func (rs *runs) add(id string, spec control.OpenRun) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("run id %q is not valid", id)
	}
	r := &run{
		e: rs.e, id: id, spec: spec,
		lent: make(chan struct{}), closing: make(chan struct{}),
		execs: map[string]*execution{}, stopped: map[string]bool{}, networks: map[string]*runNetwork{}, images: map[string]*rootImage{},
	}
	rs.mu.Lock()
	_, taken := rs.open[id]
	if !taken {
		rs.open[id] = r
	}
	rs.mu.Unlock()
	if taken {
		return fmt.Errorf("run %s is open already", id)
	}
	if err := r.setUp(); err != nil {
		return errors.Join(err, rs.remove(id))
	}
	return nil
}

func (rs *runs) get(id string) (*run, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, ok := rs.open[id]
	if !ok {
		return nil, fmt.Errorf("run %s: %w", id, errNoRun)
	}
	return r, nil
}

// remove closes a run and returns when nothing is left of it. A run that is
// not there is no error: closing is tried again after a lost answer.
func (rs *runs) remove(id string) error {
	r, err := rs.get(id)
	if err != nil {
		return nil
	}
	err = r.close()
	rs.mu.Lock()
	delete(rs.open, id)
	rs.mu.Unlock()
	return err
}

func (rs *runs) closeAll(ctx context.Context) {
	rs.mu.Lock()
	var ids []string
	for id := range rs.open {
		ids = append(ids, id)
	}
	rs.mu.Unlock()
	done := make(chan struct{})
	go func() {
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() { _ = rs.remove(id) })
		}
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // the next engine reaps the rest
	}
}

// Solve makes runs a BuildKit frontend. The daemon starts a solve of it when
// a run first needs an image; that solve lends the run BuildKit's bridge and
// the session with the run's credentials, holds the images in use against the
// garbage collector, and lasts until the run is closed. If the daemon goes
// away first, BuildKit ends the solve, and with it the run.
func (rs *runs) Solve(ctx context.Context, bridge frontend.FrontendLLBBridge, _ executor.Executor, opt map[string]string, _ map[string]*pb.Definition, sid string, _ *session.Manager) (*frontend.Result, error) {
	r, err := rs.get(opt[control.RunOption])
	if err != nil {
		return nil, err
	}
	if err := r.lend(bridge, sid); err != nil {
		return nil, err
	}
	select {
	case <-r.closing:
	case <-ctx.Done():
	}
	// BuildKit takes the images back when this returns.
	return &frontend.Result{}, rs.remove(r.id)
}

func (r *run) lend(bridge frontend.FrontendLLBBridge, sid string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.lent:
		return fmt.Errorf("run %s has a session already", r.id)
	default:
	}
	r.bridge, r.sid = bridge, sid
	close(r.lent)
	return nil
}

func (r *run) group() string { return r.e.group("runs", r.id) }

func (r *run) path(parts ...string) string {
	return filepath.Join(append([]string{r.spec.Dir}, parts...)...)
}

func (r *run) setUp() error {
	l := r.spec.Limits
	limits := container.Limits{
		Memory: orElse(l.Memory, r.e.config.Run.Memory),
		PIDs:   orElse(l.PIDs, r.e.config.Run.PIDs),
		CPUs:   orElse(l.CPUs, r.e.config.Run.CPUs),
	}
	if err := r.e.runtime.Cgroups.Create(r.group(), limits); err != nil {
		return err
	}
	for _, dir := range []string{"steps", "net"} {
		if err := makeFolder(r.path(dir), 0o711); err != nil {
			return fmt.Errorf("folder of run: %w", err)
		}
	}
	disk := diskWatch{limit: r.e.config.Disk, dirs: r.written, over: r.kill}
	r.tidying.Go(func() { disk.watch(r.closing) })
	return r.writeSecrets()
}

// written is the run's folder while something may write there.
func (r *run) written() written {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.execs) == 0 {
		return written{}
	}
	return written{fresh: []string{r.path()}}
}

// kill ends all commands, for a reason that each of them tells.
func (r *run) kill(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.execs {
		x.cancel(why)
	}
}

// makeFolder makes one folder in one that is there. The run's own is the
// daemon's: once that has taken it away, no engine that is late makes it anew.
func makeFolder(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// writeSecrets puts the run's secret files into a file system in memory.
func (r *run) writeSecrets() error {
	if len(r.spec.Secret) == 0 {
		return nil
	}
	dir := r.path("secret")
	if err := makeFolder(dir, 0o711); err != nil {
		return fmt.Errorf("secret folder: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0711,size=64m"); err != nil {
		return fmt.Errorf("mount secret folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("secret folder: %w", err)
	}
	defer root.Close()
	for name, content := range r.spec.Secret {
		// Steps run as any user, and a secret is for all steps that mount it.
		if err := root.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		if err := root.Chmod(filepath.Dir(name), 0o777); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		if err := root.WriteFile(name, content, 0o444); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
	}
	return nil
}

// enter counts an execution in, unless the run is closing.
func (r *run) enter(x *execution) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.closing:
		return errRunClosed
	default:
	}
	if _, taken := r.execs[x.spec.ID]; taken {
		return fmt.Errorf("execution %s exists already", x.spec.ID)
	}
	if r.stopped[x.spec.ID] {
		return errStopped
	}
	r.execs[x.spec.ID] = x
	r.busy.Add(1)
	return nil
}

// stop ends an execution. One that is not here yet will not begin: what was
// asked for first may arrive last.
func (r *run) stop(id string, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped[id] {
		return // the first counts
	}
	r.stopped[id] = true
	if x, ok := r.execs[id]; ok {
		x.grace = grace
		close(x.stopped)
	}
}

func (r *run) leave(x *execution) {
	r.mu.Lock()
	delete(r.execs, x.spec.ID)
	r.mu.Unlock()
	r.busy.Done()
}

// close kills what runs and removes what is left. Each of its callers returns
// only when that is done.
func (r *run) close() error {
	var err error
	r.ended.Do(func() {
		r.mu.Lock()
		close(r.closing)
		r.mu.Unlock()
		r.busy.Wait()
		r.tidying.Wait()
		err = r.tearDown()
		r.e.idle.Ended()
	})
	return err
}

func (r *run) tearDown() error {
	ctx := context.Background()
	var errs []error
	for _, n := range r.networks {
		errs = append(errs, n.close())
	}
	for _, i := range r.images {
		errs = append(errs, i.release())
	}
	errs = append(errs, mounts.Detach(r.path("secret")))
	for _, dir := range []string{"steps", "net", "secret"} {
		errs = append(errs, os.RemoveAll(r.path(dir)))
	}
	errs = append(errs,
		r.e.runtime.Cgroups.Remove(r.group()),
		r.e.kit.images.forget(ctx, control.ImageDomain+"/"+r.id+"/"))
	return errors.Join(errs...)
}

// A runNetwork is one of a run's networks and what its containers call each
// other.
type runNetwork struct {
	bridge *network.Bridge
	hosts  *hostsFile
}

func (n *runNetwork) close() error { return n.bridge.Close() }

// network makes the network when it is first asked for.
func (r *run) network(ctx context.Context, name string) (*runNetwork, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.networks[name]; ok {
		return n, nil
	}
	bridge, err := r.e.pool.Bridge(ctx, r.id+"/"+name, network.BridgeOptions{})
	if err != nil {
		return nil, err
	}
	hosts, err := newHostsFile(r.path("net", fmt.Sprintf("hosts-%d", len(r.networks))))
	if err != nil {
		return nil, errors.Join(err, bridge.Close())
	}
	n := &runNetwork{bridge, hosts}
	r.networks[name] = n
	return n, nil
}

func orElse[T int64 | float64](v, fallback T) T {
	if v != 0 {
		return v
	}
	return fallback
}
