package steps_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/steps"
	"acrd/steps/stepstest"

	"github.com/google/go-cmp/cmp"
)

// parse reads steps of a v1.0.0 file.
func parse(t *testing.T, yaml string) *steps.File {
	t.Helper()
	f, err := steps.Parse("t.yaml", []byte(yaml), steps.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A trial runs one step and keeps what it said.
type trial struct {
	env   *steps.Env
	mu    sync.Mutex
	lines []string
	out   strings.Builder
}

func newTrial(exec func(ctx context.Context, try int, out steps.Output) error) *trial {
	t := &trial{}
	tries := 0
	t.env = &steps.Env{
		Engine: &stepstest.Fake{ExecFunc: func(ctx context.Context, _ *steps.ExecOp, out steps.Output) error {
			tries++
			return exec(ctx, tries, out)
		}},
		Notice: func(format string, args ...any) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.lines = append(t.lines, fmt.Sprintf(format, args...))
		},
		Output: &t.out,
	}
	return t
}

func exit(code int) error { return &steps.ExitError{Code: code} }

// TestRun holds the lines, the time and the end of a step to what acb does
// (vectors/runtime).
func TestRun(t *testing.T) {
	sleepy := func(d time.Duration) func(context.Context, int, steps.Output) error {
		return func(ctx context.Context, _ int, _ steps.Output) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	const (
		executing = "Executing step ID: a. Timeout(sec): %d, Working directory: '', Network: 'acb_default_network'"
		launching = "Launching container with name: a"
		done      = "Successfully executed container: a"
		gaveUp    = "Container failed during run: a. No retries remaining."
		waiting   = "Container failed during run: a, waiting %d seconds before retrying..."
	)
	for name, tt := range map[string]struct {
		step  string
		exec  func(context.Context, int, steps.Output) error
		want  string // error
		took  time.Duration
		lines []string
	}{
		"succeeds": {step: "", exec: sleepy(time.Second), took: time.Second, lines: []string{fmt.Sprintf(executing, 600), launching, done}},
		"fails": {
			step: "", exec: func(context.Context, int, steps.Output) error { return exit(3) },
			want: "exit status 3", lines: []string{fmt.Sprintf(executing, 600), launching, gaveUp},
		},
		"retries": {
			step: "retries: 2\n    retryDelay: 1", exec: func(context.Context, int, steps.Output) error { return exit(3) },
			want: "exit status 3", took: 2 * time.Second,
			lines: []string{fmt.Sprintf(executing, 600), launching, fmt.Sprintf(waiting, 1), launching, fmt.Sprintf(waiting, 1), launching, gaveUp},
		},
		"retries succeed": {
			step: "retries: 5", exec: func(_ context.Context, try int, _ steps.Output) error {
				if try < 3 {
					return exit(1)
				}
				return nil
			},
			took:  10 * time.Second, // 5 s by default
			lines: []string{fmt.Sprintf(executing, 600), launching, fmt.Sprintf(waiting, 5), launching, fmt.Sprintf(waiting, 5), launching, done},
		},
		"retry on this error": {
			step: "retries: 1\n    retryDelay: 1\n    retryOnErrors: [temporary-failure]", exec: func(_ context.Context, _ int, out steps.Output) error {
				io.WriteString(out.Stderr, "temporary-")
				io.WriteString(out.Stderr, "failure\n")
				return exit(1)
			},
			want: "exit status 1", took: time.Second,
			lines: []string{fmt.Sprintf(executing, 600), launching, fmt.Sprintf(waiting, 1), launching, gaveUp},
		},
		"no retry on another": {
			step: "retries: 2\n    retryOnErrors: [temporary-failure]", exec: func(_ context.Context, _ int, out steps.Output) error {
				io.WriteString(out.Stdout, "lasting failure\n")
				return exit(1)
			},
			want: "exit status 1", lines: []string{fmt.Sprintf(executing, 600), launching, gaveUp},
		},
		"repeat goes on": {
			step: "repeat: 2", exec: func(_ context.Context, try int, _ steps.Output) error { return exit(try) },
			want:  "exit status 1, exit status 2, exit status 3",
			lines: []string{fmt.Sprintf(executing, 600), launching, gaveUp, launching, gaveUp, launching, gaveUp},
		},
		"timeout": {
			step: "timeout: 1", exec: sleepy(5 * time.Second),
			want: "timed out", took: time.Second, lines: []string{fmt.Sprintf(executing, 1), launching, gaveUp},
		},
		"timeout ends retries": { // acb goes on through them
			step: "timeout: 1\n    retries: 2\n    retryDelay: 1", exec: sleepy(5 * time.Second),
			want: "timed out", took: time.Second, lines: []string{fmt.Sprintf(executing, 1), launching, gaveUp},
		},
		"one timeout for all tries": {
			step: "timeout: 3\n    retries: 9\n    retryDelay: 2", exec: func(context.Context, int, steps.Output) error { return exit(1) },
			want: "timed out", took: 3 * time.Second,
			lines: []string{fmt.Sprintf(executing, 3), launching, fmt.Sprintf(waiting, 2), launching, fmt.Sprintf(waiting, 2)},
		},
		"startDelay is not in the timeout": {
			step: "startDelay: 2\n    timeout: 1", exec: sleepy(0), took: 2 * time.Second,
			lines: []string{fmt.Sprintf(executing, 1), "Waiting 2 seconds before executing step ID: a", launching, done},
		},
		"refusals are not retried": {
			step: "retries: 3", exec: func(context.Context, int, steps.Output) error { return &steps.RefusedError{Reason: "no"} },
			want: "no", lines: []string{fmt.Sprintf(executing, 600), launching, gaveUp},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := parse(t, "steps:\n  - id: a\n    cmd: img\n    "+tt.step+"\n").Steps[0]
				tr := newTrial(tt.exec)
				start := time.Now()
				_, err := s.Run(t.Context(), tr.env)
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if got := fmt.Sprint(err); err != nil && got != tt.want || err == nil && tt.want != "" {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				if diff := cmp.Diff(tt.lines, tr.lines); diff != "" {
					t.Errorf("log: want (-), got (+):\n%s", diff)
				}
			})
		})
	}
}

func TestRunErrorsKeepTheirKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parse(t, "steps:\n  - cmd: img\n    repeat: 1\n").Steps[0]
		tr := newTrial(func(context.Context, int, steps.Output) error { return exit(7) })
		_, err := s.Run(t.Context(), tr.env)
		var e *steps.ExitError
		if !errors.As(err, &e) || e.Code != 7 {
			t.Errorf("got %v, want an ExitError with code 7", err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("canceled by user")
		s := parse(t, "steps:\n  - cmd: img\n    retries: 9\n").Steps[0]
		tr := newTrial(func(context.Context, int, steps.Output) error { return exit(1) })
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(7*time.Second, func() { cancel(reason) })
		if _, err := s.Run(ctx, tr.env); !errors.Is(err, reason) {
			t.Errorf("got %v, want %v", err, reason)
		}
	})
}

func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parse(t, "steps:\n  - push: [r.io/a, 'r.io/b:1', r.io/a:latest]\n").Steps[0]
		tr := newTrial(nil)
		tries := map[string]int{}
		tr.env.Engine = &stepstest.Fake{PushFunc: func(_ context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
			tries[ref]++
			if ref == "r.io/b:1" && tries[ref] < 3 {
				return nil, errors.New("connection reset")
			}
			return &steps.Pushed{Ref: ref, Digest: "sha256:" + ref}, nil
		}}
		r, err := s.Run(t.Context(), tr.env)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"r.io/a:latest": 1, "r.io/b:1": 3}, tries); diff != "" {
			t.Errorf("tries: want (-), got (+):\n%s", diff)
		}
		if len(r.Pushed) != 2 {
			t.Errorf("pushed %d, want 2", len(r.Pushed))
		}
	})
}

func TestPushGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parse(t, "steps:\n  - push: ['r.io/b:1']\n").Steps[0]
		tr := newTrial(nil)
		tr.env.Engine = &stepstest.Fake{PushFunc: func(context.Context, string, io.Writer) (*steps.Pushed, error) {
			return nil, errors.New("connection reset")
		}}
		_, err := s.Run(t.Context(), tr.env)
		if want := "failed to push images successfully: r.io/b:1: connection reset"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	})
}
