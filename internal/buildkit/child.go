package buildkit

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"acrd/internal/buildkit/control"

	"github.com/moby/buildkit/client"
	"go.opentelemetry.io/otel"
)

// How a child that keeps dying is treated: each death doubles the pause before
// the next start; five within a minute are a fault that a human must see, and
// then it is only tried twice a minute.
const (
	firstPause    = 50 * time.Millisecond
	longestPause  = 30 * time.Second
	firstStarts   = 3 // of an engine that says each time why it cannot serve
	burials       = 3 // of a child that dies, too, when it is to remove what one has left
	faultyDeaths  = 5
	faultyWithin  = time.Minute
	startTimeout  = 30 * time.Second
	goodbyePeriod = 12 * time.Second
)

// Health is the state of the engine child.
type Health struct {
	PID      int  // 0: none is running
	Ready    bool // it serves
	Degraded bool // it keeps dying
	Restarts int  // since the daemon started
	LastExit string
}

// A child keeps one engine process alive.
type child struct {
	options Options

	mu     sync.Mutex // guards what follows
	state  Health
	gen    *generation
	final  error         // no child will ever be ready
	change chan struct{} // closed and renewed when gen or final changes
}

func newChild(o Options) *child { return &child{options: o, change: make(chan struct{})} }

// current waits for a child that serves.
func (c *child) current(ctx context.Context) (*generation, error) {
	for {
		c.mu.Lock()
		gen, final, change := c.gen, c.final, c.change
		c.mu.Unlock()
		switch {
		case final != nil:
			return nil, final
		case gen != nil:
			return gen, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *child) health() Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *child) update(f func()) {
	c.mu.Lock()
	f()
	close(c.change)
	c.change = make(chan struct{})
	c.mu.Unlock()
}

func (c *child) serve(ctx context.Context) error {
	err := c.supervise(ctx)
	c.update(func() {
		c.final = err
		if err == nil {
			c.final = errors.New("build engine is shut down")
		}
	})
	return err
}

// supervise holds the listeners, so that clients of a child that died queue
// for the next one.
func (c *child) supervise(ctx context.Context) error {
	dir := c.options.Config.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("engine folder: %w", err)
	}
	var files []*os.File
	for _, name := range []string{"buildkit.sock", "control.sock"} {
		l, err := listenUnix(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			return fmt.Errorf("engine listener: %w", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	pause := firstPause
	served := false // or died of something else than a refusal
	var deaths []time.Time
	for {
		began := time.Now()
		err := c.life(ctx, files)
		if ctx.Err() != nil {
			c.bury(ctx, files, err)
			return nil
		}
		refused, final := refusal(err)
		if served = served || !refused; !served && (final || len(deaths) >= firstStarts-1) {
			return err
		}
		if time.Since(began) > faultyWithin {
			pause = firstPause
		}
		deaths = append(recent(deaths), time.Now())
		c.update(func() {
			c.state.Restarts++
			c.state.Degraded = len(deaths) >= faultyDeaths
			if c.state.Degraded {
				pause = longestPause
			}
		})
		c.options.Log.Warn("build engine stopped, starting it again", "err", err, "pause", pause)
		if wait(ctx, pause) != nil {
			c.bury(ctx, files, err)
			return nil
		}
		pause = min(2*pause, longestPause)
	}
}

// bury starts one more child, which ends at once, if the last one has not
// ended by itself: nobody else would remove what that has left. One that says
// why it cannot start has tried.
func (c *child) bury(ctx context.Context, files []*os.File, err error) {
	for range burials {
		if refused, _ := refusal(err); err == nil || refused {
			return
		}
		err = c.life(ctx, files)
	}
}

// life is one child from start to end. Its error says how it ended.
func (c *child) life(ctx context.Context, files []*os.File) error {
	name := rand.Text()
	cmd, input, status, err := c.start(files, name)
	if err != nil {
		return err
	}
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	c.update(func() { c.state.PID = cmd.Process.Pid })
	defer c.update(func() { c.state.PID = 0 })
	defer input.Close()

	s, err := readStatus(status)
	if err == nil && s.Error != "" {
		err = &statusError{s}
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return errors.Join(err, <-gone)
	}
	if s.Reaped > 0 {
		c.options.Log.Info("removed what an earlier engine left behind", "count", s.Reaped)
	}
	gen, err := c.connect(ctx, name)
	if err != nil {
		_ = cmd.Process.Kill()
		return errors.Join(err, <-gone)
	}
	defer gen.kit.Close()
	defer func() {
		c.update(func() { c.gen, c.state.Ready = nil, false }) // nobody gets it from now on
		close(gen.dead)
	}()
	c.update(func() { c.gen, c.state.Ready = gen, true })
	select {
	case err = <-gone:
	case <-ctx.Done():
		input.Close() // the child closes its runs and ends
		err = goodbye(cmd, gone)
	}
	c.update(func() { c.state.LastExit = fmt.Sprint(err) })
	return err
}

// start runs the child with its listeners and a pipe for its status. The
// returned input is its life-line.
func (c *child) start(files []*os.File, life string) (*exec.Cmd, io.Closer, *os.File, error) {
	command := c.options.Command
	if len(command) == 0 {
		command = []string{"/proc/self/exe", "engine"}
	}
	status, statusWrite, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer statusWrite.Close()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // it is ended by its life-line
	if len(c.options.Command) == 0 {
		cmd.Args[0] = "acrd" // for ps
	}
	cmd.ExtraFiles = append(append([]*os.File{}, files...), statusWrite)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the daemon
	cmd.Stderr = &logWriter{log: c.options.Log}
	cmd.WaitDelay = time.Second // a survivor that holds the pipe must not hide the death
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		status.Close()
		return nil, nil, nil, fmt.Errorf("start build engine: %w", err)
	}
	config := c.options.Config
	config.Life = life
	if err := json.NewEncoder(input).Encode(config); err != nil {
		status.Close()
		input.Close()
		_ = cmd.Process.Kill()
		return nil, nil, nil, errors.Join(fmt.Errorf("configure build engine: %w", err), cmd.Wait())
	}
	return cmd, input, status, nil
}

func (c *child) connect(ctx context.Context, life string) (*generation, error) {
	dir := c.options.Config.Dir
	kit, err := client.New(ctx, "unix://"+filepath.Join(dir, "buildkit.sock"), client.WithTracerProvider(otel.GetTracerProvider()))
	if err != nil {
		return nil, fmt.Errorf("connect to build engine: %w", err)
	}
	return &generation{
		control: control.NewClient(filepath.Join(dir, "control.sock"), life),
		kit:     kit, dead: make(chan struct{}), next: c.current,
	}, nil
}

// goodbye gives the child time to close its runs.
func goodbye(cmd *exec.Cmd, gone <-chan error) error {
	t := time.NewTimer(goodbyePeriod)
	defer t.Stop()
	select {
	case err := <-gone:
		return err
	case <-t.C:
		_ = cmd.Process.Kill()
		return <-gone
	}
}

func readStatus(f *os.File) (control.Status, error) {
	var s control.Status
	if f == nil {
		return s, errors.New("build engine has no status")
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(startTimeout))
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		return s, fmt.Errorf("build engine did not become ready: %w", err)
	}
	return s, nil
}

// A statusError is what a child said instead of becoming ready.
type statusError struct{ control.Status }

func (e *statusError) Error() string { return "build engine: " + e.Status.Error }

// refusal says whether err is what a child said instead of becoming ready, and
// whether any other child would say the same.
func refusal(err error) (refused, final bool) {
	s, refused := errors.AsType[*statusError](err)
	return refused, refused && s.Final
}

func recent(times []time.Time) []time.Time {
	for len(times) > 0 && time.Since(times[0]) > faultyWithin {
		times = times[1:]
	}
	return times
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// listenUnix replaces a socket that an earlier daemon left. Whoever may open
// it is root on this machine: it is for this user alone.
func listenUnix(path string) (*net.UnixListener, error) {
	if len(path) > 107 {
		return nil, fmt.Errorf("socket path %s is longer than the 107 bytes that the kernel allows: choose a shorter --state", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return l, nil
}

// A logWriter makes log records of a process's lines.
type logWriter struct {
	log  *slog.Logger
	mu   sync.Mutex // guards rest
	rest []byte
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		n, line, err := bufio.ScanLines(w.rest, false)
		if err != nil || n == 0 {
			if len(w.rest) > 64<<10 {
				w.rest = w.rest[:0]
			}
			return len(b), nil
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			w.log.Warn("build engine says", "line", text)
		}
		w.rest = w.rest[n:]
	}
}
