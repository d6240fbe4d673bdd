package api

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/messaging"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/eventgrid/azeventgrid"
)

// TestPublishSDK has Azure's own publisher publish, in both schemas.
func TestPublishSDK(t *testing.T) {
	o := &outbox{}
	s := httptest.NewTLSServer((&Gate{Owner: "owners", Tokens: keys{}}).Publish(&Publisher{Events: o, Registry: ResourceID}))
	t.Cleanup(s.Close)
	c, err := azeventgrid.NewClientWithSharedKeyCredential(s.URL+PublishPath, azcore.NewKeyCredential(tokenPrefix+string(ScopePublish)), &azeventgrid.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: s.Client(), Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.PublishEvents(t.Context(), []azeventgrid.Event{{
		ID: new("1"), Subject: new("s"), EventType: new("com.example.x"), EventTime: new(time.Now()), DataVersion: new("1.0"), Data: map[string]int{"a": 1},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := messaging.NewCloudEvent("shop", "com.example.x", map[string]int{"a": 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PublishCloudEvents(t.Context(), []messaging.CloudEvent{e}, nil); err != nil {
		t.Fatal(err)
	}
	if len(o.events) != 2 || o.events[0].ID != "1" || o.events[1].ID != e.ID || o.events[1].Topic != "shop" || string(o.events[1].Data) != `{"a":1}` {
		t.Errorf("events %+v", o.events)
	}
}
