package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"acrd/steps"
)

// maxScanned is how many builds of one task file are looked at.
const maxScanned = 50

// Scan gets the source of a request, with the connections and limits of a run,
// and has look read what each build starts from. Nothing is built, run or
// kept. If some builds cannot be read, it returns the others with the error;
// that the source cannot be had is a *SourceError.
func (r *Runner) Scan(ctx context.Context, req Request, look func(*steps.BuildOp) (*steps.Image, error)) (images []*steps.Image, err error) {
	if req.Registry == "" {
		req.Registry = r.Registry
	}
	if err := os.MkdirAll(r.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("folder of scan: %w", err)
	}
	dir, err := os.MkdirTemp(r.Dir, "scan-*")
	if err != nil {
		return nil, fmt.Errorf("folder of scan: %w", err)
	}
	defer func() { err = errors.Join(err, removeAll(dir)) }()
	run := &Run{ID: filepath.Base(dir), Request: req}
	t := newTranscript(noLog{}, run)
	source, err := r.getSource(ctx, run, dir, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	file, err := r.scanFile(ctx, run, source.dir)
	if err != nil {
		return nil, errors.New(t.hide(err.Error()))
	}
	env := steps.Env{
		Engine: scanEngine{look}, Sources: &stepSources{r.sourcesOf(run), dir, source.dir}, Workspace: source.dir,
		Notice: func(string, ...any) {}, Output: io.Discard, Registry: req.Registry,
	}
	builds := slices.DeleteFunc(slices.Clone(file.Steps), func(s *steps.Step) bool { _, ok := s.Do.(*steps.Build); return !ok })
	var errs []error
	for _, s := range builds[:min(maxScanned, len(builds))] {
		result, err := s.Scan(ctx, &env)
		if err != nil {
			errs = append(errs, errors.New(t.hide(fmt.Sprintf("step %s: %s", s.ID, err))))
			continue
		}
		images = append(images, result.Images...)
	}
	return images, errors.Join(errs...)
}

// scanFile is the task of a request, without the values of its secrets.
func (r *Runner) scanFile(ctx context.Context, run *Run, dir string) (*steps.File, error) {
	if run.Request.Build != nil {
		return run.Request.Build.file(run)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer root.Close()
	f, err := r.taskFile(ctx, run, root)
	if err != nil {
		return nil, err
	}
	return f.trial()
}

// scanEngine looks at builds, and does nothing else.
type scanEngine struct {
	look func(*steps.BuildOp) (*steps.Image, error)
}

func (e scanEngine) Build(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
	return e.look(op)
}

func (e scanEngine) Exec(context.Context, *steps.ExecOp, steps.Output) error {
	return errors.ErrUnsupported
}

func (e scanEngine) Push(context.Context, string, io.Writer) (*steps.Pushed, error) {
	return nil, errors.ErrUnsupported
}
