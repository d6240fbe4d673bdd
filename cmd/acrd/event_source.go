package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrd/eventing/inbound"
	"acrd/internal/api"
)

func eventSourceCommands() []command {
	return []command{
		{name: "create", summary: "Let a registry speak, and show the address for its hooks once", run: createEventSource},
		{name: "list", summary: "List the registries that may speak", run: listEventSources},
		{name: "show", summary: "Show one, and what became of what it has said", run: showEventSource},
		{name: "delete", summary: "Make the address of one worth nothing", run: deleteEventSource},
	}
}

func kindNames() string {
	var all []string
	for _, k := range inbound.Kinds {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

func createEventSource(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-source create [FLAGS]", `Let another registry tell what happens there, and show this once the address
that its hooks are to be sent to. Whoever knows the address may speak.

What a hook says is looked up in the registry before anything follows. A push
that is true makes tasks whose images are based on that one look at once. With
--re-emit, subscribers of events are told, too.

--secret and --credential name secrets that were kept with 'acrd secret set'.`)
	src := &inbound.Source{}
	var name, kind string
	fs.StringVarP(&name, "name", "n", "", "name of the source")
	fs.StringVar(&kind, "kind", "", "how it speaks: "+kindNames())
	fs.StringVar(&src.Registry, "for-registry", "", "host of the registry, as images name it (default: that of dockerhub, ghcr or quay)")
	fs.StringVar(&src.Secret, "secret", "", "secret that hooks prove to know: a key that signs them, or the value of a header")
	fs.StringVar(&src.Header, "header", "", "header that carries the secret (default: what the kind uses)")
	fs.StringVar(&src.Credential, "credential", "", "secret with USER:PASSWORD that opens the registry, to look there")
	fs.BoolVar(&src.Trusted, "trust", false, "believe what it says: for a registry that cannot be reached from here; needs --secret")
	fs.StringVar(&src.ConnectedRegistry, "re-emit", "", "tell subscribers what it says, under this name of a connected registry")
	out := resultFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if name == "" || kind == "" {
		return &usageError{"--name and --kind are needed: acrd event-source create"}
	}
	src.Name, src.Kind = name, inbound.Kind(strings.ToLower(kind))
	if err := src.Check(); err != nil {
		return &usageError{err.Error()}
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	fresh, err := c.CreateEventSource(ctx, src)
	if err != nil {
		return err
	}
	if *out != "table" {
		return out.print(s, fresh, table{})
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.stderr, "This address is not shown again. If others know the daemon by another name, or by TLS, put that in its place.")
	fmt.Fprintln(s.stdout, "http://"+info.Registry+fresh.Hook)
	return nil
}

func listEventSources(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-source list [FLAGS]", "List the registries that may speak. Their addresses are not kept.")
	out := resultFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	c, err := where.client()
	if err != nil {
		return err
	}
	all, err := c.EventSources(ctx)
	if err != nil {
		return err
	}
	return out.print(s, all, sourceTable(all...))
}

func sourceTable(all ...inbound.Source) table {
	t := table{head: []string{"NAME", "KIND", "REGISTRY", "SECRET", "CREDENTIAL", "TRUSTED", "RE-EMITTED AS", "CREATED"}}
	for _, s := range all {
		t.add(s.Name, string(s.Kind), s.Registry, s.Secret, s.Credential, strconv.FormatBool(s.Trusted), s.ConnectedRegistry, s.Created.Format(time.DateTime))
	}
	return t
}

func showEventSource(ctx context.Context, s *session, args []string) error {
	c, name, out, err := namedSource(s, "show", "Show a registry that may speak, and the latest of what it has said: what was looked up and is true, known\nalready, or not so.", args)
	if err != nil {
		return err
	}
	shown, err := c.EventSource(ctx, name)
	if err != nil {
		return err
	}
	if *out == "table" {
		t := sourceTable(shown.Source)
		if err := t.write(s.stdout); err != nil {
			return err
		}
		fmt.Fprintln(s.stdout)
	}
	return out.print(s, shown, noticeTable(shown.Notices))
}

func noticeTable(all []api.SourceNotice) table {
	t := table{head: []string{"RECEIVED", "ACTION", "IMAGE", "OUTCOME", "TRIES", "WHY"}}
	for _, n := range all {
		outcome := string(n.Outcome)
		if outcome == "" {
			outcome = "open"
		}
		t.add(n.At.Format(time.DateTime), string(n.Action), n.Image, outcome, strconv.Itoa(n.Tries), n.Why)
	}
	return t
}

func deleteEventSource(ctx context.Context, s *session, args []string) error {
	c, name, _, err := namedSource(s, "delete", "Make the address of a registry worth nothing, and forget what it has said.", args)
	if err != nil {
		return err
	}
	return c.DeleteEventSource(ctx, name)
}

// namedSource reads the flags of a command about one source.
func namedSource(s *session, verb, description string, args []string) (*api.Client, string, *output, error) {
	fs := newFlags(s, "event-source "+verb+" [FLAGS]", description)
	name := fs.StringP("name", "n", "", "name of the source")
	out := resultFlag(fs)
	where := serverFlags(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return nil, "", nil, err
	}
	if *name == "" {
		return nil, "", nil, &usageError{"--name is missing: acrd event-source " + verb}
	}
	c, err := where.client()
	return c, *name, out, err
}
