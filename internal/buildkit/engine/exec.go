//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/control"
	"acrd/internal/buildkit/network"

	"github.com/moby/buildkit/executor/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// An execution is one command in one container, from request to exit.
type execution struct {
	run  *run
	spec control.Exec
	out  *control.FrameWriter

	stopped chan struct{} // closed by the first Stop, which has set grace
	grace   time.Duration
	cancel  context.CancelCauseFunc

	rootfs   *rootfs
	endpoint *network.Endpoint
	forwards []*network.Forward
	process  *container.Process
}

// errStopped ends an execution that is told to stop before its command runs.
var errStopped = errors.New("stopped")

// exec runs a command and says how it ended. It returns when the container is
// dead and all its output has been written; what remains is removed behind
// the caller's back, and before the run closes.
func (r *run) exec(ctx context.Context, spec control.Exec, out *control.FrameWriter) control.Exit {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	x := &execution{run: r, spec: spec, out: out, stopped: make(chan struct{}), cancel: cancel}
	if err := r.enter(x); errors.Is(err, errStopped) {
		return control.Exit{Code: 137, Reason: err.Error()}
	} else if err != nil {
		return control.Exit{Code: 125, Reason: err.Error(), Fault: err.Error()}
	}
	defer r.leave(x)
	defer func() { r.tidying.Go(x.tidy) }()
	defer closer(r.closing, func() { cancel(errRunClosed) })()

	exit, err := x.do(ctx)
	var start *container.StartError
	switch {
	case err == nil:
		return exit
	case errors.Is(err, errStopped):
		return control.Exit{Code: 137, Reason: err.Error()}
	case errors.As(err, &start):
		return control.Exit{Code: start.Code, Reason: start.Reason}
	case context.Cause(ctx) != nil:
		return control.Exit{Code: 137, Reason: context.Cause(ctx).Error()}
	}
	return control.Exit{Code: 125, Reason: strings.ReplaceAll(err.Error(), r.path(""), "the run's folder")} // where that is, is the host's business
}

func (x *execution) do(ctx context.Context) (control.Exit, error) {
	drained, err := x.begin(ctx)
	if err != nil {
		return control.Exit{}, err
	}
	_ = x.out.Frame(control.FrameStarted, nil)
	exit := x.await(ctx)
	drained.Wait()
	return exit, nil
}

// begin starts the container, unless a Stop comes first.
func (x *execution) begin(ctx context.Context) (*sync.WaitGroup, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer closer(x.stopped, func() { cancel(errStopped) })()
	drained, err := x.create(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errStopped) {
		return nil, errStopped
	}
	return drained, err
}

func (x *execution) create(ctx context.Context) (*sync.WaitGroup, error) {
	image, err := x.image(ctx)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", x.spec.Image, err)
	}
	config, err := x.prepare(ctx, image)
	if err != nil {
		return nil, err
	}
	spec, err := container.Spec(ctx, config)
	if err != nil {
		return nil, err
	}
	return x.start(ctx, spec)
}

// pullNotice is how often a step that waits for its image says so.
const pullNotice = 5 * time.Second

// image waits for the image, and does not wait in silence.
func (x *execution) image(ctx context.Context) (*rootImage, error) {
	began := time.Now()
	tick := time.NewTicker(pullNotice)
	defer tick.Stop()
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		for {
			select {
			case <-tick.C:
				_ = x.out.Frame(control.FrameNotice, fmt.Appendf(nil, "Pulling image: %s, %.0f s until now", x.spec.Image, time.Since(began).Seconds()))
			case <-done:
				return
			}
		}
	})
	defer telling.Wait()
	defer close(done)
	return x.run.image(ctx, x.spec)
}

// start gives the container two pipes and copies what comes out of them.
func (x *execution) start(ctx context.Context, spec *specs.Spec) (*sync.WaitGroup, error) {
	bundle := x.run.path("steps", x.spec.ID, "bundle")
	if err := errors.Join(makeFolder(filepath.Dir(bundle), 0o700), makeFolder(bundle, 0o700)); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outWrite.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		outRead.Close()
		return nil, err
	}
	defer errWrite.Close()
	var drained sync.WaitGroup
	drained.Go(func() { drain(x.out.Stream(control.FrameStdout), outRead) })
	drained.Go(func() { drain(x.out.Stream(control.FrameStderr), errRead) })
	id := x.run.e.config.Instance + "-" + x.run.id + "-" + x.spec.ID
	x.process, err = x.run.e.runtime.Start(ctx, id, bundle, spec, outWrite, errWrite)
	return &drained, err
}

// drain goes on reading when nobody listens any more: a container whose pipe
// is full would not end.
func drain(dst io.Writer, src *os.File) {
	defer src.Close()
	buf := make([]byte, 64<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf); err != nil {
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{src}, buf)
	}
}

// await waits for the end of the command, its Stop, or the end of the request.
func (x *execution) await(ctx context.Context) control.Exit {
	exit := control.Exit{}
	select {
	case <-x.process.Done():
	case <-x.stopped:
		x.process.Stop(x.grace)
		exit.Reason = "stopped"
	case <-ctx.Done():
		x.process.Kill()
		exit.Reason = context.Cause(ctx).Error()
	}
	e := x.process.Wait()
	exit.Code, exit.OOM, exit.PIDs = e.Code, e.OOM, e.PIDs
	return exit
}

// tidy removes what the execution has made, in reverse.
func (x *execution) tidy() {
	var errs []error
	for _, f := range x.forwards {
		errs = append(errs, f.Close())
	}
	if x.process != nil {
		errs = append(errs, x.process.Remove())
	}
	if x.endpoint != nil {
		errs = append(errs, x.endpoint.Close())
	}
	if x.rootfs != nil {
		errs = append(errs, x.rootfs.close())
	}
	errs = append(errs, os.RemoveAll(x.run.path("steps", x.spec.ID)))
	if err := errors.Join(errs...); err != nil {
		x.run.e.log.Warn("execution left something behind", "run", x.run.id, "step", x.spec.Step, "err", err)
	}
}

// publish listens on the host for the container's ports, and inside the
// container for the daemon's registry.
func (x *execution) publish(ctx context.Context) error {
	ports := x.spec.Ports
	if len(ports) > 0 && (x.endpoint == nil || !x.endpoint.Addr.IsValid()) {
		_ = x.out.Frame(control.FrameNotice, []byte("WARNING: Published ports are discarded on the network "+x.spec.Network))
		ports = nil // as docker does
	}
	for _, p := range ports {
		address := net.JoinHostPort(p.HostIP, fmt.Sprint(p.HostPort))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return &container.StartError{Code: 125, Reason: fmt.Sprintf("publish port %d: %s", p.Container, err)}
		}
		to := net.JoinHostPort(x.endpoint.Addr.String(), fmt.Sprint(p.Container))
		x.forwards = append(x.forwards, network.NewForward(l, dialer(to)))
	}
	if door := x.run.spec.Registry; door != nil && x.endpoint != nil {
		l, err := x.endpoint.Listen(door.Address)
		if err != nil {
			return fmt.Errorf("door to the registry: %w", err)
		}
		x.forwards = append(x.forwards, network.NewForward(l, func(ctx context.Context) (net.Conn, error) { return door.Dial(ctx, x.run.id) }))
	}
	return nil
}

func dialer(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: 5 * time.Second}
		return d.DialContext(ctx, "tcp", address)
	}
}

// lookUpUser finds the user's numbers in the container's own files.
func lookUpUser(rootfs, name string) (specs.User, error) {
	uid, gid, groups, err := oci.GetUser(rootfs, name)
	if err != nil {
		return specs.User{}, &container.StartError{Code: 125, Reason: fmt.Sprintf("unable to find user %s: %s", name, err)}
	}
	return specs.User{UID: uid, GID: gid, AdditionalGids: groups}, nil
}
