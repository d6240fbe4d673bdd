//go:build linux

// Package container runs one process tree in an OCI container, by runc.
//
// runc is asked to start and leave: the container's first process becomes a
// child of this process (see [AdoptOrphans]), writes straight to the files it
// was given, and is waited for here. That costs no process per container,
// gives exact exit codes, and lets the counters of the control group be read
// before the group goes.
package container

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A Runtime starts containers. It is safe for concurrent use.
type Runtime struct {
	// Dir is where runc keeps its state. No two processes may share it.
	Dir string
	// Binary is the runc to use; empty means "runc" from PATH.
	Binary string
	// Cgroups is the host's control groups; the zero value is right.
	Cgroups Cgroups
}

// A StartError says that a container could not be started. Code is what
// docker run would have exited with: 127 for a command that is not there, 126
// for one that cannot be executed, 125 for everything else.
type StartError struct {
	Code   int
	Reason string
}

func (e *StartError) Error() string { return e.Reason }

// Start starts the container that spec describes and returns once its first
// process runs. Bundle is an empty folder for this container alone. The files
// may be closed after Start has returned. A container that cannot be started
// is a *StartError.
func (r *Runtime) Start(ctx context.Context, id, bundle string, spec *specs.Spec, stdout, stderr *os.File) (*Process, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode container spec: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o600); err != nil {
		return nil, fmt.Errorf("write container spec: %w", err)
	}
	pidFile, logFile := filepath.Join(bundle, "pid"), filepath.Join(bundle, "runc.log")
	// Not CommandContext: a runc killed half-way leaves a container that is
	// neither there nor gone. It takes milliseconds; ctx is looked at after.
	cmd := exec.Command(r.binary(), "--root", r.Dir, "--log", logFile, "--log-format", "json", //nolint:noctx // see above
		"run", "--detach", "--bundle", bundle, "--pid-file", pidFile, id)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the daemon
	p := &Process{runtime: r, id: id, cgroup: spec.Linux.CgroupsPath, ended: make(chan struct{})}
	p.refused = r.Cgroups.RefusedForks(filepath.Dir(p.cgroup))
	if err := cmd.Run(); err != nil {
		_ = p.remove()
		return nil, startError(logFile, err)
	}
	if p.pid, err = readPID(pidFile); err != nil {
		return nil, errors.Join(err, r.Cgroups.Kill(p.cgroup, time.Second))
	}
	go p.wait()
	if err := context.Cause(ctx); err != nil {
		p.Kill()
		<-p.ended
		_ = p.remove()
		return nil, err
	}
	return p, nil
}

func (r *Runtime) binary() string {
	if r.Binary == "" {
		return "runc"
	}
	return r.Binary
}

// Version is what runc says of itself, first line only.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, r.binary(), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("runc: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(first, "runc version "), nil
}

// A Process is a running container. It is safe for concurrent use.
type Process struct {
	runtime *Runtime
	id      string
	cgroup  string
	refused int // forks in the group above, until now
	pid     int

	ended chan struct{} // closed once exit is set
	exit  Exit

	mu     sync.Mutex // guards reaped: a pid may be signalled only before
	reaped bool
}

// An Exit is how a container ended.
type Exit struct {
	// Code is the exit code, or 128 and the number of the signal.
	Code int
	// OOM says that the kernel killed a process of the container because
	// memory ran out.
	OOM bool
	// PIDs says that a fork was refused because there were too many
	// processes.
	PIDs bool
}

// Done is closed when the first process has ended. With it all others are
// gone: it was the first of its PID namespace.
func (p *Process) Done() <-chan struct{} { return p.ended }

// Wait waits for the end and then removes what is left of the container.
func (p *Process) Wait() Exit {
	<-p.ended
	return p.exit
}

// Terminate asks the first process to end (SIGTERM). Like any first process
// of a PID namespace it does not hear what it has no handler for.
func (p *Process) Terminate() { p.signal(unix.SIGTERM) }

// Kill ends the container. Nothing in it can resist.
func (p *Process) Kill() { p.signal(unix.SIGKILL) }

// Stop asks, waits for grace, and then does not ask any more.
func (p *Process) Stop(grace time.Duration) Exit {
	if grace > 0 {
		p.Terminate()
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-p.ended:
		case <-t.C:
		}
	}
	p.Kill()
	return p.Wait()
}

// Remove deletes the container's state and control group. The rootfs is the
// caller's.
func (p *Process) Remove() error { return p.remove() }

func (p *Process) signal(s unix.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(p.pid, s)
	}
}

func (p *Process) wait() {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	p.exit = Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		p.exit.Code = 128 + int(status.Signal())
	}
	p.exit.OOM = p.runtime.Cgroups.OOMKills(p.cgroup) > 0
	p.exit.PIDs = p.runtime.Cgroups.RefusedForks(p.cgroup) > 0 || p.runtime.Cgroups.RefusedForks(filepath.Dir(p.cgroup)) > p.refused
	close(p.ended)
}

// remove does what `runc delete` does for a container whose processes are
// gone, without starting a process for it.
func (p *Process) remove() error {
	err := p.runtime.Cgroups.Remove(p.cgroup)
	return errors.Join(err, os.RemoveAll(filepath.Join(p.runtime.Dir, p.id)))
}

func readPID(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read pid of container: %w", err)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("read pid of container: %w", err)
	}
	return pid, nil
}

// startError reads from runc's log why it gave up.
func startError(logFile string, cause error) error {
	reason := lastError(logFile)
	if reason == "" {
		reason = "runc: " + cause.Error()
	}
	reason = strings.TrimPrefix(reason, "runc run failed: ")
	reason = strings.TrimPrefix(reason, "unable to start container process: ")
	if full := syscall.ENOSPC.Error(); strings.HasSuffix(reason, ": "+full) {
		reason = full // and not where
	}
	return &StartError{Code: startCode(reason), Reason: reason}
}

func lastError(logFile string) string {
	f, err := os.Open(logFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	var last string
	for s := bufio.NewScanner(f); s.Scan(); {
		var line struct{ Level, Msg string }
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Level == "error" {
			last = line.Msg
		}
	}
	return last
}

// startCode follows docker, which also goes by runc's words.
func startCode(reason string) int {
	if !strings.HasPrefix(reason, "exec:") {
		return 125
	}
	for _, words := range []string{"executable file not found", "no such file or directory"} {
		if strings.Contains(reason, words) {
			return 127
		}
	}
	for _, words := range []string{"permission denied", "not a directory", "is a directory"} {
		if strings.Contains(reason, words) {
			return 126
		}
	}
	return 125
}
