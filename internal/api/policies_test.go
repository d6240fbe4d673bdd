package api_test

import (
	"testing"

	"acrd/internal/acr"
)

// rules are policies in memory.
type rules struct{ acr.Policies }

func (r *rules) ChangePolicies(change func(*acr.Policies) error) (acr.Policies, error) {
	now := r.Policies
	if err := change(&now); err != nil {
		return r.Policies, err
	}
	r.Policies = now
	return now, nil
}

type keeper struct{ *rules }

func (k keeper) Policies() acr.Policies { return k.rules.Policies }

// TestPolicies: a client may write back the registry as it has read it, and
// changes policies and nothing else.
func TestPolicies(t *testing.T) {
	d := newDesk(t)
	d.want(400, "PATCH", root, `{}`, "no policies")
	d.api.Policies = keeper{&rules{acr.NoPolicies()}}
	const on = `"quarantinePolicy":{"status":"enabled"}`
	d.want(200, "PATCH", root, `{"properties": {"policies": {"quarantinePolicy": {"status": "enabled"}}}}`, on)
	read := d.want(200, "GET", root, ``, on)
	d.want(200, "PUT", root, read, on)
	d.want(200, "PATCH", root, `{}`, on)
	for body, says := range map[string]string{
		`{"properties": {"policies": {"quarantinePolicy": {"status": "on"}}}}`: `"target":"properties.policies.quarantinePolicy.status"`,
		`{"properties": {"policies": {"quarantinePolicy": null}}}`:             `"target":"properties.policies.quarantinePolicy"`,
		`{"properties": {"policies": {"trustPolicy": {"status": "enabled"}}}}`: `"target":"properties.policies.trustPolicy"`,
		`{"properties": {"adminUserEnabled": true}, "tags": {"a": "b"}}`:       `"target":"tags"`,
		`{"properties": []}`: `"target":"properties"`,
		`[]`:                 "InvalidRequestContent",
	} {
		d.want(400, "PATCH", root, body, says)
	}
	d.want(200, "GET", root, ``, on)
	d.want(200, "PATCH", root, `{"properties": {"policies": {"quarantinePolicy": {"status": "disabled"}}}}`, `"disabled"`)
}
