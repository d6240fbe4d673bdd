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

	d.want(200, "PATCH", root, `{"properties": {"policies": {"softDeletePolicy": {"status": "enabled", "retentionDays": 30}}}}`,
		`"softDeletePolicy":{"status":"enabled","retentionDays":30,"lastUpdatedTime":"2`)
	read = d.want(200, "PATCH", root, `{"properties": {"policies": {"retentionPolicy": {"days": 0}}}}`, `"retentionPolicy":{"status":"disabled","days":0,"lastUpdatedTime":"2`)
	d.want(200, "PUT", root, read, `"retentionDays":30`)
	for body, target := range map[string]string{
		`{"softDeletePolicy": {"retentionDays": 0}}`:                       "softDeletePolicy.retentionDays",
		`{"softDeletePolicy": {"retentionDays": 91}}`:                      "softDeletePolicy.retentionDays",
		`{"softDeletePolicy": {"retentionDays": null}}`:                    "softDeletePolicy.retentionDays",
		`{"retentionPolicy": {"days": 1.5}}`:                               "retentionPolicy.days",
		`{"retentionPolicy": {"lastUpdatedTime": "2020-01-01T00:00:00Z"}}`: "retentionPolicy.lastUpdatedTime",
		`{"retentionPolicy": {"status": "on"}}`:                            "retentionPolicy.status",
	} {
		d.want(400, "PATCH", root, `{"properties": {"policies": `+body+`}}`, `"target":"properties.policies.`+target+`"`)
	}
}
