package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrd/eventing/inbound"
	"acrd/internal/api"

	"github.com/spf13/pflag"
)

func eventSourceCommands() []command {
	return []command{
		{name: "create", summary: "Let a registry speak, and show the address for its hooks once", run: createEventSource},
		{name: "update", summary: "Change what is known of one", run: updateEventSource},
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

// sourceFlags define what of a source can be changed.
func sourceFlags(fs *pflag.FlagSet, src *inbound.Source) {
	fs.StringVar(&src.Registry, "for-registry", "", "host of the registry, as images name it (default: that of dockerhub, ghcr or quay)")
	fs.StringVar(&src.Secret, "secret", "", "secret that hooks prove to know: a key that signs them, or the value of a header")
	fs.StringVar(&src.Header, "header", "", "header that carries the secret (default: what the kind uses)")
	fs.StringVar(&src.Credential, "credential", "", "secret with USER:PASSWORD that opens the registry, to look there")
	fs.BoolVar(&src.Trusted, "trust", false, "believe what it says: for a registry that cannot be reached from here; needs --secret")
	fs.StringVar(&src.ConnectedRegistry, "re-emit", "", "tell subscribers what it says, under this name of a connected registry")
}

func createEventSource(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-source create -n NAME --kind KIND [FLAGS]", `Let another registry tell what happens there, and show this once the address
that its hooks are to be sent to. Whoever knows the address may speak.

What a hook says is looked up in the registry before anything follows. A push
that is true makes tasks whose images are based on that one look at once. With
--re-emit, subscribers of events are told, too.

--secret and --credential name secrets that were kept with 'acrd secret set'.`)
	src := &inbound.Source{}
	name := nameFlag(fs, "name of the source")
	kind := fs.String("kind", "", "how it speaks: "+kindNames())
	sourceFlags(fs, src)
	need(fs, "name", "kind")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	src.Name, src.Kind = *name, inbound.Kind(strings.ToLower(*kind))
	if err := src.Check(); err != nil {
		return &usageError{err.Error()}
	}
	return f.with(ctx, s, func(c *connection) error {
		fresh, err := c.CreateEventSource(ctx, src)
		if err != nil {
			return err
		}
		if *f.output != "table" {
			return f.output.print(s, fresh, table{})
		}
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(s.stderr, "This address is not shown again. If others know the daemon by another name, or by TLS, put that in its place.")
		fmt.Fprintln(s.stdout, "http://"+info.Registry+fresh.Hook)
		return nil
	})
}

func updateEventSource(ctx context.Context, s *session, args []string) error {
	src := &inbound.Source{}
	var fs *pflag.FlagSet
	return onNamed(ctx, s, "source", "event-source update -n NAME [FLAGS]", `Change a registry that may speak. What is not given stays, and "" takes away.
The address of its hooks stays, too; the kind is in it, and cannot be changed.`, args, func(flags *pflag.FlagSet) {
		fs = flags
		sourceFlags(fs, src)
	}, func(c *connection, name string, o *output) error {
		change := body{}
		for flag, field := range map[string]struct {
			name  string
			value any
		}{
			"for-registry": {"registry", src.Registry},
			"secret":       {"secret", src.Secret},
			"header":       {"header", src.Header},
			"credential":   {"credential", src.Credential},
			"trust":        {"trusted", src.Trusted},
			"re-emit":      {"connectedRegistry", src.ConnectedRegistry},
		} {
			if fs.Changed(flag) {
				change[field.name] = field.value
			}
		}
		changed, err := c.PatchEventSource(ctx, name, change)
		if err != nil {
			return err
		}
		return o.print(s, changed, sourceTable(*changed))
	})
}

func listEventSources(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "event-source list [FLAGS]", "List the registries that may speak. Their addresses are not kept.", args, func(ctx context.Context, c *connection) ([]inbound.Source, error) {
		return c.EventSources(ctx)
	}, sourceTable)
}

func sourceTable(all ...inbound.Source) table {
	t := table{head: []string{"NAME", "KIND", "REGISTRY", "SECRET", "CREDENTIAL", "TRUSTED", "RE-EMITTED AS", "CREATED"}}
	for _, s := range all {
		t.add(s.Name, string(s.Kind), s.Registry, s.Secret, s.Credential, strconv.FormatBool(s.Trusted), s.ConnectedRegistry, s.Created.Format(time.DateTime))
	}
	return t
}

func showEventSource(ctx context.Context, s *session, args []string) error {
	return onNamed(ctx, s, "source", "event-source show -n NAME [FLAGS]", `Show a registry that may speak, and the latest of what it has said: what was
looked up and is true, known already, or not so.`, args, nil, func(c *connection, name string, o *output) error {
		shown, err := c.EventSource(ctx, name)
		if err != nil {
			return err
		}
		if *o == "table" {
			t := sourceTable(shown.Source)
			if err := t.write(s.stdout); err != nil {
				return err
			}
			fmt.Fprintln(s.stdout)
		}
		return o.print(s, shown, noticeTable(shown.Notices))
	})
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
	return onNamed(ctx, s, "source", "event-source delete -n NAME [FLAGS]", "Make the address of a registry worth nothing, and forget what it has said.", args, nil, func(c *connection, name string, _ *output) error {
		return c.DeleteEventSource(ctx, name)
	})
}
