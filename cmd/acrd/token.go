package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
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
	c, err := where.client()
	if err != nil {
		return err
	}
	t, err := c.CreateToken(ctx, &ask)
	if err != nil {
		return err
	}
	if out.json() {
		return json.NewEncoder(s.stdout).Encode(t)
	}
	fmt.Fprintf(s.stderr, "This token is not shown again. It allows %s, %s.\n", scopeNames(t.Scopes), until(t.Expires))
	fmt.Fprintln(s.stdout, t.Value)
	return nil
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
	fs := newFlags(s, "token list [FLAGS]", "List the tokens: what they allow, and until when. They themselves are not kept.")
	out := outputFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	all, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	if out.json() {
		return json.NewEncoder(s.stdout).Encode(append([]*api.Token{}, all...))
	}
	w := tabwriter.NewWriter(s.stdout, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, "NAME\tSCOPES\tCREATED\tEXPIRES")
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Name, scopeNames(t.Scopes), t.Created.Format(time.DateTime), until(t.Expires))
	}
	return w.Flush()
}

func deleteToken(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "token delete [FLAGS] NAME", "Make a token worth nothing. Whatever it has open ends within five seconds.")
	where := serverFlags(fs, s)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	return c.DeleteToken(ctx, rest[0])
}
