//go:build !linux

package main

import (
	"context"
	"errors"
)

func startLocal(context.Context, *session, string, string) (func(context.Context) error, error) {
	return nil, &hostError{errors.New("no daemon answers, and it runs on Linux only: give the address of one with --server or $ACRD_SERVER")}
}

// daemonCommands are those that only Linux has.
func daemonCommands() []command { return nil }
