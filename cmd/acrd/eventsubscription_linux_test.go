package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"acrd/eventing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// TestEventSubscriptionLife is an event subscription from its making to its
// end, by the command line.
func TestEventSubscriptionLife(t *testing.T) {
	d := newDesk(t)
	push := eventing.Event{ID: "event-1", Type: eventing.ImagePushed, Subject: "team/app:v1", Time: time.Now(), Data: []byte(`{"action":"push"}`)}
	if err := d.deliveries.Enqueue(t.Context(), eventing.EventSubscription, "", push); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("Bearer CANARY\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acc"
	for _, row := range []struct {
		args string
		code int
		says string // a pattern for standard error and output together
	}{
		{"", exitUsage, `(?s)Usage: acrd event-subscription COMMAND.*events.*redeliver`},
		{"create -n sub-1", exitUsage, `--endpoint is missing`},
		{"create -n s --endpoint h.example --max-delivery-attempts 31", exitUsage, `(?s)3 to 64 letters.*begins with https.*between 1 and 30`},
		{"create -n sub-1 --endpoint https://h.example/in?code=CANARY --labels a b --expiration-date 2099-01-31 --delivery-attribute-mapping Authorization static @" + token + " true --delivery-attribute-mapping X-Tag dynamic data.target.tag", exitOK, `(?m)^NAME +TYPE +ENDPOINT +SCHEMA +STATE\nsub-1 +WebHook +https://h.example/in +EventGridSchema +Succeeded$`},
		{"create --name sub-2 --source-resource-id /subscriptions/s --endpoint-type storagequeue --endpoint " + account + "/queueservices/default/queues/q --event-delivery-schema cloudeventschemav1_0", exitOK, `(?m)^sub-2 +StorageQueue +subscriptions/\S+/acc/q +CloudEventSchemaV1_0 +Succeeded$`},
		{"create -n sub-3 --endpoint nats://n.example/acr -o json", exitOK, `"endpointType": "NATS"`},
		{"create -n sub-4 --endpoint task:none", exitUsage, `There is no task 'none'`},
		{"list -o tsv", exitOK, "(?s)sub-1\t.*sub-2\t.*sub-3\t"},
		{"list -o tsv --location westus --topic-type Microsoft.ContainerRegistry.Registries --odata-query contains(name,'-3')", exitOK, "^sub-3\t[^\n]*\n$"},
		{"show -n SUB-1 -o json", exitOK, `(?s)"isSecret": true.*"expirationTimeUtc": "2099-01-31T00:00:00Z"`},
		{"show -n sub-9", exitFailed, `not found`},
		{"update -n sub-9", exitFailed, `not found`},
		{"update -n sub-1 --labels c --event-ttl 60 --advanced-filter data.n NumberInRange -5,-1 1,2 --advanced-filter subject stringin a b --enable-af-arr true --advanced-filter data.x NumberLessThan -5 --advanced-filter data.x IsNotNull -o json", exitOK, `(?s)"advancedFilters": \[\s+\{\s+"key": "data.n",\s+"operatorType": "NumberInRange",\s+"values": \[\s+\[\s+-5,\s+-1.*"value": -5.*"IsNotNull".*"enableAdvancedFilteringOnArrays": true.*"eventTimeToLiveInMinutes": 60`},
		{"update -n sub-2 --qttl 60 -o json", exitOK, `"queueMessageTimeToLiveInSeconds": 60`},
		{"update -n sub-1 --advanced-filter data.n NumberIn x", exitUsage, `"x" is not a number`},
		{"update -n sub-1 --advanced-filter data.n", exitUsage, `want KEY OPERATOR`},
		{"update -n sub-1 --delivery-attribute-mapping a b", exitUsage, `want NAME static`},
		{"update -n sub-1 --deadletter-endpoint " + account + "/blobServices/default/containers/dead -o json", exitOK, `"blobContainerName": "dead"`},
		{"update -n sub-1 --deadletter-endpoint= --max-events-per-batch 5 --on-status 403=retry", exitOK, `sub-1`},
		{"events -n sub-1", exitOK, `(?m)^TIME +EVENT +TYPE +SUBJECT +ATTEMPT +OUTCOME +STATUS\n\S+ \S+ +event-1 +Microsoft.ContainerRegistry.ImagePushed +team/app:v1 +1 +Delivered +202$`},
		{"events -n sub-1 --top 0", exitUsage, `1 to 100`},
		{"redeliver -n sub-1", exitUsage, `give --event-id or --since`},
		{"redeliver -n sub-1 --since 2h", exitOK, `^COUNT\n1\n$`},
		{"redeliver -n sub-1 --event-id event-7", exitFailed, `not found`},
		{"delete -n sub-2", exitOK, `^$`},
		{"delete -n sub-2", exitFailed, `not found`},
	} {
		code, out, errs := d.acrd(append([]string{"event-subscription"}, strings.Fields(row.args)...)...)
		if both := errs + out; code != row.code || !regexp.MustCompile(row.says).MatchString(both) || strings.Contains(both, "CANARY") {
			t.Errorf("acrd event-subscription %s: exit code %d, want %d and %q:\n%s", row.args, code, row.code, row.says, both)
		}
	}
	for args, says := range map[string]string{"--include-full-endpoint-url": "code=CANARY", "--include-static-delivery-attribute-secret": "Bearer CANARY", "--full-ed-url": "code=CANARY", "--include-attrib-secret": "Bearer CANARY"} {
		if code, out, errs := d.acrd("event-subscription", "show", "-n", "sub-1", "-o", "json", args); code != exitOK || strings.Count(out, "CANARY") < 1 || !strings.Contains(out, says) {
			t.Errorf("%s: %d %s%s", args, code, errs, out)
		}
	}
	for words, want := range map[string]string{
		"event-subscription re": "redeliver\n", "event-subscription show -n sub": "sub-1\nsub-3\n", "event-subscription create --endpoint-type w": "webhook\n",
	} {
		if _, out, _ := d.acrd(append([]string{"__complete"}, strings.Fields(words)...)...); out != want {
			t.Errorf("completion of %q: %q, want %q", words, out, want)
		}
	}
}

// TestEndpoints finds out where endpoints are.
func TestEndpoints(t *testing.T) {
	const account, bus = "/subscriptions/s/providers/Microsoft.Storage/storageAccounts/a", "/subscriptions/s/providers/Microsoft.ServiceBus/namespaces/n"
	for endpoint, want := range map[string]string{
		"https://h.example/":                             `WebHook {"endpointUrl":"https://h.example/","resourceId":null}`,
		"amqps://b.example/q":                            `AMQP {"endpointUrl":"amqps://b.example/q","resourceId":null}`,
		"kafka://b.example/t":                            `Kafka {"endpointUrl":"kafka://b.example/t","resourceId":null}`,
		"kafkas://b.example/t":                           `Kafka {"endpointUrl":"kafkas://b.example/t","resourceId":null}`,
		"file:///var/dead":                               `Folder {"endpointUrl":"file:///var/dead","resourceId":null}`,
		"task:react":                                     `Task {"endpointUrl":"task:react","resourceId":null}`,
		"/x/registries/r/tasks/react":                    `Task {"endpointUrl":null,"resourceId":"/x/registries/r/tasks/react"}`,
		account + "/queueServices/default/queues/q":      `StorageQueue {"endpointUrl":null,"queueName":"q","resourceId":"` + account + `"}`,
		account + "/blobservices/default/containers/c":   `StorageBlob {"blobContainerName":"c","endpointUrl":null,"resourceId":"` + account + `"}`,
		bus + "/queues/q":                                `ServiceBusQueue {"endpointUrl":null,"resourceId":"` + bus + `/queues/q"}`,
		bus + "/topics/t":                                `ServiceBusTopic {"endpointUrl":null,"resourceId":"` + bus + `/topics/t"}`,
		"/x/Microsoft.EventHub/namespaces/n/eventhubs/h": `EventHub {"endpointUrl":null,"resourceId":"/x/Microsoft.EventHub/namespaces/n/eventhubs/h"}`,
	} {
		kind := string(endpointType(endpoint))
		b, err := json.Marshal(endpointProperties(kind, endpoint))
		if got := kind + " " + string(b); err != nil || got != want {
			t.Errorf("%s: %s (%v), want %s", endpoint, got, err, want)
		}
	}
	if got := endpointProperties("task", "react"); got["endpointUrl"] != "task:react" {
		t.Errorf("the name of a task: %v", got)
	}
}

// TestWordGroups keeps apart what follows a flag that is given twice.
func TestWordGroups(t *testing.T) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	var got wordGroups
	fs.Var(&got, "f", "")
	fs.BoolP("bool", "b", false, "")
	err := fs.Parse(joinWords(fs, strings.Fields("--f a in x y --f b lt -5 -.5 -b --f c isnotnull --bool")))
	want := wordGroups{{"a", "in", "x", "y"}, {"b", "lt", "-5", "-.5"}, {"c", "isnotnull"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
