package stepstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"acrd/steps"
)

// Memory is an engine without containers. Its images are names, and its shell
// knows, between semicolons: echo WORDS, echo WORDS > FILE, cat FILE, sleep
// SECONDS and exit CODE. It is what unit tests run tasks on, and TestEngine
// holds it to the same as the real one.
type Memory struct {
	mu     sync.Mutex // guards what follows
	files  map[string]string
	images map[string]string // tag -> digest
	pushed map[string]string
	closed bool

	running sync.WaitGroup
	closing chan struct{}
}

// NewMemory makes an engine that has the image Base.
func NewMemory() *Memory {
	return &Memory{
		files: map[string]string{}, images: map[string]string{Base: "sha256:base"}, pushed: map[string]string{}, closing: make(chan struct{}),
	}
}

// Base is the image that Memory starts with.
const Base = "base"

// Build makes an image of the tags, whatever the Dockerfile says.
func (m *Memory) Build(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	image := &steps.Image{Tags: op.Tags, Digest: fmt.Sprintf("sha256:%d", len(m.images)), Runtime: &steps.Dependency{Ref: Base, Digest: m.images[Base]}}
	for _, t := range op.Tags {
		m.images[t] = image.Digest
	}
	fmt.Fprintln(out, "built", strings.Join(op.Tags, ", "))
	return image, nil
}

// Exec runs a script, Args being sh -c SCRIPT.
func (m *Memory) Exec(ctx context.Context, op *steps.ExecOp, out steps.Output) error {
	for _, need := range op.Needs() {
		return need.Refusal()
	}
	m.mu.Lock()
	_, ok := m.images[op.Image]
	m.mu.Unlock()
	switch {
	case !ok:
		return &steps.ExitError{Code: 125, Reason: "image " + op.Image + ": not found"}
	case len(op.Args) != 3 || op.Args[0] != "sh":
		return &steps.ExitError{Code: 127, Reason: strings.Join(op.Args, " ") + ": not found"}
	}
	if !op.Detach {
		return m.script(ctx, op.Args[2], out.Stdout)
	}
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	m.running.Go(func() {
		defer cancel(nil)
		_ = m.script(life, op.Args[2], out.Stdout)
	})
	go func() {
		select {
		case <-m.closing:
			cancel(errors.New("closed"))
		case <-life.Done():
		}
	}()
	return nil
}

func (m *Memory) script(ctx context.Context, script string, out io.Writer) error {
	for command := range strings.SplitSeq(script, ";") {
		words := strings.Fields(command)
		if len(words) == 0 {
			continue
		}
		if err := m.command(ctx, words, out); err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) command(ctx context.Context, words []string, out io.Writer) error {
	switch words[0] {
	case "exit":
		if words[1] == "0" {
			return nil
		}
		code, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		return &steps.ExitError{Code: code}
	case "sleep":
		seconds, err := time.ParseDuration(words[1] + "s")
		if err != nil {
			return err
		}
		select {
		case <-time.After(seconds):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case "cat":
		m.mu.Lock()
		text, ok := m.files[words[1]]
		m.mu.Unlock()
		if !ok {
			return &steps.ExitError{Code: 1}
		}
		fmt.Fprintln(out, text)
		return nil
	case "echo":
		text, file, redirected := strings.Cut(strings.Join(words[1:], " "), " > ")
		if !redirected {
			fmt.Fprintln(out, text)
			return nil
		}
		m.mu.Lock()
		m.files[file] = text
		m.mu.Unlock()
		return nil
	}
	return &steps.ExitError{Code: 127}
}

// Push remembers what was pushed.
func (m *Memory) Push(ctx context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	digest, ok := m.images[ref]
	if !ok || ref == Base {
		return nil, &steps.RefusedError{Reason: "image " + ref + " was not built in this run"}
	}
	m.pushed[ref] = digest
	return &steps.Pushed{Ref: ref, Digest: digest}, nil
}

// Close ends detached scripts.
func (m *Memory) Close(context.Context) error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.closing)
	}
	m.mu.Unlock()
	m.running.Wait()
	return nil
}
