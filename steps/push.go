package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Push is a step that sends images to registries.
type Push struct {
	// Refs are normal: each has a tag or digest, and no two are the same.
	Refs []string
}

// pushAttempts and the waits between them are acb's.
const pushAttempts = 3

var pushWaits = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}

// NewPush pushes images in order, each once.
func NewPush(refs []string) *Push {
	p := &Push{}
	for _, r := range refs {
		if r = normalTag(r); !slices.Contains(p.Refs, r) {
			p.Refs = append(p.Refs, r)
		}
	}
	return p
}

// normalTag adds :latest to a reference without tag or digest. A colon before
// the last slash belongs to the registry's port.
func normalTag(ref string) string {
	if strings.Contains(ref, "@") || strings.Contains(ref[strings.LastIndex(ref, "/")+1:], ":") {
		return ref
	}
	return ref + ":latest"
}

// run pushes one image after another, and says which one it was that failed.
func (p *Push) run(ctx context.Context, _ *Step, env *Env) (*Result, error) {
	result := &Result{}
	for _, ref := range p.Refs {
		pushed, err := push(ctx, ref, env)
		if err != nil {
			return result, err
		}
		result.Pushed = append(result.Pushed, pushed)
	}
	return result, nil
}

func push(ctx context.Context, ref string, env *Env) (*Pushed, error) {
	for attempt := 1; ; attempt++ {
		env.Notice("Pushing image: %s, attempt %d", ref, attempt)
		pushed, err := env.Engine.Push(ctx, ref, env.Output)
		if err == nil {
			env.Notice("Successfully pushed image: %s", ref)
			return pushed, nil
		}
		var refused *RefusedError
		if errors.As(err, &refused) || attempt == pushAttempts || ctx.Err() != nil {
			return nil, &BuildError{fmt.Errorf("failed to push images successfully: %s: %w", ref, err)}
		}
		fmt.Fprintf(env.Output, "push %s: %s\n", ref, err)
		if err := sleep(ctx, pushWaits[attempt-1]); err != nil {
			return nil, err
		}
	}
}
