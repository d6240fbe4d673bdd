package stepstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/steps"
)

// A Bench is a session to be tested.
type Bench struct {
	steps.Session
	// Image has a shell.
	Image string
	// Tag makes the name of an image to be built, and pushed.
	Tag func(name string) string
	// Workspace holds a Dockerfile that starts from Image.
	Workspace string
}

// TestEngine checks that a session does what package steps says of an Engine.
// Open makes a new one for each test and closes nothing: the suite does.
func TestEngine(t *testing.T, open func(t *testing.T) *Bench) {
	for name, test := range map[string]func(*testing.T, *Bench){
		"ExitCodes": testExitCodes, "StartErrors": testStartErrors, "Output": testOutput, "Parallel": testParallel,
		"SharedFiles": testSharedFiles, "Cancel": testCancel, "CancelAtOnce": testCancelAtOnce, "Detach": testDetach, "BuildThenUse": testBuildThenUse,
		"Push": testPush, "Refusals": testRefusals, "CloseTwice": testCloseTwice,
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			test(t, b)
			if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// run executes a script as the step of a name.
func (b *Bench) run(ctx context.Context, step, script string, out *output) error {
	return b.Exec(ctx, b.op(step, script), steps.Output{Stdout: out, Stderr: out})
}

func (b *Bench) op(step, script string) *steps.ExecOp {
	return &steps.ExecOp{
		Step: step, Image: b.Image, Args: []string{"sh", "-c", script}, Network: steps.DefaultNetwork, WorkDir: steps.WorkspaceDir,
	}
}

func testExitCodes(t *testing.T, b *Bench) {
	for _, code := range []int{0, 1, 42, 125, 137} {
		err := b.run(t.Context(), "it", fmt.Sprintf("exit %d", code), &output{})
		var exit *steps.ExitError
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &exit) || exit.Code != code) {
			t.Errorf("exit %d: got %v", code, err)
		}
	}
}

func testStartErrors(t *testing.T, b *Bench) {
	for name, tt := range map[string]struct {
		change func(*steps.ExecOp)
		code   int
	}{
		"no command": {func(op *steps.ExecOp) { op.Args = []string{"no-such-command"} }, 127},
		"no image":   {func(op *steps.ExecOp) { op.Image = b.Tag("no-such-image") }, 125},
	} {
		op := b.op("it", "exit 0")
		tt.change(op)
		err := b.Exec(t.Context(), op, steps.Output{Stdout: &output{}, Stderr: &output{}})
		var exit *steps.ExitError
		if !errors.As(err, &exit) || exit.Code != tt.code || exit.Reason == "" {
			t.Errorf("%s: got %v, want an ExitError with code %d and a reason", name, err, tt.code)
		}
	}
}

func testOutput(t *testing.T, b *Bench) {
	var out output
	if err := b.run(t.Context(), "it", "echo one; echo two", &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "one\ntwo\n" {
		t.Errorf("output %q: it must be complete when Exec returns", got)
	}
}

func testParallel(t *testing.T, b *Bench) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var out output
			err := b.run(t.Context(), fmt.Sprintf("s%d", i), fmt.Sprintf("echo I am %d; exit %d", i, i), &out)
			var exit *steps.ExitError
			if i > 0 && (!errors.As(err, &exit) || exit.Code != i) || out.String() != fmt.Sprintf("I am %d\n", i) {
				t.Errorf("step %d: %v, %q", i, err, out.String())
			}
		})
	}
	all.Wait()
}

func testSharedFiles(t *testing.T, b *Bench) {
	var out output
	if err := errors.Join(b.run(t.Context(), "a", "echo from a > note", &out), b.run(t.Context(), "b", "cat note", &out)); err != nil {
		t.Fatal(err)
	}
	if out.String() != "from a\n" {
		t.Errorf("b read %q", out.String())
	}
}

func testCancel(t *testing.T, b *Bench) {
	reason := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(reason) })
	began := time.Now()
	err := b.run(ctx, "it", "sleep 100", &output{})
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want the reason of the cancel", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if err := b.run(t.Context(), "it", "exit 0", &output{}); err != nil {
		t.Errorf("the step after a cancel: %v", err)
	}
}

// testCancelAtOnce cancels steps that are about to start.
func testCancelAtOnce(t *testing.T, b *Bench) {
	reason := errors.New("no longer wanted")
	for i := range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Duration(i/2)*time.Millisecond, func() { cancel(reason) })
		op := b.op("it", "sleep 100")
		op.Detach = i%2 == 1
		began := time.Now()
		err := b.Exec(ctx, op, steps.Output{Stdout: &output{}, Stderr: &output{}})
		if !errors.Is(err, reason) && !op.Detach {
			t.Errorf("got %v, want the reason of the cancel", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Fatalf("a step that was cancelled as it started took %v", took)
		}
	}
	began := time.Now()
	if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("closing took %v: detached commands end with their run", took)
	}
}

func testDetach(t *testing.T, b *Bench) {
	op := b.op("service", "echo up > state; sleep 100")
	op.Detach = true
	began := time.Now()
	if err := b.Exec(t.Context(), op, steps.Output{Stdout: &output{}, Stderr: &output{}}); err != nil {
		t.Fatal(err)
	}
	for b.run(t.Context(), "client", "cat state", &output{}) != nil {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the service does not run")
		}
	}
	if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("closing took %v: detached commands end with their run", took)
	}
}

func (b *Bench) buildOp(tags ...string) *steps.BuildOp {
	return &steps.BuildOp{
		Step: "build", BuildOptions: steps.BuildOptions{Tags: tags}, Workspace: b.Workspace, Context: b.Workspace, Root: b.Workspace,
		Pushed: true, ContextKey: "suite",
	}
}

func testBuildThenUse(t *testing.T, b *Bench) {
	tag := b.Tag("made")
	image, err := b.Build(t.Context(), b.buildOp(tag, b.Tag("also")), &output{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(image.Digest, "sha256:") || image.Runtime == nil || image.Runtime.Ref != b.Image || image.Runtime.Digest == "" {
		t.Errorf("built %+v from %+v; want digests and the base", image, image.Runtime)
	}
	for _, name := range []string{tag, b.Tag("also")} {
		op := b.op("use", "echo used")
		op.Image = name
		var out output
		if err := b.Exec(t.Context(), op, steps.Output{Stdout: &out, Stderr: &out}); err != nil || out.String() != "used\n" {
			t.Errorf("using %s: %v, %q", name, err, out.String())
		}
	}
}

func testPush(t *testing.T, b *Bench) {
	tag := b.Tag("pushed")
	image, err := b.Build(t.Context(), b.buildOp(tag), &output{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds everything there
		pushed, err := b.Push(t.Context(), tag, &output{})
		if err != nil || pushed.Digest != image.Digest || pushed.Ref != tag {
			t.Errorf("Push = %+v, %v; want %s, by the digest that was built", pushed, err, image.Digest)
		}
	}
}

func testRefusals(t *testing.T, b *Bench) {
	var refused *steps.RefusedError
	if _, err := b.Push(t.Context(), b.Tag("never-built"), &output{}); !errors.As(err, &refused) {
		t.Errorf("pushing what was not built: %v, want a RefusedError", err)
	}
	op := b.op("it", "exit 0")
	op.Privileged = true
	if err := b.Exec(t.Context(), op, steps.Output{Stdout: &output{}, Stderr: &output{}}); !errors.As(err, &refused) {
		t.Errorf("privileged without leave: %v, want a RefusedError", err)
	}
}

func testCloseTwice(t *testing.T, b *Bench) {
	if err := b.run(t.Context(), "it", "exit 0", &output{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// output is a buffer for two streams.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
