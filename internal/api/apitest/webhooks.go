package apitest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	acr "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerregistry/armcontainerregistry"
)

const hookName = "sdkwebhook"

func (d *desk) webhooks() {
	hooks := d.NewWebhooksClient()
	p, err := hooks.BeginCreate(d.Context(), group, registry, hookName, acr.WebhookCreateParameters{
		Location: new("westus"), Tags: map[string]*string{"team": new("web")},
		Properties: &acr.WebhookPropertiesCreateParameters{
			ServiceURI: new("http://hooks.invalid/?code=" + canary), CustomHeaders: map[string]*string{"Authorization": new("Basic " + canary)},
			Actions: []*acr.WebhookAction{to.Ptr(acr.WebhookActionPush), to.Ptr(acr.WebhookActionQuarantine)},
			Scope:   new("sdk/app:*"), Status: to.Ptr(acr.WebhookStatusEnabled),
		},
	}, nil)
	created := done(d, p, err).Webhook
	got, err := hooks.Get(d.Context(), group, registry, hookName, nil)
	must(d, got, err)
	for what, w := range map[string]acr.Webhook{"created": created, "got": got.Webhook} {
		b, err := json.Marshal(w)
		if text := string(must(d, b, err)); strings.Contains(text, canary) || *w.Name != hookName || *w.Location != "westus" || *w.Tags["team"] != "web" ||
			*w.Type != "Microsoft.ContainerRegistry/registries/webhooks" || !strings.HasSuffix(*w.ID, "/registries/"+registry+"/webhooks/"+hookName) ||
			*w.Properties.ProvisioningState != acr.ProvisioningStateSucceeded || *w.Properties.Status != acr.WebhookStatusEnabled ||
			*w.Properties.Scope != "sdk/app:*" || len(w.Properties.Actions) != 2 || w.SystemData.CreatedAt == nil {
			d.Errorf("%s: %s", what, text)
		}
	}
	d.updateWebhook()
	config, err := hooks.GetCallbackConfig(d.Context(), group, registry, hookName, nil)
	if must(d, config, err); *config.ServiceURI != "http://hooks.invalid/?code="+canary || *config.CustomHeaders["X-Key"] != canary || len(config.CustomHeaders) != 1 {
		d.Errorf("config %s %v", *config.ServiceURI, config.CustomHeaders)
	}
	d.pingWebhook()
	var names []string
	for pager := hooks.NewListPager(group, registry, nil); pager.More(); {
		p, err := pager.NextPage(d.Context())
		for _, w := range must(d, p, err).Value {
			names = append(names, *w.Name)
		}
	}
	if len(names) != 1 || names[0] != hookName {
		d.Errorf("webhooks %v", names)
	}
	for range 2 { // the second time there is none any more
		del, err := hooks.BeginDelete(d.Context(), group, registry, hookName, nil)
		done(d, del, err)
	}
	_, err = hooks.Get(d.Context(), group, registry, hookName, nil)
	d.wantError(err, http.StatusNotFound, "ResourceNotFound")
	_, err = hooks.Ping(d.Context(), group, registry, hookName, nil)
	d.wantError(err, http.StatusNotFound, "ResourceNotFound")
}

// updateWebhook replaces the headers, and leaves the address.
func (d *desk) updateWebhook() {
	p, err := d.NewWebhooksClient().BeginUpdate(d.Context(), group, registry, hookName, acr.WebhookUpdateParameters{
		Tags: map[string]*string{"team": new("api")},
		Properties: &acr.WebhookPropertiesUpdateParameters{
			CustomHeaders: map[string]*string{"X-Key": new(canary)}, Status: to.Ptr(acr.WebhookStatusDisabled),
			Actions: []*acr.WebhookAction{to.Ptr(acr.WebhookActionDelete)},
		},
	}, nil)
	w := done(d, p, err).Webhook
	if *w.Properties.Status != acr.WebhookStatusDisabled || *w.Properties.Scope != "sdk/app:*" || *w.Tags["team"] != "api" ||
		len(w.Properties.Actions) != 1 || *w.Properties.Actions[0] != acr.WebhookActionDelete {
		b, _ := json.Marshal(w)
		d.Errorf("updated: %s", b)
	}
}

// pingWebhook finds the ping among the events, once it was tried: nobody is
// there to answer.
func (d *desk) pingWebhook() {
	hooks := d.NewWebhooksClient()
	ping, err := hooks.Ping(d.Context(), group, registry, hookName, nil)
	id := *must(d, ping, err).ID
	for range 100 {
		p, err := hooks.NewListEventsPager(group, registry, hookName, nil).NextPage(d.Context())
		for _, e := range must(d, p, err).Value {
			if *e.ID != id {
				continue
			}
			c := e.EventRequestMessage.Content
			if *c.Action != "ping" || *c.ID != id || c.Timestamp == nil || e.EventResponseMessage == nil {
				d.Errorf("ping %+v", e)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.Error("listEvents does not have the ping")
}

// policies switches the quarantine on and off.
func (d *desk) policies() {
	registries := d.NewRegistriesClient()
	for _, status := range []acr.PolicyStatus{acr.PolicyStatusEnabled, acr.PolicyStatusDisabled} {
		p, err := registries.BeginUpdate(d.Context(), group, registry, acr.RegistryUpdateParameters{
			Properties: &acr.RegistryPropertiesUpdateParameters{Policies: &acr.Policies{QuarantinePolicy: &acr.QuarantinePolicy{Status: &status}}},
		}, nil)
		updated := done(d, p, err)
		got, err := registries.Get(d.Context(), group, registry, nil)
		must(d, got, err)
		for what, r := range map[string]acr.Registry{"updated": updated.Registry, "got": got.Registry} {
			if now := *r.Properties.Policies.QuarantinePolicy.Status; now != status {
				d.Errorf("%s: %s, want %s", what, now, status)
			}
		}
	}
	_, err := registries.BeginUpdate(d.Context(), group, registry, acr.RegistryUpdateParameters{
		Properties: &acr.RegistryPropertiesUpdateParameters{AdminUserEnabled: new(true)},
	}, nil)
	d.wantError(err, http.StatusBadRequest, "InvalidProperty", "properties.adminUserEnabled")
}

func (d *desk) webhookFaults() {
	hooks := d.NewWebhooksClient()
	_, err := hooks.BeginCreate(d.Context(), group, registry, "a-b", acr.WebhookCreateParameters{
		Location: new(""),
		Properties: &acr.WebhookPropertiesCreateParameters{
			ServiceURI: new("ftp://h.invalid"), Actions: []*acr.WebhookAction{to.Ptr(acr.WebhookAction("pull"))}, Scope: new("A:*"),
			CustomHeaders: map[string]*string{"Host": new("other")},
		},
	}, nil)
	d.wantError(err, http.StatusBadRequest, "BadRequest", `"name"`, `"location"`, "properties.serviceUri", "properties.actions[0]", "properties.scope", "properties.customHeaders.Host")
}
