package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"acrd/steps"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"go.opentelemetry.io/otel"
)

// A Remote is somebody else's BuildKit. Builds and pushes work: what a run has
// built is kept here, as an OCI layout in the run's folder, for later steps
// and for the push. What needs our own engine is refused by name: cmd steps,
// for a remote machine cannot see the workspace.
type Remote struct {
	address    string
	registries Registries
	log        *slog.Logger

	once sync.Once
	kit  *client.Client
	err  error
}

// NewRemote connects when it is first used. The address is BuildKit's:
// tcp://HOST:PORT, unix://PATH.
func NewRemote(address string, r Registries, log *slog.Logger) *Remote {
	return &Remote{address: address, registries: r, log: log}
}

// answerTimeout bounds the wait for a remote BuildKit to say anything.
const answerTimeout = 10 * time.Second

func (r *Remote) connect(ctx context.Context) (*client.Client, error) {
	r.once.Do(func() { r.kit, r.err = client.New(ctx, r.address, client.WithTracerProvider(otel.GetTracerProvider())) })
	if r.err != nil {
		return nil, fmt.Errorf("connect to BuildKit at %s: %w", r.address, r.err)
	}
	return r.kit, nil
}

// Serve waits for the end of ctx: there is nothing to keep alive.
func (r *Remote) Serve(ctx context.Context) error {
	<-ctx.Done()
	if r.kit != nil {
		return r.kit.Close()
	}
	return nil
}

// Ready asks the remote BuildKit for its workers.
func (r *Remote) Ready(ctx context.Context) error {
	kit, err := r.connect(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("BuildKit at %s does not answer", r.address))
	defer cancel()
	workers, err := kit.ListWorkers(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("BuildKit at %s: %w", r.address, err)
	}
	for _, w := range workers {
		if w.Labels["org.mobyproject.buildkit.worker.network"] == "host" {
			r.log.Warn("the remote BuildKit runs builds on its host's network", "engine", r.address)
		}
	}
	return nil
}

// Open gives a run its session.
func (r *Remote) Open(ctx context.Context, p *steps.Place) (steps.Session, error) {
	kit, err := r.connect(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(p.Dir, "layout")
	store, err := local.NewStore(dir)
	if err != nil {
		return nil, fmt.Errorf("layout of run: %w", err)
	}
	return &remoteSession{workshop: newWorkshop(p, &r.registries), kit: kit, store: store, layout: layout{dir: dir}}, nil
}

// storeID is what the layout is called between here and the remote BuildKit.
const storeID = "run"

// A remoteSession is one run on a remote BuildKit.
type remoteSession struct {
	workshop
	kit    *client.Client
	store  content.Store
	layout layout
}

// Build builds an image and brings it here.
func (s *remoteSession) Build(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
	if err := s.permit(op.Needs()); err != nil {
		return nil, err
	}
	in, err := openInputs(op)
	if err != nil {
		return nil, &steps.BuildError{Err: err}
	}
	defer in.close()
	o, err := s.solveOptions(op, in)
	if err != nil {
		return nil, err
	}
	o.OCIStores = map[string]content.Store{storeID: s.store}
	if op.Image() {
		attrs := exportAttributes(op)
		attrs["force-compression"] = strconv.FormatBool(op.Pushed)
		attrs["tar"] = "false"
		if len(op.Tags) > 0 {
			attrs["name"] = strings.Join(op.Tags, ",")
		}
		o.Exports = []client.ExportEntry{{Type: client.ExporterOCI, Attrs: attrs, OutputStore: s.store}}
	}
	response, err := s.show(ctx, s.kit, o, op, out)
	if err != nil {
		return nil, buildError(ctx, err)
	}
	image, err := s.built(op, in, response)
	if err == nil {
		s.keep(op.Tags, &runImage{name: "oci-layout://" + storeID + "@" + image.Digest, digest: image.Digest})
	}
	return image, err
}

// Exec refuses.
func (s *remoteSession) Exec(context.Context, *steps.ExecOp, steps.Output) error {
	return &steps.RefusedError{Reason: fmt.Sprintf("cmd steps need acrd's own engine, because a remote BuildKit cannot share %s: run the daemon without --engine", steps.WorkspaceDir)}
}

// Push sends an image from here.
func (s *remoteSession) Push(ctx context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
	image, ok := s.own(ref)
	if !ok {
		return nil, notBuilt(ref)
	}
	return s.layout.push(ctx, image.digest, ref, s.place.Credentials, s.registries)
}

// Close forgets the layout.
func (s *remoteSession) Close(context.Context) error {
	if err := os.RemoveAll(s.layout.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("layout of run: %w", err)
	}
	return nil
}
