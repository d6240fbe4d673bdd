package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/internal/logs"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// A bench is a runner on a fake engine, with real logs and store.
type bench struct {
	*testing.T
	runner *runner.Runner
	engine *stepstest.Fake
	store  *store.DB
	logs   *logs.Dir
	stop   context.CancelFunc
	served chan error
}

// noSources has no remote context, and as upload any folder by its path.
type noSources struct{}

func (noSources) Fetch(context.Context, steps.Context, string, io.Writer) (*steps.Fetched, error) {
	return nil, errors.New("there is no such repository")
}

func (noSources) Upload(_ context.Context, id, _ string, _ bool) (runner.Checkout, error) {
	return folder(id), nil
}

type folder string

func (f folder) Dir() string { return string(f) }
func (folder) Key() string   { return "key" }
func (folder) Close() error  { return nil }

func newBench(t *testing.T, change func(*runner.Runner)) *bench {
	t.Helper()
	b := &bench{T: t, engine: &stepstest.Fake{}, store: openStore(t), logs: &logs.Dir{Path: t.TempDir()}, served: make(chan error, 1)}
	b.runner = &runner.Runner{
		Store: b.store, Logs: b.logs, Sources: noSources{}, Engine: b.engine, Registry: "r.io", Dir: t.TempDir(), Name: "bench", Alone: true,
	}
	if change != nil {
		change(b.runner)
	}
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	go func() { b.served <- b.runner.Serve(ctx) }()
	return b
}

func openStore(t testing.TB) *store.DB {
	t.Helper()
	dir := t.TempDir()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{URL: filepath.Join(dir, "acrd.db"), Sealer: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// end stops the runner and waits for it.
func (b *bench) end() {
	b.Helper()
	b.stop()
	if err := <-b.served; err != nil {
		b.Errorf("Serve: %v", err)
	}
}

func (b *bench) submit(yaml string) *runner.Run {
	b.Helper()
	run, err := b.runner.Submit(b.Context(), runner.Request{Inline: []byte(yaml)})
	if err != nil {
		b.Fatal(err)
	}
	return run
}

// wait reads the run's log to its end, and returns the record.
func (b *bench) wait(id string) (*runner.Run, string) {
	b.Helper()
	r, err := b.logs.Open(b.Context(), id, 0, true)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		b.Fatal(err)
	}
	run, err := b.store.Run(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if !run.Status.Final() {
		b.Errorf("the log of run %s has ended and its status is %s", id, run.Status)
	}
	return run, string(text)
}

func (b *bench) do(yaml string) (*runner.Run, string) {
	b.Helper()
	return b.wait(b.submit(yaml).ID)
}

func statuses(run *runner.Run) map[string]runner.Status {
	all := map[string]runner.Status{}
	for _, s := range run.Steps {
		all[s.ID] = s.Status
	}
	return all
}

func block(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestOrderAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		var mu sync.Mutex
		var order []string
		b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, op.Step)
			return nil
		}
		start := time.Now()
		run, log := b.do(`{steps: [{id: a, cmd: x, when: ['-']}, {id: b, cmd: x, when: ['-']}, {id: c, cmd: x, when: [a, b]}, {id: d, cmd: x}]}`)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("took %v, want 3s: a and b together, then c, then d", took)
		}
		if run.Status != runner.Succeeded {
			t.Errorf("status %s: %s", run.Status, run.Err)
		}
		if slices.Sort(order[:2]); !slices.Equal(order, []string{"a", "b", "c", "d"}) {
			t.Errorf("order %v", order)
		}
		for _, want := range []string{"Creating Docker network: acb_default_network, driver: 'bridge'", "Step ID: d marked as successful", "Run ID: " + run.ID + " was successful after 3s"} {
			if !strings.Contains(log, want) {
				t.Errorf("want %q in the log:\n%s", want, log)
			}
		}
	})
}

func TestFailureStopsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		b.engine.ExecFunc = func(ctx context.Context, op *steps.ExecOp, _ steps.Output) error {
			if op.Step == "bad" {
				return &steps.ExitError{Code: 3}
			}
			return block(ctx)
		}
		run, log := b.do(`{steps: [{id: slow, cmd: x, when: ['-']}, {id: bad, cmd: x, when: ['-']}, {id: never, cmd: x, when: [slow]}]}`)
		if run.Status != runner.Failed || run.FailedStep != "bad" || run.ExitCode == nil || *run.ExitCode != 3 {
			t.Errorf("run is %s, step %s, exit code %v; want Failed, bad, 3", run.Status, run.FailedStep, run.ExitCode)
		}
		if want := map[string]runner.Status{"slow": runner.Canceled, "bad": runner.Failed}; !maps.Equal(statuses(run), want) {
			t.Errorf("steps %v, want %v", statuses(run), want)
		}
		if !strings.Contains(log, "failed to run step ID: bad: exit status 3\n") {
			t.Errorf("log:\n%s", log)
		}
	})
}

func TestIgnoreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
			if op.Step == "a" {
				return &steps.ExitError{Code: 7}
			}
			return nil
		}
		run, log := b.do(`{steps: [{id: a, cmd: x, ignoreErrors: true}, {id: b, cmd: x}]}`)
		if run.Status != runner.Succeeded || statuses(run)["b"] != runner.Succeeded {
			t.Errorf("run %s, steps %v", run.Status, statuses(run))
		}
		if want := "Step ID: a encountered an error: exit status 7, but is set to ignore errors. Continuing..."; !strings.Contains(log, want) {
			t.Errorf("want %q in the log:\n%s", want, log)
		}
	})
}

// TestStatus runs into each way in which a run can end.
func TestStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		exec func(b *bench, id string) func(context.Context) error
		file string
		want runner.Status
		why  string
	}{
		"exit code": {exec: func(*bench, string) func(context.Context) error { return fails(&steps.ExitError{Code: 1}) }, want: runner.Failed, why: "exit status 1"},
		"build": {exec: func(*bench, string) func(context.Context) error {
			return fails(&steps.BuildError{Err: errors.New("no Dockerfile")})
		}, want: runner.Failed, why: "no Dockerfile"},
		"refused": {exec: func(*bench, string) func(context.Context) error {
			return fails(&steps.RefusedError{Reason: "not here"})
		}, want: runner.Failed, why: "not here"},
		"engine": {exec: func(*bench, string) func(context.Context) error {
			return fails(fmt.Errorf("x: %w", steps.ErrEngineStopped))
		}, want: runner.Error, why: "x: build engine stopped"},
		"our fault":    {exec: func(*bench, string) func(context.Context) error { return fails(errors.New("disk on fire")) }, want: runner.Error, why: "disk on fire"},
		"step timeout": {exec: func(*bench, string) func(context.Context) error { return block }, file: "timeout: 5", want: runner.Failed, why: "timed out"},
		"run timeout":  {exec: func(*bench, string) func(context.Context) error { return block }, want: runner.Timeout, why: "run timed out"},
		"canceled": {exec: func(b *bench, id string) func(context.Context) error {
			return func(ctx context.Context) error {
				if err := b.runner.Cancel(ctx, id); err != nil {
					b.Error(err)
				}
				return block(ctx)
			}
		}, want: runner.Canceled, why: "canceled by user"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				defer b.end()
				var exec func(context.Context) error
				ready := make(chan struct{})
				b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error { <-ready; return exec(ctx) }
				run, err := b.runner.Submit(t.Context(), runner.Request{
					Inline: []byte("steps:\n  - cmd: x\n    " + tt.file), Timeout: 90 * time.Second,
				})
				if err != nil {
					t.Fatal(err)
				}
				exec = tt.exec(b, run.ID)
				close(ready)
				got, log := b.wait(run.ID)
				if got.Status != tt.want || got.Err != tt.why {
					t.Errorf("run is %s (%s), want %s (%s)\n%s", got.Status, got.Err, tt.want, tt.why, log)
				}
				if err := b.runner.Cancel(t.Context(), run.ID); !errors.Is(err, runner.ErrFinal) {
					t.Errorf("cancelling a run that has ended: %v, want ErrFinal", err)
				}
			})
		})
	}
}

func fails(err error) func(context.Context) error { return func(context.Context) error { return err } }

func TestSlotsAndQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) { r.Slots = 2 })
		defer b.end()
		var mu sync.Mutex
		at, most := 0, 0
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			at--
			mu.Unlock()
			return nil
		}
		var ids []string
		for range 6 {
			ids = append(ids, b.submit("{steps: [{cmd: x}]}").ID)
		}
		last := ids[5]
		if err := b.runner.Cancel(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids[:5] {
			if run, _ := b.wait(id); run.Status != runner.Succeeded {
				t.Errorf("run %s is %s", id, run.Status)
			}
		}
		if run, log := b.wait(last); run.Status != runner.Canceled || !strings.Contains(log, "before it started") {
			t.Errorf("cancelled in the queue: %s, %q", run.Status, log)
		}
		if most != 2 {
			t.Errorf("%d runs at a time, want 2", most)
		}
	})
}

// TestObsolete has a run whose turn comes when nobody needs it any more.
func TestObsolete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) {
			r.Obsolete = func(run *runner.Run) string { return run.Request.Values["why"] }
		})
		defer b.end()
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return nil }
		for why, want := range map[string]runner.Status{"": runner.Succeeded, "superseded by commit abc": runner.Canceled} {
			run, err := b.runner.Submit(t.Context(), runner.Request{Inline: []byte("{steps: [{cmd: x}]}"), Values: map[string]string{"why": why}})
			if err != nil {
				t.Fatal(err)
			}
			got, log := b.wait(run.ID)
			if got.Status != want || got.Err != why || !strings.Contains(log, why) || !strings.Contains(log, "after 0s") {
				t.Errorf("run is %s (%s), want %s (%s)\n%s", got.Status, got.Err, want, why, log)
			}
		}
	})
}

func TestDrain(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration
		want  runner.Status
		ends  time.Duration
	}{
		"in time":  {5 * time.Second, runner.Succeeded, 5 * time.Second},
		"too long": {time.Hour, runner.Canceled, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(r *runner.Runner) { r.DrainTimeout = 10 * time.Second })
				b.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
					select {
					case <-time.After(tt.takes):
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
				run := b.submit("{steps: [{cmd: x}]}")
				synctest.Wait()
				start := time.Now()
				b.stop()
				synctest.Wait()
				if _, err := b.runner.Submit(t.Context(), runner.Request{Inline: []byte("{}")}); !errors.Is(err, runner.ErrDraining) {
					t.Errorf("a draining runner says %v, want ErrDraining", err)
				}
				if err := <-b.served; err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != tt.ends {
					t.Errorf("ended after %v, want %v", took, tt.ends)
				}
				if got, _ := b.wait(run.ID); got.Status != tt.want {
					t.Errorf("run is %s (%s), want %s", got.Status, got.Err, tt.want)
				}
			})
		})
	}
}

func TestOutputIsToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		defer b.end()
		b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, out steps.Output) error {
			for i := range 3 {
				fmt.Fprintf(out.Stdout, "%s half", op.Step)
				time.Sleep(time.Second)
				fmt.Fprintf(out.Stderr, " and half %d\n", i)
			}
			io.WriteString(out.Stdout, "no newline")
			return nil
		}
		run, log := b.do(`{steps: [{id: a, cmd: x, when: ['-']}, {id: b, cmd: x, when: ['-']}]}`)
		for _, id := range []string{"a", "b"} {
			r, err := b.logs.Step(t.Context(), run.ID, id, false)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(r)
			r.Close()
			want := ""
			for i := range 3 {
				want += fmt.Sprintf("%s | %s half and half %d\n", id, id, i)
			}
			if want += id + " | no newline\n"; string(got) != want {
				t.Errorf("step %s: got\n%swant\n%s", id, got, want)
			}
		}
		if strings.Contains(log, "halfb") || strings.Contains(log, "halfa") {
			t.Errorf("lines are mixed:\n%s", log)
		}
		// One step at a time needs no prefix, and gets its bytes as they are.
		_, log = b.do(`{steps: [{id: a, cmd: x}]}`)
		if !strings.Contains(log, "\na half and half 0\n") {
			t.Errorf("log:\n%s", log)
		}
	})
}

func TestSecretsAreMasked(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	const secret = "s3cr3t/value+1"
	b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, out steps.Output) error {
		for _, c := range "plain " + secret + " base64 czNjcjN0L3ZhbHVlKzE= arg " + strings.Join(op.Args, "") + "\n" {
			io.WriteString(out.Stdout, string(c)) // in pieces
		}
		return fmt.Errorf("failed with %s", secret)
	}
	run, err := b.runner.Submit(t.Context(), runner.Request{
		Inline: []byte("steps:\n  - cmd: x {{.Values.token}}\n"), SecretValues: map[string]string{"token": secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, log := b.wait(run.ID)
	if strings.Contains(log, secret) || strings.Contains(log, "czNjcjN0L3ZhbHVlKzE=") {
		t.Errorf("the secret is in the log:\n%s", log)
	}
	if !strings.Contains(log, "plain *** base64 *** arg ***\n") {
		t.Errorf("log:\n%s", log)
	}
}

func TestSubmitRefuses(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	for name, tt := range map[string]struct {
		req  runner.Request
		want string
	}{
		"nothing":      {runner.Request{}, "is 0 of them"},
		"two":          {runner.Request{File: "a", Inline: []byte("b")}, "is 2 of them"},
		"bad file":     {runner.Request{Inline: []byte("steps:\n  - id: a\n  - cmd: x\n    retries: -1\n")}, "retries >= 0"},
		"privileged":   {runner.Request{Inline: []byte("steps:\n  - {id: a, cmd: x, privileged: true}\n")}, "step a: privileged: true needs the entitlement security.insecure"},
		"host network": {runner.Request{Inline: []byte("steps:\n  - {id: a, cmd: x, network: host}\n")}, "network.host"},
		"unknown word": {runner.Request{Inline: []byte("{}"), Allow: []string{"root"}}, `unknown entitlement "root"`},
		"folder":       {runner.Request{File: "a", Source: "."}, "a client has to upload it"},
		"option":       {runner.Request{File: "a", Source: "--upload-pack=x"}, "source"},
		"long":         {runner.Request{Inline: []byte("{}"), Timeout: 9 * time.Hour}, "not between"},
		"no tag":       {runner.Request{Build: &runner.BuildRequest{Push: true}}, "nothing to push"},
		"build flag":   {runner.Request{Build: &runner.BuildRequest{Flags: []string{"--frob"}}}, "unknown flag: --frob"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.runner.Submit(t.Context(), tt.req)
			var invalid *runner.InvalidError
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an InvalidError with %q", err, tt.want)
			}
		})
	}
	if runs, _ := b.store.Runs(t.Context(), runner.Filter{}); len(runs) != 0 {
		t.Errorf("%d runs are left behind", len(runs))
	}
}

func TestFileInTheSource(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	var args []string
	b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, _ steps.Output) error { args = op.Args; return nil }
	dir := t.TempDir()
	for name, text := range map[string]string{
		"acb.yaml":    "version: v1.1.0\nsteps:\n  - cmd: x {{.Values.a}} {{.Values.b}} $Registry\n",
		"values.yaml": "a: file\nb: file\n",
		"wrong.yaml":  "steps:\n  - id: a\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out.yaml": "/etc/passwd", "in.yaml": "acb.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	submit := func(file string) (*runner.Run, string) {
		run, err := b.runner.Submit(t.Context(), runner.Request{
			File: file, ValuesFile: "values.yaml", Values: map[string]string{"b": "set"}, Source: runner.UploadScheme + dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.wait(run.ID)
	}
	if run, log := submit("acb.yaml"); run.Status != runner.Succeeded || !slices.Equal(args, []string{"file", "set", "r.io"}) {
		t.Errorf("%s, args %v\n%s", run.Status, args, log)
	}
	if run, log := submit("in.yaml"); run.Status != runner.Succeeded {
		t.Errorf("a link within the source: %s\n%s", run.Status, log)
	}
	for file, want := range map[string]string{
		"wrong.yaml": "wrong.yaml:2:5: step is missing a cmd, build, or push property",
		"none.yaml":  `unable to find "none.yaml" in the source`,
		"out.yaml":   "a link that leads out of the source",
	} {
		if run, log := submit(file); run.Status != runner.Failed || !strings.Contains(log, want) || strings.Contains(log, "root:") {
			t.Errorf("%s: %s\n%s", file, run.Status, log)
		}
	}
}

func TestDockerBuild(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	var built *steps.BuildOp
	var pushed []string
	b.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
		built = op
		return &steps.Image{Tags: op.Tags, Digest: "sha256:aa", Runtime: &steps.Dependency{Ref: "alpine:3.20", Digest: "sha256:bb"}}, nil
	}
	b.engine.PushFunc = func(_ context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
		pushed = append(pushed, ref)
		return &steps.Pushed{Ref: ref, Digest: "sha256:aa"}, nil
	}
	run, err := b.runner.Submit(t.Context(), runner.Request{
		Build:       &runner.BuildRequest{Tags: []string{"app:{{.Run.ID}}", "other.io/x:1", "known.io/y:1", "library/z"}, Push: true, Flags: []string{"--build-arg", "A=b c"}},
		Credentials: []steps.Credential{{Registry: "known.io", Username: "u", Password: "password"}},
		Source:      runner.UploadScheme + t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	got, log := b.wait(run.ID)
	want := []string{"r.io/app:" + run.ID, "r.io/other.io/x:1", "known.io/y:1", "library/z:latest"}
	if got.Status != runner.Succeeded || !slices.Equal(pushed, want) {
		t.Errorf("%s, pushed %v, want %v\n%s", got.Status, pushed, want, log)
	}
	if !built.Pushed || built.BuildArgs[0] != "A=b c" || built.ContextKey != "key" {
		t.Errorf("build was asked for %+v", built)
	}
	if !strings.Contains(log, "The following dependencies were found:") || !strings.Contains(log, "repository: library/alpine") {
		t.Errorf("log:\n%s", log)
	}
	if left, _ := os.ReadDir(b.runner.Dir); len(left) != 0 {
		t.Errorf("left in the folder of runs: %v", left)
	}
}

// slowToOpen is an engine that opens when nobody wants it any more.
type slowToOpen struct{ *stepstest.Fake }

func (s slowToOpen) Open(ctx context.Context, p *steps.Place) (steps.Session, error) {
	<-ctx.Done()
	return s.Fake.Open(ctx, p)
}

func TestCanceledBeforeFirstStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(r *runner.Runner) { r.Engine = slowToOpen{&stepstest.Fake{}} })
		defer b.end()
		run := b.submit("steps: [{cmd: x}]")
		synctest.Wait()
		if err := b.runner.Cancel(t.Context(), run.ID); err != nil {
			t.Fatal(err)
		}
		if run, _ := b.wait(run.ID); run.Status != runner.Canceled {
			t.Errorf("status %s, want Canceled", run.Status)
		}
	})
}
