package main

import (
	"context"
	"fmt"
	"slices"
)

// group makes one command of several.
func group(name, summary string, subs []command) func(context.Context, *session, []string) error {
	return func(ctx context.Context, s *session, args []string) error {
		if len(args) == 0 || slices.Contains([]string{"-h", "--help", "help"}, args[0]) {
			fmt.Fprintf(s.stdout, "%s.\n\nUsage: acrd %s COMMAND [FLAGS]\n\nCommands:\n", summary, name)
			for _, c := range subs {
				fmt.Fprintf(s.stdout, "  %-10s %s\n", c.name, c.summary)
			}
			return nil
		}
		for _, c := range subs {
			if c.name == args[0] {
				return c.run(ctx, s, args[1:])
			}
		}
		return &usageError{fmt.Sprintf("unknown command %q: acrd %s has %s", args[0], name, list(subs))}
	}
}

func list(subs []command) string {
	var names []string
	for _, c := range subs {
		names = append(names, c.name)
	}
	return fmt.Sprint(names)
}
