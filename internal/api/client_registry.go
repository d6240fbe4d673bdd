package api

import (
	"context"
	"net/http"

	"acrd/internal/acr"
)

// Policies are those of the registry.
func (c *Client) Policies(ctx context.Context) (*acr.Policies, error) {
	var r registry
	return &r.Properties.Policies, c.call(ctx, http.MethodGet, ourRoot, nil, &r)
}

// ChangePolicies changes what the body names.
func (c *Client) ChangePolicies(ctx context.Context, policies any) (*acr.Policies, error) {
	var r registry
	patch := map[string]any{"properties": map[string]any{"policies": policies}}
	return &r.Properties.Policies, c.call(ctx, http.MethodPatch, ourRoot, patch, &r)
}
