package runner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"acrd/runner"
	"acrd/steps"
)

type observed struct{}

// TestObserver: it is told everything once, and contexts go down to the engine.
func TestObserver(t *testing.T) {
	var mu sync.Mutex // guards told
	var told []string
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf(format, args...))
	}
	mark := func(ctx context.Context, word string) context.Context {
		before, _ := ctx.Value(observed{}).(string)
		return context.WithValue(ctx, observed{}, before+word+"/")
	}
	watch := func(name string) runner.Observer {
		return runner.Observer{
			Queued: func(r *runner.Run) { tell("%s queued %s", name, r.ID) },
			Run: func(ctx context.Context, r *runner.Run) (context.Context, func(*runner.Run)) {
				tell("%s began after queueing: %t", name, !r.Started.Before(r.Created))
				return mark(ctx, name+" run"), func(r *runner.Run) { tell("%s ended %s", name, r.Status) }
			},
			Step: func(ctx context.Context, _ *runner.Run, s *steps.Step) (context.Context, func(*steps.Result, error)) {
				return mark(ctx, name+" "+runner.Kind(s)), func(_ *steps.Result, err error) { tell("%s step %s: %v", name, s.ID, err) }
			},
		}
	}
	b := newBench(t, func(r *runner.Runner) { r.Observe = runner.Observers(watch("a"), runner.Observer{}, watch("b")) })
	b.engine.ExecFunc = func(ctx context.Context, op *steps.ExecOp, _ steps.Output) error {
		tell("%s in %v", op.Step, ctx.Value(observed{}))
		if op.Step == "two" {
			return &steps.ExitError{Code: 1}
		}
		return nil
	}
	run, log := b.do("steps:\n- {id: one, cmd: alpine}\n- {id: two, cmd: alpine}\n- {id: three, cmd: alpine}\n")
	b.end()
	want := []string{
		"a queued ca1", "b queued ca1", "a began after queueing: true", "b began after queueing: true",
		"one in a run/b run/a cmd/b cmd/", "a step one: <nil>", "b step one: <nil>",
		"two in a run/b run/a cmd/b cmd/", "a step two: exit status 1", "b step two: exit status 1",
		"a ended Failed", "b ended Failed",
	}
	slices.Sort(want) // a run may begin before its queueing is told
	slices.Sort(told)
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("%s\n%s\n%s", run.Status, got, log)
	}
}
