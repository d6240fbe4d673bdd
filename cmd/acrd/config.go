package main

import (
	"context"

	"acrd/internal/acr"

	"github.com/spf13/pflag"
)

func configCommands() []command {
	return []command{
		{name: "quarantine", summary: "Whether images that are new wait for their release", subs: []command{
			{name: "show", summary: "Show the policy", run: showQuarantine},
			{name: "update", summary: "Switch it on or off", run: updateQuarantine},
		}},
	}
}

func showQuarantine(ctx context.Context, s *session, args []string) error {
	return onPolicies(ctx, s, "config quarantine show [FLAGS]", "Show whether images that are new wait for their release.", args, nil, nil)
}

func updateQuarantine(ctx context.Context, s *session, args []string) error {
	var status string
	define := func(fs *pflag.FlagSet) { fs.StringVar(&status, "status", "", "enabled or disabled") }
	return onPolicies(ctx, s, "config quarantine update --status enabled|disabled [FLAGS]", `Let images that are new wait for their release, or do not. Those that wait can be
pulled by their digest, and by no tag; 'acrd repository update --quarantine-state
Passed' releases one.`, args, define, func() (body, error) {
		return body{"quarantinePolicy": body{"status": status}}, required("--status", status)
	})
}

// onPolicies shows the policies after a change, if there is one.
func onPolicies(ctx context.Context, s *session, synopsis, description string, args []string, define func(*pflag.FlagSet), change func() (body, error)) error {
	fs := newFlags(s, synopsis, description)
	if define != nil {
		define(fs)
	}
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	var policies body
	if change != nil {
		var err error
		if policies, err = change(); err != nil {
			return err
		}
	}
	return f.with(ctx, s, func(c *connection) error {
		ask := c.Policies
		if policies != nil {
			ask = func(ctx context.Context) (*acr.Policies, error) { return c.ChangePolicies(ctx, policies) }
		}
		now, err := ask(ctx)
		if err != nil {
			return err
		}
		return f.output.print(s, now, policyTable(now))
	})
}

func policyTable(p *acr.Policies) table {
	t := table{head: []string{"POLICY", "STATUS"}}
	t.add("quarantine", p.Quarantine.Status)
	return t
}
