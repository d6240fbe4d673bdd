package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"acrd/internal/acr"
	"acrd/internal/api"
	"acrd/runner"

	"github.com/spf13/pflag"
)

// The exit codes of every command. docs/cli.md has the same table.
const (
	exitOK          = 0
	exitFailed      = 1   // the run did not succeed, or the command could not be carried out
	exitUsage       = 2   // wrong flags or arguments, a wrong file, or a request that the daemon refused as wrong
	exitUnavailable = 3   // no daemon, or one that is going away
	exitHost        = 4   // this host lacks something; acrd doctor says what
	exitInterrupted = 130 // Ctrl-C
)

var (
	// errUsage is wrapped by errors about flags and arguments.
	errUsage = errors.New("usage")
	// errInterrupted says that the user pressed Ctrl-C and knows.
	errInterrupted = errors.New("interrupted")
	// errUnsuccessful says that a run ended otherwise than Succeeded, and
	// that the user has been told.
	errUnsuccessful = errors.New("the run did not succeed")
	// errShown says that the command line was incomplete, and that the user
	// has been shown what there is.
	errShown = fmt.Errorf("%w: incomplete", errUsage)
	// errHost is wrapped by errors about what this host lacks.
	errHost = errors.New("host")
)

// usageError is an error about the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }
func (e *usageError) Unwrap() error { return errUsage }

// hostError is an error about this host.
type hostError struct{ err error }

func (e *hostError) Error() string   { return e.err.Error() }
func (e *hostError) Unwrap() []error { return []error{errHost, e.err} }

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return exitOK
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errHost):
		return exitHost
	case statusOf(err) == http.StatusBadRequest:
		return exitUsage
	case errors.Is(err, api.ErrUnreachable), errors.Is(err, runner.ErrDraining), statusOf(err) == http.StatusServiceUnavailable:
		return exitUnavailable
	}
	return exitFailed
}

// statusOf is what the daemon or its registry has answered; 0 if neither has.
func statusOf(err error) int {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p.Status
	}
	if f, ok := errors.AsType[*acr.Fault](err); ok {
		return f.Status
	}
	return 0
}

// silent says that the user has been told already.
func silent(err error) bool {
	return errors.Is(err, errUnsuccessful) || errors.Is(err, errInterrupted) || errors.Is(err, errShown) || errors.Is(err, pflag.ErrHelp)
}
