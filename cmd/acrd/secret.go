package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
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
	c, err := where.client()
	if err != nil {
		return err
	}
	return c.SetSecret(ctx, rest[0], bytes.NewReader(value))
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
	fs := newFlags(s, "secret list [FLAGS]", "List the secrets that the daemon keeps. Their values are not shown, to anybody.")
	out := outputFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	all, err := c.Secrets(ctx)
	if err != nil {
		return err
	}
	if out.json() {
		return json.NewEncoder(s.stdout).Encode(append([]secrets.Info{}, all...))
	}
	w := tabwriter.NewWriter(s.stdout, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, "NAME\tUPDATED")
	for _, i := range all {
		fmt.Fprintf(w, "%s\t%s\n", i.Name, i.Updated.Format(time.DateTime))
	}
	return w.Flush()
}

func deleteSecret(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "secret delete [FLAGS] NAME", "Forget a secret. Runs that have its value go on with it.")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	return c.DeleteSecret(ctx, rest[0])
}
