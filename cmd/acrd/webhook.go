package main

import (
	"context"
	"strings"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

func webhookCommands() []command {
	return []command{
		{name: "create", summary: "Create a webhook, or replace it", run: createWebhook},
		{name: "update", summary: "Change a webhook", run: updateWebhook},
		{name: "show", summary: "Show a webhook", run: showWebhook},
		{name: "list", summary: "List all webhooks", run: listWebhooks},
		{name: "delete", summary: "Delete a webhook", run: deleteWebhook},
		{name: "get-config", summary: "Show where a webhook is sent, and its headers", run: showWebhookConfig},
		{name: "ping", summary: "Send a webhook an event to try it", run: pingWebhook},
		{name: "list-events", summary: "List what a webhook was sent, and what was answered", run: listWebhookEvents},
		{name: "redeliver", summary: "Send a webhook events again", run: redeliverWebhook},
	}
}

// webhookTable has the columns of az acr webhook list.
func webhookTable(hooks ...*api.Webhook) table {
	t := table{head: []string{"NAME", "LOCATION", "ACTIONS", "SCOPE", "STATUS"}}
	for _, h := range hooks {
		t.add(h.Name, h.Location, strings.Join(h.Properties.Actions, ", "), h.Properties.Scope, h.Properties.Status)
	}
	return t
}

// A webhookForm is the flags that say what a webhook is.
type webhookForm struct {
	deliveryForm

	name, uri, status, scope, location string
	actions, headers, tags             wordList
	tagsOnDelete                       bool
}

func (f *webhookForm) define(fs *pflag.FlagSet) {
	fs.StringVarP(&f.name, "name", "n", "", "name of the webhook: 5 to 50 letters and digits")
	fs.StringVar(&f.uri, "uri", "", "where it is sent: https://HOST/PATH; @FILE reads it from a file")
	fs.Var(&f.actions, "actions", "what it tells: push, delete, quarantine, chart_push, chart_delete; ours: untag")
	fs.Var(&f.headers, "headers", `headers that it is sent with, NAME=VALUE ...; VALUE may be @FILE; "" for none any more`)
	fs.StringVar(&f.scope, "scope", "", "REPOSITORY:TAG, REPOSITORY:*, or REPOSITORY, which is REPOSITORY:latest; everything if empty")
	fs.StringVar(&f.status, "status", "enabled", "enabled or disabled")
	fs.Var(&f.tags, "tags", `tags of the resource, NAME=VALUE ...; "" for none any more`)
	fs.BoolVar(&f.tagsOnDelete, "tags-on-delete", false, "tell the tags of an image that was deleted, in target.tags; Azure tells none")
	f.deliveryForm.define(fs)
}

// properties are those that were given.
func (f *webhookForm) properties() (body, error) {
	p := body{}
	for flag, set := range map[string]func(){
		"actions":        func() { p["actions"] = append([]string{}, f.actions...) },
		"scope":          func() { p["scope"] = f.scope },
		"status":         func() { p["status"] = f.status },
		"tags-on-delete": func() { p["tagsOnDelete"] = f.tagsOnDelete },
	} {
		if f.fs.Changed(flag) {
			set()
		}
	}
	if f.fs.Changed("uri") {
		uri, err := fromFile(f.uri)
		if err != nil {
			return nil, err
		}
		p["serviceUri"] = uri
	}
	if f.fs.Changed("headers") {
		headers := pairs(f.headers)
		for name, value := range headers {
			text, err := fromFile(value)
			if err != nil {
				return nil, err
			}
			headers[name] = text
		}
		p["customHeaders"] = headers
	}
	f.addRetry(p)
	return p, f.addTrust(p)
}

// pairs reads NAME=VALUE, or a name alone, as az does.
func pairs(words []string) map[string]string {
	all := map[string]string{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		all[name] = value
	}
	return all
}

func createWebhook(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "webhook create -n NAME --uri URI --actions ACTION ... [FLAGS]", `Create a webhook, or replace the one of that name: what the registry tells is
sent there. What fails is sent again, for a day.`)
	var form webhookForm
	form.define(fs)
	fs.StringVarP(&form.location, "location", "l", api.Location, "where it is, which is kept with it and means nothing here")
	need(fs, "name", "uri", "actions")
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
		w, err := c.PutWebhook(ctx, form.name, body{"location": form.location, "tags": pairs(form.tags), "properties": p})
		if err != nil {
			return err
		}
		c.remind(s)
		return f.output.print(s, w, webhookTable(w))
	})
}

func updateWebhook(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "webhook update -n NAME [FLAGS]", `Change a webhook. What is not given stays as it is; headers and tags that are
given replace all there were.`)
	var form webhookForm
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
	patch := body{"properties": p}
	if fs.Changed("tags") {
		patch["tags"] = pairs(form.tags)
	}
	return f.with(ctx, s, func(c *connection) error {
		w, err := c.PatchWebhook(ctx, form.name, patch)
		if err != nil {
			return err
		}
		return f.output.print(s, w, webhookTable(w))
	})
}

// onWebhook is a command about a webhook, which it names.
func onWebhook(ctx context.Context, s *session, synopsis, description string, args []string, define func(*pflag.FlagSet), do func(c *connection, name string, o *output) error) error {
	return onNamed(ctx, s, "webhook", synopsis, description, args, define, do)
}

func showWebhook(ctx context.Context, s *session, args []string) error {
	return onWebhook(ctx, s, "webhook show -n NAME [FLAGS]", "Show a webhook, but for where it is sent and its headers: get-config shows those.", args, nil, func(c *connection, name string, o *output) error {
		w, err := c.Webhook(ctx, name)
		if err != nil {
			return err
		}
		return o.print(s, w, webhookTable(w))
	})
}

func listWebhooks(ctx context.Context, s *session, args []string) error {
	return onAll(ctx, s, "webhook list [FLAGS]", "List all webhooks.", args, func(ctx context.Context, c *connection) ([]*api.Webhook, error) {
		return c.Webhooks(ctx)
	}, webhookTable)
}

func deleteWebhook(ctx context.Context, s *session, args []string) error {
	return onWebhook(ctx, s, "webhook delete -n NAME [FLAGS]", "Delete a webhook. What it was still to be told, it is not.", args, nil, func(c *connection, name string, _ *output) error {
		if _, err := c.Webhook(ctx, name); err != nil {
			return err
		}
		return c.DeleteWebhook(ctx, name)
	})
}

func showWebhookConfig(ctx context.Context, s *session, args []string) error {
	return onWebhook(ctx, s, "webhook get-config -n NAME [FLAGS]", "Show where a webhook is sent, and its headers, which are secrets.", args, nil, func(c *connection, name string, o *output) error {
		config, err := c.WebhookConfig(ctx, name)
		if err != nil {
			return err
		}
		t := table{head: []string{"SERVICE URI", "HEADERS"}}
		var headers []string
		for _, header := range sortedKeys(config.CustomHeaders) {
			headers = append(headers, header+"="+config.CustomHeaders[header])
		}
		t.add(config.ServiceURI, strings.Join(headers, " "))
		return o.print(s, config, t)
	})
}

func pingWebhook(ctx context.Context, s *session, args []string) error {
	return onWebhook(ctx, s, "webhook ping -n NAME [FLAGS]", "Send a webhook an event to try it, whatever its actions and scope. list-events shows what was answered.", args, nil, func(c *connection, name string, o *output) error {
		id, err := c.PingWebhook(ctx, name)
		if err != nil {
			return err
		}
		return o.print(s, body{"id": id}, table{head: []string{"ID"}, rows: [][]string{{id}}})
	})
}
