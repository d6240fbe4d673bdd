package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/internal/api"

	"github.com/spf13/pflag"
)

func eventSubscriptionCommands() []command {
	return []command{
		{name: "create", summary: "Create an event subscription, or replace it", run: createEventSubscription},
		{name: "update", summary: "Change an event subscription", run: updateEventSubscription},
		{name: "show", summary: "Show an event subscription", run: showEventSubscription},
		{name: "list", summary: "List all event subscriptions", run: listEventSubscriptions},
		{name: "delete", summary: "Delete an event subscription", run: deleteEventSubscription},
		{name: "events", summary: "List what was sent, and what was answered", run: listDeliveries},
		{name: "redeliver", summary: "Send events again", run: redeliverEvents},
	}
}

func eventSubscriptionTable(all ...*api.EventSubscription) table {
	t := table{head: []string{"NAME", "TYPE", "ENDPOINT", "SCHEMA", "STATE"}}
	for _, e := range all {
		p := e.Properties
		d := p.Destination.Properties
		endpoint := d.EndpointBaseURL
		if endpoint == "" {
			endpoint = strings.Trim(strings.Join([]string{d.ResourceID, d.QueueName}, "/"), "/")
		}
		t.add(e.Name, string(p.Destination.EndpointType), endpoint, string(p.EventDeliverySchema), string(p.ProvisioningState))
	}
	return t
}

func createEventSubscription(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-subscription create -n NAME --endpoint ENDPOINT [FLAGS]", `Create an event subscription, or replace the one of that name. A receiver over
HTTP is asked first whether it wants events, which may take a minute.`)
	var form eventForm
	form.define(fs)
	need(fs, "name", "endpoint")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	p, err := form.properties()
	if err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		e, err := c.PutEventSubscription(ctx, form.name, body{"properties": p})
		if err != nil {
			return err
		}
		c.remind(s)
		return printEventSubscription(ctx, s, c, &f, e)
	})
}

func updateEventSubscription(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-subscription update -n NAME [FLAGS]", `Change an event subscription. What is not given stays as it is; a list that is
given replaces the whole. Until a receiver at a new address has agreed, nothing
changes.`)
	var form eventForm
	form.define(fs)
	need(fs, "name")
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	p, err := form.properties()
	if err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		e, err := c.PatchEventSubscription(ctx, form.name, p)
		if err != nil {
			return err
		}
		return printEventSubscription(ctx, s, c, &f, e)
	})
}

// printEventSubscription says what is left to do by hand, if something is.
func printEventSubscription(ctx context.Context, s *session, c *connection, f *resourceFlags, e *api.EventSubscription) error {
	if e.Properties.ProvisioningState == eventing.AwaitingManualAction {
		u, err := c.FullURL(ctx, e.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.stderr, "The receiver has answered without saying that it wants events. It has 5 minutes to get this address, or you:\n%s\n", u.ValidationURL)
	}
	return f.output.print(s, e, eventSubscriptionTable(e))
}

func showEventSubscription(ctx context.Context, s *session, args []string) error {
	var url, secrets bool
	return onEventSubscription(ctx, s, "event-subscription show -n NAME [FLAGS]", "Show an event subscription. What is secret is only shown if that is asked for.", args, func(fs *pflag.FlagSet) {
		fs.BoolVar(&url, "include-full-endpoint-url", false, "show the whole address, with the secrets in it")
		fs.BoolVar(&secrets, "include-static-delivery-attribute-secret", false, "show the values of delivery attributes that are secret")
	}, func(c *connection, name string, o *output) error {
		e, err := c.EventSubscription(ctx, name)
		if err != nil {
			return err
		}
		if url {
			full, err := c.FullURL(ctx, name)
			if err != nil {
				return err
			}
			e.Properties.Destination.Properties.EndpointURL = full.EndpointURL
			e.Properties.Destination.Properties.EndpointBaseURL = full.EndpointURL
		}
		if secrets {
			if e.Properties.Destination.Properties.Attributes, err = c.DeliveryAttributes(ctx, name); err != nil {
				return err
			}
		}
		return o.print(s, e, eventSubscriptionTable(e))
	})
}

// onEventSubscription is a command about one, which it names.
func onEventSubscription(ctx context.Context, s *session, synopsis, description string, args []string, define func(*pflag.FlagSet), do func(c *connection, name string, o *output) error) error {
	return onNamed(ctx, s, "event subscription", synopsis, description, args, func(fs *pflag.FlagSet) {
		if define != nil {
			define(fs)
		}
		sourceFlag(fs)
		shortened(fs)
	}, do)
}

// sourceFlag is az's for the registry.
func sourceFlag(fs *pflag.FlagSet) {
	fs.String("source-resource-id", "", "accepted because az has it: a daemon has one registry")
}

func listEventSubscriptions(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "event-subscription list [FLAGS]", "List all event subscriptions.")
	filter := fs.String("odata-query", "", "which ones: contains(name, 'TEXT'), name eq 'TEXT', name ne 'TEXT'")
	sourceFlag(fs)
	for _, name := range []string{"location", "topic-type"} {
		fs.String(name, "", "accepted because az has it: a daemon has one registry")
	}
	var f resourceFlags
	f.define(fs, s)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.with(ctx, s, func(c *connection) error {
		all, err := c.EventSubscriptions(ctx, *filter)
		if err != nil {
			return err
		}
		return f.output.print(s, all, eventSubscriptionTable(all...))
	})
}

func deleteEventSubscription(ctx context.Context, s *session, args []string) error {
	return onEventSubscription(ctx, s, "event-subscription delete -n NAME [FLAGS]", "Delete an event subscription. What it was still to be told, it is not.", args, nil, func(c *connection, name string, _ *output) error {
		if _, err := c.EventSubscription(ctx, name); err != nil {
			return err
		}
		return c.DeleteEventSubscription(ctx, name)
	})
}

func listDeliveries(ctx context.Context, s *session, args []string) error {
	var top int
	return onEventSubscription(ctx, s, "event-subscription events -n NAME [FLAGS]", `List attempts to deliver events, the newest first. JSON has the requests and the
answers.`, args, func(fs *pflag.FlagSet) {
		fs.IntVar(&top, "top", eventing.HistorySlots, "how many of the last 100")
	}, func(c *connection, name string, o *output) error {
		attempts, err := c.DeliveryHistory(ctx, name, top)
		if err != nil {
			return err
		}
		return o.print(s, attempts, deliveryTable(attempts))
	})
}

func deliveryTable(attempts []api.WebhookEvent) table {
	t := table{head: []string{"TIME", "EVENT", "TYPE", "SUBJECT", "ATTEMPT", "OUTCOME", "STATUS"}}
	for _, a := range attempts {
		var event struct{ EventType, Type, Subject string }
		_ = json.Unmarshal(a.Request.Content, &event) // what is not there is not shown
		t.add(a.Time.UTC().Format(time.DateTime), a.ID, event.EventType+event.Type, event.Subject, strconv.Itoa(a.Attempt), string(a.Outcome), a.Response.Status)
	}
	return t
}

func redeliverEvents(ctx context.Context, s *session, args []string) error {
	var again redelivery
	return onEventSubscription(ctx, s, "event-subscription redeliver -n NAME (--event-id ID ... | --since TIME) [FLAGS]", "Send events again, whatever became of them: dead letters too.", args, again.define, func(c *connection, name string, o *output) error {
		return again.run(s, o, func(d api.Redelivery) (int, error) { return c.RedeliverEvents(ctx, name, d) })
	})
}
