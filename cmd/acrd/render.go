package main

import (
	"context"
	"fmt"
	"strings"

	"acrd/steps"
)

// render is acrd render: acb render, with acb exec's flags.
func render(_ context.Context, s *session, args []string) error {
	fs := newFlags(s, "render [FLAGS] [FOLDER]", `Print a task file after its $aliases and {{templates}}.

The file is read from the folder, here by default. Neither a daemon nor root is
needed; secrets are shown as ***.`)
	p := &preview{}
	p.defineFile(fs)
	p.define(fs)
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	v, err := p.readHidden(s, firstOr(rest, "."))
	if err != nil {
		return err
	}
	r, err := steps.Render(v.name, v.text, v.values)
	if err != nil {
		return faultError(err)
	}
	fmt.Fprintln(s.stdout, strings.TrimRight(r.String(), "\n"))
	return nil
}

func firstOr(args []string, fallback string) string {
	if len(args) == 0 {
		return fallback
	}
	return args[0]
}
