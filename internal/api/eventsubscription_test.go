package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/api"
	"acrd/internal/api/apitest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/google/go-cmp/cmp"
)

const subscriptions = root + "/providers/Microsoft.EventGrid/eventSubscriptions"

const wholeSubscription = `{"properties": {
	"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "https://h.example/in?code=CANARY", "maxEventsPerBatch": 10, "preferredBatchSizeInKilobytes": 256,
		"deliveryAttributeMappings": [
			{"name": "Authorization", "type": "Static", "properties": {"value": "CANARY", "isSecret": true}},
			{"name": "X-Plain", "type": "Static", "properties": {"value": "plain"}},
			{"name": "X-Tag", "type": "Dynamic", "properties": {"sourceField": "data.target.tag"}}],
		"secret": "bearer", "sign": {"standard": ["whsec"], "hub": "hub"}, "insecure": true}},
	"filter": {"subjectBeginsWith": "app", "subjectEndsWith": ":v1", "isSubjectCaseSensitive": true, "enableAdvancedFilteringOnArrays": true,
		"includedEventTypes": ["Microsoft.ContainerRegistry.ImagePushed", "Acrd.RunFailed"],
		"advancedFilters": [
			{"operatorType": "stringin", "key": "data.target.tag", "values": ["v1", "v2"]},
			{"operatorType": "NumberInRange", "key": "data.target.size", "values": [[1, 10], [20, 30]]},
			{"operatorType": "NumberGreaterThan", "key": "data.target.size", "value": 5},
			{"operatorType": "BoolEquals", "key": "data.ok", "value": false},
			{"operatorType": "IsNotNull", "key": "data.ok"}]},
	"eventDeliverySchema": "cloudeventschemav1_0", "labels": ["a", "b"], "expirationTimeUtc": "2099-01-31T12:00:00+00:00",
	"retryPolicy": {"maxDeliveryAttempts": 5, "eventTimeToLiveInMinutes": 60},
	"deadLetterDestination": {"endpointType": "StorageBlob", "properties": {"resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc", "blobContainerName": "dead"}},
	"ordered": true, "inFlight": 2, "statuses": {"403": "retry", "410": "dead"}}}`

// TestEventSubscriptionLife has every field there and back, and tells secrets
// only where they are asked for.
func TestEventSubscriptionLife(t *testing.T) {
	d := newDesk(t)
	path := subscriptions + "/Sub-1"
	d.want(404, "GET", path, ``, "ResourceNotFound")
	d.want(404, "PATCH", path, `{}`, "ResourceNotFound")
	d.want(204, "DELETE", path, ``)
	d.want(201, "PUT", path, wholeSubscription, `"name":"Sub-1"`, `"type":"Microsoft.EventGrid/eventSubscriptions"`, `"provisioningState":"Succeeded"`)
	d.want(200, "PUT", strings.ToLower(subscriptions)+"/sub-1", wholeSubscription, `"name":"Sub-1"`)
	var got, want map[string]any
	text := d.want(200, "GET", path+"?api-version=2022-06-15", ``)
	if strings.Contains(text, "CANARY") {
		t.Errorf("a secret is told: %s", text)
	}
	shown := strings.NewReplacer(
		`"endpointUrl": "https://h.example/in?code=CANARY"`, `"endpointBaseUrl": "https://h.example/in"`, `"value": "CANARY", `, ``, "stringin", "StringIn",
		"cloudeventschemav1_0", "CloudEventSchemaV1_0", "+00:00", "Z", `{"properties": {`, `{"topic": "`+root+`", "provisioningState": "Succeeded", `).Replace(strings.TrimSuffix(wholeSubscription, "}"))
	shown = strings.Replace(shown, `"properties": {"topic": "`, `"properties": {"`, 1)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(shown), &want); err != nil {
		t.Fatalf("%v: %s", err, shown)
	}
	if diff := cmp.Diff(want, got["properties"]); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	d.want(200, "POST", path+"/getFullUrl", ``, `{"endpointUrl":"https://h.example/in?code=CANARY"}`)
	d.want(200, "POST", path+"/getDeliveryAttributes", ``, `{"name":"Authorization","type":"Static","properties":{"value":"CANARY","isSecret":true}}`, `"sourceField":"data.target.tag"`)
	// What was read can be written, and keeps what could not be read.
	d.want(200, "PUT", path, text)
	d.want(200, "POST", path+"/getFullUrl", ``, "CANARY")
	d.want(200, "POST", path+"/getDeliveryAttributes", ``, "CANARY")
	if text := d.want(200, "GET", subscriptions, ``, "Sub-1"); strings.Contains(text, "CANARY") {
		t.Errorf("a secret is told: %s", text)
	}
	d.want(200, "DELETE", path, ``)
	d.want(404, "POST", path+"/getFullUrl", ``, "ResourceNotFound")
}

// TestEventSubscriptionPatch says what absent and null mean. Event Grid's
// patches have no properties around them.
func TestEventSubscriptionPatch(t *testing.T) {
	d := newDesk(t)
	path := subscriptions + "/sub-1"
	d.want(201, "PUT", path, wholeSubscription)
	for _, c := range []struct {
		patch    string
		has, not []string
	}{
		{`{}`, []string{`"labels":["a","b"]`, `"maxEventsPerBatch":10`}, nil},
		{`{"labels": ["c"], "filter": {"subjectEndsWith": ""}}`, []string{`"labels":["c"]`, `"subjectBeginsWith":"app"`, `"subjectEndsWith":""`}, nil},
		{`{"properties": {"filter": {"includedEventTypes": null, "advancedFilters": null}}}`, []string{`["Microsoft.ContainerRegistry.ImagePushed","Microsoft.ContainerRegistry.ImageDeleted","Microsoft.ContainerRegistry.ChartPushed","Microsoft.ContainerRegistry.ChartDeleted"]`}, []string{"advancedFilters"}},
		{`{"destination": {"endpointType": "WebHook", "properties": {"maxEventsPerBatch": 20}}}`, []string{`"maxEventsPerBatch":20`, `"endpointBaseUrl":"https://h.example/in"`, "X-Tag"}, nil},
		{`{"deadLetterDestination": null, "expirationTimeUtc": null, "ordered": false, "statuses": null}`, nil, []string{"deadLetter", "expiration", "ordered", "statuses"}},
		{`{"retryPolicy": {"maxDeliveryAttempts": 7}}`, []string{`{"maxDeliveryAttempts":7,"eventTimeToLiveInMinutes":60}`}, nil},
		{`{"destination": {"endpointType": "NATS", "properties": {"endpointUrl": "nats://n.example:4222/acr"}}}`, []string{`"endpointType":"NATS"`, `"endpointBaseUrl":"nats://n.example:4222/acr"`}, []string{"X-Tag", "h.example"}},
	} {
		text := d.want(200, "PATCH", path, c.patch, c.has...)
		for _, not := range append(c.not, "CANARY") {
			if strings.Contains(text, not) {
				t.Errorf("%s: %s: has %s", c.patch, text, not)
			}
		}
	}
}

// TestEventSubscriptionFaults wants everything that is wrong, by its field.
func TestEventSubscriptionFaults(t *testing.T) {
	d := newDesk(t)
	hook := `"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "https://h.example/"}}`
	filters := func(list string) string {
		return `{"properties": {` + hook + `, "filter": {"advancedFilters": [` + list + `]}}}`
	}
	many := func(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	to := func(kind, properties string) string {
		return `{"properties": {"destination": {"endpointType": "` + kind + `", "properties": {` + properties + `}}}}`
	}
	for _, c := range []struct {
		name, body string
		targets    []string
	}{
		{"ab", `{"properties": {` + hook + `}}`, []string{"name"}},
		{"a_b", `{"properties": {` + hook + `}}`, []string{"name"}},
		{strings.Repeat("a", 65), `{"properties": {` + hook + `}}`, []string{"name"}},
		{"sub", `{}`, []string{"properties.destination"}},
		{"sub", to("Fax", ``), []string{"properties.destination.endpointType"}},
		{"sub", to("Task", `"resourceId": "/tasks/none"`), []string{"properties.destination.properties.resourceId"}},
		{"sub", to("Task", ``), []string{"properties.destination.properties.resourceId"}},
		{"sub", to("StorageBlob", ``), []string{"properties.destination.endpointType"}}, // dead letters only
		{"sub", to("WebHook", ``), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("WebHook", `"endpointUrl": "http://h.example"`), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("WebHook", `"endpointUrl": "ftp://h.example"`), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("WebHook", `"endpointUrl": "https://u:p@h.example"`), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("WebHook", `"endpointUrl": "https:///x"`), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("AzureFunction", `"resourceId": "/subscriptions/s/x"`), []string{"properties.destination.properties.endpointUrl"}},
		{"sub", to("StorageQueue", `"resourceId": "/subscriptions/s/x", "queueName": "q", "queueMessageTimeToLiveInSeconds": 0`), []string{"properties.destination.properties.resourceId", "properties.destination.properties.queueMessageTimeToLiveInSeconds"}},
		{"sub", to("ServiceBusQueue", `"resourceId": "/providers/Microsoft.ServiceBus/namespaces/n/queues/q", "deliveryAttributeMappings": [
			{"name": "SessionId", "type": "Static", "properties": {"value": "1"}}, {"name": "MessageId", "type": "Dynamic", "properties": {"sourceField": "id"}}]`), []string{"properties.destination.properties.deliveryAttributeMappings"}},
		{"sub", to("WebHook", `"endpointUrl": "https://h.example", "maxEventsPerBatch": 5001, "preferredBatchSizeInKilobytes": 1025, "ca": "none", "azureActiveDirectoryTenantId": "t",
			"deliveryAttributeMappings": [{"name": "aeg-x", "type": "Static", "properties": {"value": ""}}, {"name": "Host", "type": "Static", "properties": {"value": "h"}},
				{"name": "A", "type": "Static"}, {"name": "a", "type": "Dynamic"}, {"name": "B", "type": "Other"}, {"name": "C", "type": "Static", "properties": {"value": "x\ny"}}]`), []string{
			"properties.destination.properties.azureActiveDirectoryTenantId", "properties.destination.properties.maxEventsPerBatch",
			"properties.destination.properties.preferredBatchSizeInKilobytes", "properties.destination.properties.ca",
			"properties.destination.properties.deliveryAttributeMappings[0].name", "properties.destination.properties.deliveryAttributeMappings[1].name",
			"properties.destination.properties.deliveryAttributeMappings[2].properties.value", "properties.destination.properties.deliveryAttributeMappings[3].name",
			"properties.destination.properties.deliveryAttributeMappings[3].properties.sourceField", "properties.destination.properties.deliveryAttributeMappings[4].type",
			"properties.destination.properties.deliveryAttributeMappings[5].name",
		}},
		{"sub", to("WebHook", `"endpointUrl": "https://h.example", "deliveryAttributeMappings": [`+many(11, `{"name": "A", "type": "Static", "properties": {"value": "v"}}`)+`]`), []string{"properties.destination.properties.deliveryAttributeMappings"}},
		{"sub", `{"properties": {` + hook + `, "eventDeliverySchema": "CustomInputSchema", "expirationTimeUtc": "2001-01-01T00:00:00Z", "inFlight": 101, "statuses": {"x": "retry", "500": "ignore"},
			"retryPolicy": {"maxDeliveryAttempts": 31, "eventTimeToLiveInMinutes": 1441}, "deliveryWithResourceIdentity": {}, "deadLetterWithResourceIdentity": {},
			"deadLetterDestination": {"endpointType": "WebHook"}, "filter": {"subjectBeginsWith": "` + strings.Repeat("a", 513) + `", "includedEventTypes": [""]}}}`, []string{
			"properties.eventDeliverySchema", "properties.expirationTimeUtc", "properties.inFlight", "properties.statuses.x", "properties.statuses.500", "properties.retryPolicy.maxDeliveryAttempts",
			"properties.retryPolicy.eventTimeToLiveInMinutes", "properties.deliveryWithResourceIdentity", "properties.deadLetterWithResourceIdentity",
			"properties.deadLetterDestination.endpointType", "properties.filter.subjectBeginsWith", "properties.filter.includedEventTypes[0]",
		}},
		{"sub", filters(`{"operatorType": "StringLike", "key": "subject", "values": ["a"]}, {"operatorType": "StringIn", "key": "", "values": []}, {"operatorType": "NumberIn", "key": "subject.x", "values": ["1", 2]},
			{"operatorType": "NumberLessThan", "key": "data.x"}, {"operatorType": "BoolEquals", "key": "data..x", "value": "true"}, {"operatorType": "NumberInRange", "key": "data.x", "values": [[2, 1]]},
			{"operatorType": "StringIn", "key": "data.x", "values": ["` + strings.Repeat("a", 513) + `"]}`), []string{
			"properties.filter.advancedFilters[0].operatorType", "properties.filter.advancedFilters[1].key", "properties.filter.advancedFilters[1].values",
			"properties.filter.advancedFilters[2].key", "properties.filter.advancedFilters[2].values[0]", "properties.filter.advancedFilters[3].value",
			"properties.filter.advancedFilters[4].key", "properties.filter.advancedFilters[4].value", "properties.filter.advancedFilters[5].values[0]",
			"properties.filter.advancedFilters[6].values[0]",
		}},
		{"sub", filters(many(26, `{"operatorType": "IsNotNull", "key": "data.x"}`)), []string{"properties.filter.advancedFilters"}},
		{"sub", filters(`{"operatorType": "StringIn", "key": "data.x", "values": [` + many(25, `"a"`) + `]}, {"operatorType": "NumberIn", "key": "data.x", "values": [1]}`), []string{"properties.filter.advancedFilters"}},
	} {
		text := d.want(400, "PUT", subscriptions+"/"+c.name, c.body)
		for _, target := range c.targets {
			if !strings.Contains(text, `"target":"`+target+`"`) {
				t.Errorf("%s %s: %s: no fault at %s", c.name, c.body, text, target)
			}
		}
	}
	d.want(400, "PUT", subscriptions+"/sub", `{"properties": {"labels": "x"}}`, "InvalidRequestContent")
	d.want(201, "PUT", subscriptions+"/sub", filters(`{"operatorType": "StringIn", "key": "data.x", "values": [`+many(25, `"a"`)+`]}`))
}

// TestDestinations has one of each type, and where Azure's names lead.
func TestDestinations(t *testing.T) {
	d := newDesk(t)
	d.want(201, "PUT", root+"/tasks/react", encodedTask)
	account := `"resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc"`
	for i, c := range []struct{ kind, properties, says string }{
		{"WebHook", `"endpointUrl": "http://h.example:8080/in", "insecure": true`, `"maxEventsPerBatch":1,"preferredBatchSizeInKilobytes":64`},
		{"azurefunction", `"endpointUrl": "https://f.example/runtime/webhooks/EventGrid?code=CANARY"`, `"endpointType":"AzureFunction"`},
		{"StorageQueue", account + `, "queueName": "q", "queueMessageTimeToLiveInSeconds": -1`, `"queueName":"q","queueMessageTimeToLiveInSeconds":-1`},
		{"StorageQueue", `"endpointUrl": "http://127.0.0.1:10001/devstoreaccount1/q", "secret": "azurite"`, `"secret":"azurite"`},
		{"ServiceBusQueue", `"resourceId": "/x/Microsoft.ServiceBus/namespaces/n/queues/q"`, `/namespaces/n/queues/q"`},
		{"ServiceBusTopic", `"resourceId": "/x/Microsoft.ServiceBus/namespaces/n/topics/t"`, `/namespaces/n/topics/t"`},
		{"EventHub", `"resourceId": "/x/Microsoft.EventHub/namespaces/n/eventhubs/h"`, `/namespaces/n/eventhubs/h"`},
		{"AMQP", `"endpointUrl": "amqp://rabbit.example:5672/queue/x"`, `amqp://`},
		{"NATS", `"endpointUrl": "tls://n.example/acr.>"`, `tls://`},
		{"Kafka", `"endpointUrl": "kafka://k.example:9092/topic"`, `kafka://`},
		{"Task", `"resourceId": "` + root + `/tasks/react"`, `"endpointBaseUrl":"task:react"`},
		{"Task", `"endpointUrl": "task:react"`, `"endpointBaseUrl":"task:react"`},
	} {
		text := d.want(201, "PUT", fmt.Sprintf("%s/sub-%d", subscriptions, i), `{"properties": {"destination": {"endpointType": "`+c.kind+`", "properties": {`+c.properties+`}}}}`, c.says)
		if strings.Contains(text, "CANARY") {
			t.Errorf("a secret is told: %s", text)
		}
	}
	for _, filter := range []struct {
		text string
		n    int
	}{{"", 12}, {"contains(name,'SUB-1')", 3}, {"name eq 'sub-2' or name eq 'sub-3'", 2}, {"name ne 'sub-2'", 11}} {
		text := d.want(200, "GET", subscriptions+"?$filter="+strings.ReplaceAll(filter.text, " ", "%20"), ``)
		if n := strings.Count(text, `"id":`); n != filter.n {
			t.Errorf("%s: %d, want %d", filter.text, n, filter.n)
		}
	}
	d.want(400, "GET", subscriptions+"?$filter=status%20eq%20'x'", ``, `"target":"$filter"`)
	text := d.want(200, "GET", subscriptions+"?$top=4", ``)
	if n := strings.Count(text, `"id":`); n != 4 {
		t.Errorf("$top: %d", n)
	}
}

// TestTrust says who may have events sent to private addresses, and to folders.
func TestTrust(t *testing.T) {
	d := newDesk(t)
	socket := d.socket()
	path := subscriptions + "/sub"
	body := func(at string, trusted bool) string {
		return fmt.Sprintf(`{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "%s", "insecure": true, "trusted": %t}}}}`, at, trusted)
	}
	folder := `{"properties": {"deadLetterDestination": {"endpointType": "Folder", "properties": {"endpointUrl": "file:///var/dead"}}}}`
	d.want(403, "PUT", path, body("http://127.0.0.1:1", true), "AuthorizationFailed")
	d.want(201, "PUT", path, body("http://127.0.0.1:1", false))
	d.want(403, "PATCH", path, folder, "AuthorizationFailed")
	if status, text := socket("PUT", path, body("http://127.0.0.1:1", true)); status != 200 || !strings.Contains(text, `"trusted":true`) {
		t.Errorf("over the socket: %d %s", status, text)
	}
	if status, text := socket("PATCH", path, folder); status != 200 {
		t.Errorf("over the socket: %d %s", status, text)
	}
	d.want(200, "PATCH", path, `{"labels": ["x"]}`, `"trusted":true`) // nothing new to trust
	d.want(403, "PATCH", path, `{"destination": {"properties": {"endpointUrl": "http://127.0.0.1:2"}}}`)
	d.want(200, "PATCH", path, `{"destination": {"properties": {"endpointUrl": "http://127.0.0.1:2", "trusted": false}}}`)
}

// socket is the desk as the owner reaches it on its machine.
func (d *desk) socket() func(method, path, body string) (int, string) {
	name := filepath.Join(d.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(d.Context(), "unix", name)
	if err != nil {
		d.Fatal(err)
	}
	server := &http.Server{Handler: api.Owner(d.api.Handler()), ConnContext: api.WithPeer, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	d.Cleanup(func() { _ = server.Close() })
	dial := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", name)
	}}
	return func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(d.Context(), method, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			d.Fatal(err)
		}
		resp, err := (&http.Client{Transport: dial}).Do(req)
		if err != nil {
			d.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			d.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
}

// TestEventSubscriptionHandshake has receivers that agree, that take their time,
// and that refuse.
func TestEventSubscriptionHandshake(t *testing.T) {
	d := newDesk(t)
	var asked, deleted int
	code := true
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Aeg-Event-Type") == "SubscriptionDeletion" {
			deleted++
			return
		}
		asked++
		var all []struct {
			Data struct{ ValidationCode string }
		}
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil || len(all) != 1 {
			t.Errorf("validation: %v", err)
			return
		}
		if code {
			fmt.Fprintf(w, `{"validationResponse": "%s"}`, all[0].Data.ValidationCode)
		}
	}))
	defer receiver.Close()
	d.api.Handshake = &eventing.Handshake{Subscriptions: d.told, Client: func(eventing.Destination) (*http.Client, error) { return receiver.Client(), nil }}
	path := subscriptions + "/sub"
	body := func(at string) string {
		return `{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "` + receiver.URL + at + `", "insecure": true}}}}`
	}
	d.want(201, "PUT", path, body("/a"), `"provisioningState":"Succeeded"`)
	d.want(200, "PATCH", path, `{"labels": ["x"]}`)
	if asked != 1 {
		t.Errorf("asked %d times, want once for one address", asked)
	}
	code = false
	d.want(200, "PUT", path, body("/b"), `"provisioningState":"AwaitingManualAction"`)
	var full api.FullURL
	if err := json.Unmarshal([]byte(d.want(200, "POST", path+"/getFullUrl", ``, "validationUrl")), &full); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	d.api.Handshake.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, full.ValidationURL, nil))
	if w.Code != 200 {
		t.Errorf("%s: %d %s", full.ValidationURL, w.Code, w.Body)
	}
	text := d.want(200, "GET", path, ``, `"provisioningState":"Succeeded"`)
	if strings.Contains(text, "token") {
		t.Errorf("the token is told: %s", text)
	}
	d.want(200, "DELETE", path, ``)
	if deleted != 1 {
		t.Errorf("told of its end %d times", deleted)
	}
}

// TestNameOfTheRegistry: who is told of a subscription's begin, of its end and
// of what is between them is told the same topic, which is the owner's.
func TestNameOfTheRegistry(t *testing.T) {
	const ours = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/mine"
	d := newDesk(t)
	d.api.ResourceID = ours
	var topics []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []struct {
			Topic string
			Data  struct{ ValidationCode, EventSubscriptionID string }
		}
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil || len(all) != 1 {
			t.Errorf("%v: %+v", err, all)
			return
		}
		topics = append(topics, all[0].Topic)
		if id := all[0].Data.EventSubscriptionID; id != "" {
			topics = append(topics, strings.TrimSuffix(id, "/providers/Microsoft.EventGrid/eventSubscriptions/sub"))
		}
		fmt.Fprintf(w, `{"validationResponse": "%s"}`, all[0].Data.ValidationCode)
	}))
	defer receiver.Close()
	d.api.Handshake = &eventing.Handshake{Subscriptions: d.told, Client: func(eventing.Destination) (*http.Client, error) { return receiver.Client(), nil }}
	path := subscriptions + "/sub"
	d.want(201, "PUT", path, `{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "`+receiver.URL+`", "insecure": true}}}}`)
	d.told.sent[keyOf(eventing.EventSubscription, "sub")] = []eventing.Attempt{{Event: eventing.Event{ID: "e1", Type: eventing.ImagePushed, Data: json.RawMessage(`{}`)}}}
	d.want(200, "POST", path+"/listEvents", ``, `"topic":"`+ours+`"`)
	d.want(200, "DELETE", path, ``)
	if diff := cmp.Diff([]string{ours, ours, ours}, topics); diff != "" {
		t.Errorf("topics of validation and deletion, and the deleted id (-want +got):\n%s", diff)
	}
}

// TestEventSubscriptionPollers is what Azure's pollers make of the answers.
func TestEventSubscriptionPollers(t *testing.T) {
	d := newDesk(t)
	quick := &runtime.PollUntilDoneOptions{Frequency: time.Second} // is the least there is
	begin := func(name, at string) *runtime.Poller[apitest.EventSubscription] {
		return apitest.BeginEventSubscription(t, d.server.URL, deskToken, name, `{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "`+at+`", "insecure": true}}}}`)
	}
	p := begin("agreed", "https://h.example/")
	if got, err := p.Result(t.Context()); !p.Done() || err != nil || got.Name != "agreed" {
		t.Errorf("done %t, %+v, %v", p.Done(), got, err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	d.api.Handshake = &eventing.Handshake{Subscriptions: d.told, Client: func(eventing.Destination) (*http.Client, error) { return receiver.Client(), nil }}
	p = begin("waiting", receiver.URL)
	if _, err := p.Poll(t.Context()); err != nil || p.Done() {
		t.Errorf("done %t before anybody has agreed, %v", p.Done(), err)
	}
	s, err := d.told.Subscription(t.Context(), eventing.EventSubscription, "waiting")
	if err != nil {
		t.Fatal(err)
	}
	d.api.Handshake.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, s.Validation.URL, nil))
	if got, err := p.PollUntilDone(t.Context(), quick); err != nil || got.Properties.ProvisioningState != "Succeeded" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestEventSubscriptionRaces has two change the same while a receiver is asked,
// and time go by.
func TestEventSubscriptionRaces(t *testing.T) {
	d := newDesk(t)
	path := subscriptions + "/sub"
	body := func(at string) string {
		return `{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "` + at + `", "insecure": true}}}}`
	}
	d.want(201, "PUT", path, body("https://h.example/"))
	change := func(do func(s *eventing.Subscription)) {
		err := d.told.ChangeSubscription(t.Context(), eventing.EventSubscription, "sub", func(s *eventing.Subscription) (*eventing.Subscription, error) {
			do(s)
			return s, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		change(func(s *eventing.Subscription) { s.Updated = s.Updated.Add(time.Second) })
	}))
	defer receiver.Close()
	d.api.Handshake = &eventing.Handshake{Subscriptions: d.told, Client: func(eventing.Destination) (*http.Client, error) { return receiver.Client(), nil }}
	d.want(409, "PUT", path, body(receiver.URL), "try again")
	d.want(200, "GET", path, ``, "h.example", "Succeeded")
	change(func(s *eventing.Subscription) {
		s.State, s.Validation = eventing.AwaitingManualAction, &eventing.Validation{Token: "t", URL: "u", Until: time.Now()}
	})
	d.want(200, "GET", path, ``, `"provisioningState":"Failed"`, `"why":"nobody has ended the handshake`)
	if text := d.want(200, "POST", path+"/getFullUrl", ``); strings.Contains(text, "validationUrl") {
		t.Errorf("an address that is of no use: %s", text)
	}
}

// TestEventSubscriptionQuota has as many as there may be.
func TestEventSubscriptionQuota(t *testing.T) {
	d := newDesk(t)
	body := `{"properties": {"destination": {"endpointType": "NATS", "properties": {"endpointUrl": "tls://n.example/s"}}}}`
	d.want(201, "PUT", subscriptions+"/sub-0", body)
	one := d.told.all[keyOf(eventing.EventSubscription, "sub-0")]
	for i := 1; i < 500; i++ {
		one.Name = fmt.Sprintf("sub-%d", i)
		d.told.all[keyOf(one.Kind, one.Name)] = one
	}
	d.want(400, "PUT", subscriptions+"/sub-500", body, "QuotaExceeded")
	d.want(200, "PUT", subscriptions+"/sub-499", body)
	var page struct {
		Value    []api.EventSubscription
		NextLink string
	}
	for at, n := d.server.URL+subscriptions, 0; at != ""; n++ {
		page.NextLink = ""
		text := d.want(200, "GET", strings.TrimPrefix(at, d.server.URL), ``)
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Value) != 100 || n >= 5 {
			t.Fatalf("page %d: %d, %v", n, len(page.Value), err)
		}
		at = page.NextLink
	}
}

// TestEventHistory shows what was sent, and sends it again.
func TestEventHistory(t *testing.T) {
	d := newDesk(t)
	path := subscriptions + "/sub"
	d.want(404, "POST", path+"/listEvents", ``)
	d.want(201, "PUT", path, `{"properties": {"destination": {"endpointType": "WebHook", "properties": {"endpointUrl": "https://h.example/"}}}}`)
	d.told.sent[keyOf(eventing.EventSubscription, "sub")] = []eventing.Attempt{{
		Event: eventing.Event{ID: "e1", Type: eventing.ImagePushed, Subject: "app:v1", Data: json.RawMessage(`{"action":"push"}`)}, Count: 1, Outcome: eventing.Busy,
		Exchange: &eventing.Exchange{Method: "POST", URL: "https://h.example/", Status: 503, Reason: "Service Unavailable", Answer: "later"},
	}}
	d.want(200, "POST", path+"/listEvents", ``, `"id":"e1"`, `"attempt":2`, `"outcome":"Busy"`, `"statusCode":"503"`, `"content":"later"`, `"eventType":"Microsoft.ContainerRegistry.ImagePushed"`)
	d.want(400, "POST", path+"/listEvents?$top=0", ``)
	d.want(200, "POST", path+"/redeliver", `{"since": "2026-01-01T00:00:00Z"}`, `"count"`)
	d.want(400, "POST", path+"/redeliver", `{}`)
}
