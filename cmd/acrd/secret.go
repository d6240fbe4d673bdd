package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"acrd/internal/secrets"

	"golang.org/x/term"
)

func secretCommands() []command {
	return []command{
		{name: "set", summary: "Keep a value for task files, sealed", run: setSecret},
		{name: "list", summary: "List the secrets that the daemon keeps", run: listSecrets},
		{name: "delete", summary: "Forget a secret", run: deleteSecret},
	}
}

func setSecret(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "secret set [FLAGS] NAME", `Keep a value for the task files that name it: keyvault: https://ANY.vault.azure.net/secrets/NAME
stands for it, unless the daemon was told otherwise (acrd serve --secrets).

The value is read from standard input, or from a file; one line ending at its
end is not part of it, unless --exact is given.`)
	file := fs.StringP("file", "f", "", "file that holds the value")
	exact := fs.Bool("exact", false, "keep a line ending at the end of the value")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 2)
	if err != nil {
		return err
	}
	if len(rest) > 1 { // and it is not said back
		return &usageError{"a value on the command line is seen by every user of the machine: give it on standard input, or with --file"}
	}
	value, err := readValue(s, *file)
	if err != nil {
		return err
	}
	if !*exact {
		value = secrets.TrimLine(value)
	}
	if len(value) == 0 {
		return &usageError{"the value is empty: give it on standard input, or with --file"}
	}
	return where.with(ctx, s, func(c *connection) error { return c.SetSecret(ctx, rest[0], bytes.NewReader(value)) })
}

func readValue(s *session, file string) ([]byte, error) {
	if file != "" && file != "-" {
		return readSecretFile(file)
	}
	if f, ok := s.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(s.stderr, "Value: ")
		defer fmt.Fprintln(s.stderr)
		return term.ReadPassword(int(f.Fd()))
	}
	return io.ReadAll(io.LimitReader(s.stdin, secrets.MaxValue+2)) // the daemon refuses one too large
}

func listSecrets(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "secret list [FLAGS]", "List the secrets that the daemon keeps. Their values are not shown, to anybody.", args, func(ctx context.Context, c *connection) ([]secrets.Info, error) {
		return c.Secrets(ctx)
	}, secretTable)
}

func secretTable(all ...secrets.Info) table {
	t := table{head: []string{"NAME", "UPDATED"}}
	for _, i := range all {
		t.add(i.Name, i.Updated.Format(time.DateTime))
	}
	return t
}

func deleteSecret(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "secret delete [FLAGS] NAME", "Forget a secret. Runs that have its value go on with it.")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	return where.with(ctx, s, func(c *connection) error { return c.DeleteSecret(ctx, rest[0]) })
}
