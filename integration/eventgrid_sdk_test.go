package integration

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEventGridSDK drives event subscriptions with Microsoft's client of Event
// Grid, which npm has: what it writes is understood, and what it is told it
// understands, its pollers too.
func TestEventGridSDK(t *testing.T) {
	need(t)
	dir := npm(t)
	hook := newDocumented(t, echoCode)
	d := start(t, "--allow-private", strings.TrimPrefix(hook.URL, "http://"))
	token, err := os.ReadFile(filepath.Join(d.state, "token"))
	ok(t, err)
	script, err := filepath.Abs("testdata/npm/subscribe.mjs")
	ok(t, err)
	cmd := exec.CommandContext(t.Context(), "node", script)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(os.Environ(), "ENDPOINT=http://"+d.registry, "TOKEN="+strings.TrimSpace(string(token)), "HOOK="+hook.URL)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("subscribe: %v\n%s", err, &stderr)
	}
	var got map[string]any
	ok(t, json.Unmarshal(out, &got))
	for _, made := range []string{"created", "updated", "queue"} {
		delete(got[made].(map[string]any), "systemData")
	}
	if diff := cmp.Diff(wantOfSDK(t, hook.URL), got); diff != "" {
		t.Errorf("the client was told (-want +got):\n%s", diff)
	}
	hook.wait(t, "SubscriptionDeletion")
}

// wantOfSDK is what the script is to write.
func wantOfSDK(t *testing.T, hook string) map[string]any {
	t.Helper()
	const registry = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/reg"
	text := strings.NewReplacer("HOOK", hook, "SUBSCRIPTIONS", registry+"/providers/Microsoft.EventGrid/eventSubscriptions", "REGISTRY", registry,
		"STORAGE", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc").Replace(`{
	"created": {"id": "SUBSCRIPTIONS/js-hook", "name": "js-hook", "type": "Microsoft.EventGrid/eventSubscriptions", "topic": "REGISTRY", "provisioningState": "Succeeded",
		"labels": ["a"], "eventDeliverySchema": "EventGridSchema", "expirationTimeUtc": "2099-01-01T00:00:00.000Z",
		"retryPolicy": {"maxDeliveryAttempts": 3, "eventTimeToLiveInMinutes": 10},
		"deadLetterDestination": {"endpointType": "StorageBlob", "resourceId": "STORAGE", "blobContainerName": "dead"},
		"destination": {"endpointType": "WebHook", "endpointBaseUrl": "HOOK/", "maxEventsPerBatch": 2, "preferredBatchSizeInKilobytes": 64,
			"deliveryAttributeMappings": [{"name": "X-Static", "type": "Static", "isSecret": true}, {"name": "X-Dynamic", "type": "Dynamic", "sourceField": "data.target.tag"}]},
		"filter": {"subjectBeginsWith": "app", "subjectEndsWith": "", "isSubjectCaseSensitive": true, "enableAdvancedFilteringOnArrays": true,
			"includedEventTypes": ["Microsoft.ContainerRegistry.ImagePushed"],
			"advancedFilters": [
				{"operatorType": "StringIn", "key": "data.target.tag", "values": ["v1"]},
				{"operatorType": "NumberInRange", "key": "data.target.size", "values": [[1, 1000]]},
				{"operatorType": "BoolEquals", "key": "data.x", "value": false},
				{"operatorType": "IsNullOrUndefined", "key": "data.y"}]}},
	"url": {"endpointUrl": "HOOK/?code=SECRET"},
	"attributes": {"value": [{"name": "X-Static", "type": "Static", "value": "SECRET", "isSecret": true}, {"name": "X-Dynamic", "type": "Dynamic", "sourceField": "data.target.tag"}]},
	"queue": {"id": "SUBSCRIPTIONS/js-queue", "name": "js-queue", "type": "Microsoft.EventGrid/eventSubscriptions", "topic": "REGISTRY", "provisioningState": "Succeeded",
		"labels": [], "eventDeliverySchema": "EventGridSchema", "retryPolicy": {"maxDeliveryAttempts": 30, "eventTimeToLiveInMinutes": 1440},
		"destination": {"endpointType": "StorageQueue", "resourceId": "STORAGE", "queueName": "q", "queueMessageTimeToLiveInSeconds": 300},
		"filter": {"subjectBeginsWith": "", "subjectEndsWith": "", "isSubjectCaseSensitive": false, "enableAdvancedFilteringOnArrays": false,
			"includedEventTypes": ["Microsoft.ContainerRegistry.ImagePushed", "Microsoft.ContainerRegistry.ImageDeleted", "Microsoft.ContainerRegistry.ChartPushed", "Microsoft.ContainerRegistry.ChartDeleted"]}},
	"listed": ["js-hook", "js-queue"],
	"faults": {"status": 400, "targets": ["name", "properties.destination.properties.endpointUrl"]},
	"gone": {"status": 404, "code": "ResourceNotFound"}}`)
	var want map[string]any
	ok(t, json.Unmarshal([]byte(text), &want))
	updated := map[string]any{}
	b, err := json.Marshal(want["created"])
	ok(t, err)
	ok(t, json.Unmarshal(b, &updated))
	updated["labels"] = []any{"b"}
	updated["filter"].(map[string]any)["subjectEndsWith"] = ":v1"
	want["updated"] = updated
	return want
}
