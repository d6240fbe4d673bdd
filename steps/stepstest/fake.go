// Package stepstest helps to test what runs steps: a Fake engine, and the
// suite that says what every engine must do.
package stepstest

import (
	"context"
	"errors"
	"io"

	"acrd/steps"
)

// Fake is an engine whose work is done by functions. A nil one answers that
// the work is not supported.
type Fake struct {
	BuildFunc func(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error)
	ExecFunc  func(ctx context.Context, op *steps.ExecOp, out steps.Output) error
	PushFunc  func(ctx context.Context, ref string, out io.Writer) (*steps.Pushed, error)
	CloseFunc func(ctx context.Context) error
}

// Open makes the fake a runner.Engine: every run gets the fake itself.
func (f *Fake) Open(context.Context, *steps.Place) (steps.Session, error) { return f, nil }

// Build calls BuildFunc.
func (f *Fake) Build(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
	if f.BuildFunc == nil {
		return nil, errors.ErrUnsupported
	}
	return f.BuildFunc(ctx, op, out)
}

// Exec calls ExecFunc.
func (f *Fake) Exec(ctx context.Context, op *steps.ExecOp, out steps.Output) error {
	if f.ExecFunc == nil {
		return errors.ErrUnsupported
	}
	return f.ExecFunc(ctx, op, out)
}

// Push calls PushFunc.
func (f *Fake) Push(ctx context.Context, ref string, out io.Writer) (*steps.Pushed, error) {
	if f.PushFunc == nil {
		return nil, errors.ErrUnsupported
	}
	return f.PushFunc(ctx, ref, out)
}

// Close calls CloseFunc, if there is one.
func (f *Fake) Close(ctx context.Context) error {
	if f.CloseFunc == nil {
		return nil
	}
	return f.CloseFunc(ctx)
}
