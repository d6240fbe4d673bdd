package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// EventSubscriptions lists all event subscriptions that a $filter is for.
func (c *Client) EventSubscriptions(ctx context.Context, filter string) ([]*EventSubscription, error) {
	query := ""
	if filter != "" {
		query = "?" + url.Values{"$filter": {filter}}.Encode()
	}
	return pages[*EventSubscription](ctx, c, eventSubscriptionsPath+query)
}

// EventSubscription looks up an event subscription.
func (c *Client) EventSubscription(ctx context.Context, name string) (*EventSubscription, error) {
	var e EventSubscription
	return &e, c.onEventSubscription(ctx, http.MethodGet, name, "", nil, &e)
}

// PutEventSubscription creates an event subscription or replaces it. It returns
// when the receiver was asked.
func (c *Client) PutEventSubscription(ctx context.Context, name string, body any) (*EventSubscription, error) {
	var e EventSubscription
	return &e, c.onEventSubscription(ctx, http.MethodPut, name, "", body, &e)
}

// PatchEventSubscription changes what the body names.
func (c *Client) PatchEventSubscription(ctx context.Context, name string, body any) (*EventSubscription, error) {
	var e EventSubscription
	return &e, c.onEventSubscription(ctx, http.MethodPatch, name, "", body, &e)
}

// DeleteEventSubscription removes an event subscription, and what it was still
// to be told.
func (c *Client) DeleteEventSubscription(ctx context.Context, name string) error {
	return c.onEventSubscription(ctx, http.MethodDelete, name, "", nil, nil)
}

// FullURL is an event subscription's address with what is secret in it.
func (c *Client) FullURL(ctx context.Context, name string) (*FullURL, error) {
	var u FullURL
	return &u, c.onEventSubscription(ctx, http.MethodPost, name, "/getFullUrl", nil, &u)
}

// DeliveryAttributes are an event subscription's, with their secrets.
func (c *Client) DeliveryAttributes(ctx context.Context, name string) ([]DeliveryAttribute, error) {
	var p page[DeliveryAttribute]
	err := c.onEventSubscription(ctx, http.MethodPost, name, "/getDeliveryAttributes", nil, &p)
	return p.Value, err
}

// DeliveryHistory lists the newest attempts to deliver events, at most top.
func (c *Client) DeliveryHistory(ctx context.Context, name string, top int) ([]WebhookEvent, error) {
	var p page[WebhookEvent]
	err := c.onEventSubscription(ctx, http.MethodPost, name, "/listEvents?$top="+strconv.Itoa(top), nil, &p)
	return p.Value, err
}

// RedeliverEvents sends events again. It returns how many.
func (c *Client) RedeliverEvents(ctx context.Context, name string, d Redelivery) (int, error) {
	var done Redelivered
	err := c.onEventSubscription(ctx, http.MethodPost, name, "/redeliver", d, &done)
	return done.Count, err
}

func (c *Client) onEventSubscription(ctx context.Context, method, name, operation string, in, out any) error {
	return c.call(ctx, method, ourRoot+eventSubscriptionsPath+"/"+url.PathEscape(name)+operation, in, out)
}
