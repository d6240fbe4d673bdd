package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

func listWebhookEvents(ctx context.Context, s *session, args []string) error {
	return onWebhook(ctx, s, "webhook list-events -n NAME [FLAGS]", `List the last 100 attempts to send a webhook what it is to be told, the newest
first. JSON has the requests and the answers.`, args, nil, func(c *connection, name string, o *output) error {
		events, err := c.WebhookEvents(ctx, name)
		if err != nil {
			return err
		}
		return o.print(s, events, webhookEventTable(events))
	})
}

// webhookEventTable has the columns of az acr webhook list-events. What was not
// answered shows why.
func webhookEventTable(events []api.WebhookEvent) table {
	t := table{head: []string{"ID", "ACTION", "IMAGE", "HTTP STATUS", "TIMESTAMP"}}
	for _, e := range events {
		var content struct {
			Action, Timestamp string
			Target            struct{ Repository, Tag, Digest string }
		}
		_ = json.Unmarshal(e.Request.Content, &content) // what is not there is not shown
		status := e.Response.Status
		if status == "" {
			status = string(e.Outcome)
		}
		t.add(e.ID, content.Action, imageOf(content.Target.Repository, content.Target.Tag, content.Target.Digest), status, content.Timestamp)
	}
	return t
}

// imageOf is az's name of what an event is about.
func imageOf(repository, tag, digest string) string {
	switch {
	case tag != "":
		return repository + ":" + tag
	case digest != "":
		return repository + "@" + digest
	}
	return repository
}

func redeliverWebhook(ctx context.Context, s *session, args []string) error {
	var again redelivery
	return onWebhook(ctx, s, "webhook redeliver -n NAME (--event-id ID ... | --since TIME) [FLAGS]", "Send a webhook events again, whatever became of them.", args, again.define, func(c *connection, name string, o *output) error {
		return again.run(s, o, func(d api.Redelivery) (int, error) { return c.RedeliverWebhook(ctx, name, d) })
	})
}

// A redelivery is the flags that say what to send again.
type redelivery struct {
	ids   wordList
	since string
}

func (f *redelivery) define(fs *pflag.FlagSet) {
	fs.Var(&f.ids, "event-id", "ids of events")
	fs.StringVar(&f.since, "since", "", "all events since then: a time such as 2026-01-02T15:04:05Z, or how long ago, such as 2h")
}

// run asks for each, and prints how many events are sent again.
func (f *redelivery) run(s *session, o *output, send func(api.Redelivery) (int, error)) error {
	if (len(f.ids) == 0) == (f.since == "") {
		return &usageError{"give --event-id or --since"}
	}
	asks := make([]api.Redelivery, 0, len(f.ids)+1)
	for _, id := range f.ids {
		asks = append(asks, api.Redelivery{ID: id})
	}
	if f.since != "" {
		at, err := parseSince(f.since, time.Now())
		if err != nil {
			return err
		}
		asks = append(asks, api.Redelivery{Since: at})
	}
	total := 0
	for _, ask := range asks {
		n, err := send(ask)
		if err != nil {
			return err
		}
		total += n
	}
	return o.print(s, body{"count": total}, table{head: []string{"COUNT"}, rows: [][]string{{strconv.Itoa(total)}}})
}

// parseSince reads a time, or how long before now it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &usageError{fmt.Sprintf("%q is neither a time such as 2026-01-02T15:04:05Z nor how long ago, such as 2h", text)}
	}
	return at, nil
}
