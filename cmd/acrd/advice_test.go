package main

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"acrd/internal/acr"
	"acrd/internal/api"
)

func TestClosest(t *testing.T) {
	words := []string{"list", "list-runs", "platform", "push", "t"}
	for typed, want := range map[string]string{
		"lst": "list", "list-": "list", "platfrom": "platform", "plat": "platform", "puhs": "push", "x": "", "": "", "entirely": "", "lsit": "list",
	} {
		if got := closest(typed, words); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// TestAdvised: what to do next is said once, and the exit code stays.
func TestAdvised(t *testing.T) {
	show, list := command{name: "show"}, command{name: "list"}
	group := command{name: "acrd task", subs: []command{show, list}}
	for _, row := range []struct {
		err  error
		c    command
		want string
		code int
	}{
		{nil, show, "<nil>", exitOK},
		{&usageError{"no"}, show, "no\nRun 'acrd task show --help' for its flags.", exitUsage},
		{fmt.Errorf("ask: %w", api.ErrUnreachable), list, "ask: no daemon answers\nStart one with 'acrd serve', or say with --server or $ACRD_SERVER where it is.", exitUnavailable},
		{&api.Problem{Status: http.StatusNotFound, Message: "task a: not found"}, show, "task a: not found\nRun 'acrd task list' for those that there are.", exitFailed},
		{&api.Problem{Status: http.StatusNotFound, Message: "run a: not found"}, show, "run a: not found\nRun 'acrd runs list' for those that there are.", exitFailed},
		{&api.Problem{Status: http.StatusNotFound, Message: "gone"}, list, "gone", exitFailed},
		{&acr.Fault{Status: http.StatusNotFound, Message: "unknown"}, show, "unknown\nRun 'acrd repository list' and 'acrd repository show-tags' for what there is.", exitFailed},
		{errShown, show, errShown.Error(), exitUsage},
		{errors.New("disk"), show, "disk", exitFailed},
	} {
		got := advised(row.err, group, row.c)
		if fmt.Sprint(got) != row.want || exitCode(got) != row.code {
			t.Errorf("%v: %q (%d), want %q (%d)", row.err, fmt.Sprint(got), exitCode(got), row.want, row.code)
		}
	}
}
