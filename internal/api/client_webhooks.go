package api

import (
	"context"
	"net/http"
	"net/url"
)

// Webhooks lists all webhooks.
func (c *Client) Webhooks(ctx context.Context) ([]*Webhook, error) {
	return pages[*Webhook](ctx, c, "/webhooks")
}

// Webhook looks up a webhook.
func (c *Client) Webhook(ctx context.Context, name string) (*Webhook, error) {
	var w Webhook
	return &w, c.onWebhook(ctx, http.MethodGet, name, "", nil, &w)
}

// PutWebhook creates a webhook or replaces it. The body is the resource as JSON
// has it: a Webhook would not do, for it does not say where it is sent.
func (c *Client) PutWebhook(ctx context.Context, name string, body any) (*Webhook, error) {
	var w Webhook
	return &w, c.onWebhook(ctx, http.MethodPut, name, "", body, &w)
}

// PatchWebhook changes what the body names.
func (c *Client) PatchWebhook(ctx context.Context, name string, body any) (*Webhook, error) {
	var w Webhook
	return &w, c.onWebhook(ctx, http.MethodPatch, name, "", body, &w)
}

// DeleteWebhook removes a webhook, and what it was still to be told.
func (c *Client) DeleteWebhook(ctx context.Context, name string) error {
	return c.onWebhook(ctx, http.MethodDelete, name, "", nil, nil)
}

// WebhookConfig is what of a webhook is secret.
func (c *Client) WebhookConfig(ctx context.Context, name string) (*CallbackConfig, error) {
	var config CallbackConfig
	return &config, c.onWebhook(ctx, http.MethodPost, name, "/getCallbackConfig", nil, &config)
}

// PingWebhook sends a webhook an event. It returns the id of that.
func (c *Client) PingWebhook(ctx context.Context, name string) (string, error) {
	var info eventInfo
	err := c.onWebhook(ctx, http.MethodPost, name, "/ping", nil, &info)
	return info.ID, err
}

// WebhookEvents lists the last attempts to tell a webhook of events, the newest
// first.
func (c *Client) WebhookEvents(ctx context.Context, name string) ([]WebhookEvent, error) {
	var p page[WebhookEvent]
	err := c.onWebhook(ctx, http.MethodPost, name, "/listEvents", nil, &p)
	return p.Value, err
}

// RedeliverWebhook sends a webhook events again. It returns how many.
func (c *Client) RedeliverWebhook(ctx context.Context, name string, d Redelivery) (int, error) {
	var done Redelivered
	err := c.onWebhook(ctx, http.MethodPost, name, "/redeliver", d, &done)
	return done.Count, err
}

func (c *Client) onWebhook(ctx context.Context, method, name, operation string, in, out any) error {
	return c.call(ctx, method, ourRoot+"/webhooks/"+url.PathEscape(name)+operation, in, out)
}
