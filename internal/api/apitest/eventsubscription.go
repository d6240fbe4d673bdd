package apitest

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// An EventSubscription is what of the resource a poller's user looks at.
type EventSubscription struct {
	Name       string `json:"name"`
	Properties struct {
		ProvisioningState string `json:"provisioningState"`
	} `json:"properties"`
}

// BeginEventSubscription makes an event subscription as clients of Event Grid
// do, for which there is no module: with the poller that all of Azure's have.
func BeginEventSubscription(t *testing.T, endpoint, owner, name, body string) *runtime.Poller[EventSubscription] {
	t.Helper()
	client, err := arm.NewClient("acrd/apitest", "v1.0.0", token(owner), clientOptions(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	at := endpoint + "/subscriptions/s/resourceGroups/" + group + "/providers/Microsoft.ContainerRegistry/registries/" + registry +
		"/providers/Microsoft.EventGrid/eventSubscriptions/" + name + "?api-version=2022-06-15"
	req, err := runtime.NewRequest(t.Context(), http.MethodPut, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.SetBody(streaming.NopCloser(bytes.NewReader([]byte(body))), "application/json"); err != nil {
		t.Fatal(err)
	}
	resp, err := client.Pipeline().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("PUT %s: %d %s", name, resp.StatusCode, b)
	}
	p, err := runtime.NewPoller[EventSubscription](resp, client.Pipeline(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
