package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrd/internal/api"
)

func tokenCommands() []command {
	return []command{
		{name: "create", summary: "Make a token for another machine or person, and show it once", run: createToken},
		{name: "list", summary: "List the tokens that there are", run: listTokens},
		{name: "delete", summary: "Make a token worth nothing, at once", run: deleteToken},
	}
}

// defaultExpiry is long enough for a machine, and not for ever.
const defaultExpiry = "90d"

func createToken(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "token create [FLAGS] NAME", `Make a token for access over TCP, and show it this once. What it allows:

  owner          everything, other tokens and secrets too
  submit         submit, follow and cancel runs, without --allow; who may do
                 that can read every secret that a task file may name
  read           see runs and their logs
  registry-push  push images, and pull them
  registry-pull  pull images
  event-publish  publish events, but for those of acrd's own types

For the registry: docker login -u anybody HOST, with the token as password.`)
	scopes := fs.StringSlice("scope", []string{string(api.ScopeSubmit)}, "what the token allows: owner, submit, read, registry-push, registry-pull, event-publish (with commas, or repeat)")
	expires := fs.String("expires", defaultExpiry, "how long it is good: days as 90d, hours as 12h, or never")
	out := outputFlag(fs)
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	ask := api.NewToken{Name: rest[0]}
	for _, scope := range *scopes {
		ask.Scopes = append(ask.Scopes, api.Scope(scope))
	}
	if ask.Expires, err = expiry(*expires, time.Now()); err != nil {
		return err
	}
	return where.with(ctx, s, func(c *connection) error {
		t, err := c.CreateToken(ctx, &ask)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "This token is not shown again. It allows %s, %s.\n", scopeNames(t.Scopes), until(t.Expires))
		if out.document() {
			return out.print(s, t, table{head: []string{"TOKEN"}, rows: [][]string{{t.Value}}})
		}
		fmt.Fprintln(s.stdout, t.Value)
		return nil
	})
}

func expiry(text string, now time.Time) (time.Time, error) {
	if text == "never" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.Add(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, &usageError{fmt.Sprintf("--expires %s: want days as 90d, hours as 12h, or never", text)}
}

func until(t time.Time) string {
	if t.IsZero() {
		return "without end"
	}
	return "until " + t.Format(time.DateTime) + " UTC"
}

func scopeNames(scopes []api.Scope) string {
	var all []string
	for _, s := range scopes {
		all = append(all, string(s))
	}
	return strings.Join(all, ",")
}

func listTokens(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "token list [FLAGS]", "List the tokens: what they allow, and until when. They themselves are not kept.", args, func(ctx context.Context, c *connection) ([]*api.Token, error) {
		return c.Tokens(ctx)
	}, tokenTable)
}

func tokenTable(all ...*api.Token) table {
	t := table{head: []string{"NAME", "SCOPES", "CREATED", "EXPIRES"}}
	for _, token := range all {
		t.add(token.Name, scopeNames(token.Scopes), token.Created.Format(time.DateTime), until(token.Expires))
	}
	return t
}

func deleteToken(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "token delete [FLAGS] NAME", "Make a token worth nothing. Whatever it has open ends within five seconds.")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	return where.with(ctx, s, func(c *connection) error { return c.DeleteToken(ctx, rest[0]) })
}
