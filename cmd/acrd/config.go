package main

import (
	"context"
	"strconv"
	"strings"

	"acrd/internal/acr"

	"github.com/spf13/pflag"
)

func configCommands() []command {
	return []command{
		{name: "quarantine", summary: "Whether images that are new wait for their release", subs: []command{
			{name: "show", summary: "Show the policy", run: showQuarantine},
			{name: "update", summary: "Switch it on or off", run: updateQuarantine},
		}},
		{name: "soft-delete", summary: "Whether what is deleted can be restored", subs: []command{
			{name: "show", summary: "Show the policy", run: showSoftDelete},
			{name: "update", summary: "Switch it on or off, and say for how long", run: updateSoftDelete},
		}},
		{name: "retention", summary: "Whether manifests without tags are deleted", subs: []command{
			{name: "show", summary: "Show the policy", run: showRetention},
			{name: "update", summary: "Switch it on or off, and say after how long", run: updateRetention},
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

func showSoftDelete(ctx context.Context, s *session, args []string) error {
	return onPolicies(ctx, s, "config soft-delete show [FLAGS]", "Show whether what is deleted can be restored.", args, nil, nil)
}

func updateSoftDelete(ctx context.Context, s *session, args []string) error {
	var p policyFlags
	return onPolicies(ctx, s, "config soft-delete update [--status enabled|disabled] [--days N] [FLAGS]", `Keep what is deleted from now on for some days, or do not. 'acrd manifest restore'
brings it back. What was deleted before is as it was.`, args, p.define, func() (body, error) { return p.body("softDeletePolicy", "retentionDays") })
}

func showRetention(ctx context.Context, s *session, args []string) error {
	return onPolicies(ctx, s, "config retention show [FLAGS]", "Show whether manifests without tags are deleted.", args, nil, nil)
}

func updateRetention(ctx context.Context, s *session, args []string) error {
	var p policyFlags
	var kind string
	define := func(fs *pflag.FlagSet) {
		p.define(fs)
		fs.StringVar(&kind, "type", "UntaggedManifests", "UntaggedManifests, which is all there is")
	}
	return onPolicies(ctx, s, "config retention update [--status enabled|disabled] [--days N] [FLAGS]", `Delete manifests that have had no tag for some days, once a day, or do not. What an
index or a subject needs stays, and so does what has lost its tags before the
policy was set, or is locked.`, args, define, func() (body, error) {
		if !strings.EqualFold(kind, "UntaggedManifests") {
			return nil, &usageError{"--type " + kind + ": want UntaggedManifests"}
		}
		return p.body("retentionPolicy", "days")
	})
}

// policyFlags are those of a policy with a time.
type policyFlags struct {
	status string
	days   int
	given  func(flag string) bool
}

func (p *policyFlags) define(fs *pflag.FlagSet) {
	fs.StringVar(&p.status, "status", "", "enabled or disabled")
	fs.IntVar(&p.days, "days", 7, "how many days")
	fs.BoolP("yes", "y", false, "accepted because az has it: nothing is asked")
	p.given = fs.Changed
}

func (p *policyFlags) body(policy, days string) (body, error) {
	change := body{}
	if p.given("status") {
		change["status"] = p.status
	}
	if p.given("days") {
		change[days] = p.days
	}
	if len(change) == 0 {
		return nil, &usageError{"give --status or --days"}
	}
	return body{policy: change}, nil
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
		name := strings.Fields(synopsis)[1]
		return f.output.print(s, policyNamed(now, name), policyTable(now, name))
	})
}

// policyNamed is one of the policies, as the commands name it.
func policyNamed(p *acr.Policies, name string) any {
	switch name {
	case "soft-delete":
		return p.SoftDelete
	case "retention":
		return p.Retention
	}
	return p.Quarantine
}

func policyTable(p *acr.Policies, name string) table {
	t := table{head: []string{"POLICY", "STATUS", "DAYS"}}
	switch name {
	case "soft-delete":
		t.add(name, p.SoftDelete.Status, strconv.Itoa(p.SoftDelete.RetentionDays))
	case "retention":
		t.add(name, p.Retention.Status, strconv.Itoa(p.Retention.Days))
	default:
		t.add(name, p.Quarantine.Status, "")
	}
	return t
}
