package steps

import (
	"context"
	"errors"
	"strings"
)

// A Cmd is a step that runs a container.
type Cmd struct {
	// Line is the value of "cmd:" as written.
	Line  string
	Image string
	Args  []string
	Flags CmdFlags
}

// CmdFlags are flags of docker run in front of the image. Those that a step
// has a property for go into the step.
type CmdFlags struct {
	RunFlags
	Env        []string
	Ports      []string
	Volumes    []string // SOURCE:TARGET[:ro], folders of the host
	WorkDir    string
	Network    string
	EntryPoint string
	// NoEntryPoint is --entrypoint "": the image's does not count.
	NoEntryPoint bool
	Detach       bool
	Pull         bool
}

// parseCmd reads the value of "cmd:", which follows "docker run": flags, image,
// arguments. The image "docker" is docker's own command line, of which a *Build
// or a *Push can be had. An error is a *lineError or lineErrors.
func parseCmd(line string, m *marks) (Action, error) {
	words, err := readWords(line)
	if err != nil {
		return nil, dockerSyntax(line, err)
	}
	withMarks(words, m)
	line = m.all(line)
	if len(words) > 0 && words[0].text == "docker" {
		return parseDocker(line, words)
	}
	return parseRun(line, words)
}

func parseRun(line string, words []word) (Action, error) {
	c := &Cmd{Line: line}
	rest, faults := allPlain(words), lineErrors(nil)
	if len(words) > 0 && strings.HasPrefix(words[0].text, "-") { // few have flags, and their table is large
		rest, faults = c.Flags.flags().parse(words, false)
	}
	if len(faults) == 0 && (len(rest) == 0 || rest[0].text == "") {
		faults.add(-1, "names no image")
	}
	if len(faults) > 0 {
		return nil, faults
	}
	if rest[0].text == "docker" && !rest[0].brought && len(rest) < len(words) { // -v /x:/y docker build ...
		return nil, &lineError{rest[0].at, "flags in front of docker " + dockerAlone}
	}
	c.Image, c.Args = rest[0].text, wordTexts(rest[1:])
	return c, nil
}

// op is what the engine is asked for.
func (c *Cmd) op(s *Step) *ExecOp {
	op := &ExecOp{
		Step: s.ID, Image: c.Image, Args: c.Args, RunFlags: c.Flags.RunFlags,
		Env: s.Env, WorkDir: s.WorkingDirectory, Network: s.Network, Pull: s.Pull,
		Ports: s.Ports, Volumes: s.VolumeMounts, Detach: s.Detach,
	}
	op.User, op.Privileged = s.User, s.Privileged
	switch {
	case c.Flags.NoEntryPoint:
		op.Entrypoint = []string{}
	case s.EntryPoint != "":
		op.Entrypoint = []string{s.EntryPoint}
	}
	return op
}

func (c *Cmd) run(ctx context.Context, s *Step, env *Env) (*Result, error) {
	if s.Pull {
		env.Notice("Step specified pull. Performing an explicit pull...")
	}
	op := c.op(s)
	if err := s.withSecrets(op, env); err != nil {
		return nil, err
	}
	err := c.launch(ctx, s, op, env)
	if err == nil {
		env.Notice("Successfully executed container: %s", s.ID)
	}
	return nil, err
}

// notStarted is docker's exit code for a container that it could not make: its
// image could not be pulled, for one.
const notStarted = 125

// launch starts the container, again if the pull that the step asks for fails.
func (c *Cmd) launch(ctx context.Context, s *Step, op *ExecOp, env *Env) error {
	for attempt := 0; ; attempt++ {
		env.Notice("Launching container with name: %s", s.ID)
		err := env.Engine.Exec(ctx, op, Output{env.Output, env.Output})
		exit, _ := errors.AsType[*ExitError](err)
		if !s.Pull || attempt >= s.PullRetries || exit == nil || exit.Code != notStarted || ctx.Err() != nil {
			return err
		}
		env.Notice("Container failed during run: %s, waiting %d seconds before retrying...", s.ID, int(s.PullRetryDelay.Seconds()))
		if err := sleep(ctx, s.PullRetryDelay); err != nil {
			return err
		}
	}
}
