package eventing

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const sampleRegistry = "/subscriptions/<subscription-id>/resourceGroups/<resource-group-name>/providers/Microsoft.ContainerRegistry/registries/<name>"

// TestSamples has each of Azure's samples written by our constructors and
// encoders: field by field, with every digit of the times. Ours has more
// fields only as said.
func TestSamples(t *testing.T) {
	for file, more := range map[string][]string{
		"image-pushed": nil, "image-deleted": nil, "chart-pushed": nil, "chart-deleted": nil, "image-pushed-cloudevent": nil, "quarantine-webhook": nil,
		"connected-image-pushed": {"connectedRegistry"}, "connected-image-deleted": {"connectedRegistry"},
	} {
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "azure", file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			want := parsed(t, b)
			event, schema := rebuilt(t, want)
			body, _, err := EncodeBatch(Delivery{Schema: schema, Registry: sampleRegistry, Events: []Attempted{{Event: event}}})
			if err != nil {
				t.Fatal(err)
			}
			got := parsed(t, body)
			if data, ok := got["data"].(map[string]any); ok {
				for _, key := range more {
					if diff := cmp.Diff(data["connectedregistry"], data[key]); diff != "" {
						t.Errorf("%s differs:\n%s", key, diff)
					}
					delete(data, key)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-sample +ours):\n%s", diff)
			}
			if array := schema == EventGridSchema; array != (body[0] == '[') {
				t.Errorf("the body is %s", body)
			}
		})
	}
}

// parsed is an object, or the only element of an array.
func parsed(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var one map[string]any
	if json.Unmarshal(b, &one) == nil {
		return one
	}
	var all []map[string]any
	if err := json.Unmarshal(b, &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, b)
	}
	return all[0]
}

// rebuilt makes the event of a sample as the registry would, out of what was
// pushed and asked, and gives it the sample's ids and times.
func rebuilt(t *testing.T, sample map[string]any) (Event, Schema) {
	t.Helper()
	schema, data, kind := WebhookSchema, sample, ImageQuarantined
	if d, ok := sample["data"].(map[string]any); ok {
		schema, data, kind = EventGridSchema, d, fmt.Sprint(sample["eventType"])
		if sample["specversion"] != nil {
			schema, kind = CloudEvents10, fmt.Sprint(sample["type"])
		}
	}
	b, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	var d RegistryData
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	origin := Origin{Request: d.Request}
	if d.ConnectedLower != nil {
		origin.Connected = d.ConnectedLower.Name
	}
	if kind == ImageDeleted || kind == ImageQuarantined {
		d.Target.MediaType = "application/vnd.docker.distribution.manifest.v2+json" // is known to the registry
	}
	at, err := time.Parse(time.RFC3339Nano, d.Timestamp)
	if err != nil {
		t.Fatal(err)
	}
	e := NewRegistryEvent(kind, at, *d.Target, origin)
	e.Data = []byte(strings.Replace(string(e.Data), e.ID, d.ID, 1))
	e.ID = fmt.Sprint(sample["id"])
	if schema != WebhookSchema {
		eventTime, _ := sample["eventTime"].(string)
		if schema == CloudEvents10 {
			eventTime, _ = sample["time"].(string)
		}
		if e.Time, err = time.Parse(time.RFC3339Nano, eventTime); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(kind, "Microsoft.ContainerRegistry.Chart") {
		e.Subject = fmt.Sprint(sample["subject"]) // the sample's chart is not where helm would push it
	}
	return e, schema
}

func TestEncodeBatch(t *testing.T) {
	at := time.Date(2026, 11, 27, 1, 2, 3, 4000, time.FixedZone("", 3600))
	push := NewRegistryEvent(ImagePushed, at, Target{MediaType: "m", Size: 3, Digest: "sha256:1", Repository: "a/b", Tag: "v1"},
		Origin{Location: "local", Request: &Request{ID: "r", Host: "h", Method: "PUT", UserAgent: "<&>"}})
	push.ID, push.Data = "e1", []byte(strings.Replace(string(push.Data), push.ID, "e1", 1))
	deleted := NewRegistryEvent(ImageDeleted, at, Target{MediaType: "m", Digest: "sha256:1", Repository: "a/b", Tags: []string{"v1"}}, Origin{Location: "local"})
	deleted.Data = []byte(strings.Replace(string(deleted.Data), deleted.ID, "e2", 1))
	own := Event{ID: "e\"3", Type: "mine", Topic: "elsewhere", Subject: "é", Time: at, Extensions: []byte(`{"a":1}`)}
	const pushData = `{"id":"e1","timestamp":"2026-11-27T00:02:03.000004000Z","action":"push","location":"local","target":{"mediaType":"m","size":3,"digest":"sha256:1","length":3,"repository":"a/b","tag":"v1"},"request":{"id":"r","host":"h","method":"PUT","useragent":"<&>"}}`
	for _, tt := range []struct {
		name, contentType, body string
		d                       Delivery
	}{
		{
			"a push for Event Grid", EventGridType,
			`[{"id":"e1","topic":"/r","subject":"a/b:v1","eventType":"Microsoft.ContainerRegistry.ImagePushed","eventTime":"2026-11-27T00:02:03.0000040Z","data":` + pushData + `,"dataVersion":"1.0","metadataVersion":"1"}]`,
			Delivery{Schema: EventGridSchema, Events: []Attempted{{Event: push}}},
		},
		{
			"a dead letter", EventGridType,
			`[{"id":"e1","topic":"/r","subject":"a/b:v1","eventType":"Microsoft.ContainerRegistry.ImagePushed","eventTime":"2026-11-27T00:02:03.0000040Z","data":` + pushData + `,"dataVersion":"1.0","metadataVersion":"1",` +
				`"deadLetterReason":"MaxDeliveryAttemptsExceeded","deliveryAttempts":2,"lastDeliveryOutcome":"NotFound","publishTime":"2026-11-27T00:02:03.0000040Z"}]`,
			Delivery{Schema: EventGridSchema, Events: []Attempted{{Event: push, Count: 2, Dead: &Death{Reason: TooManyAttempts, Attempts: 2, Outcome: NotFound, Published: at}}}},
		},
		{
			"one CloudEvent", CloudEventType,
			`{"id":"e\"3","source":"elsewhere","subject":"é","type":"mine","time":"2026-11-27T00:02:03.0000040Z","specversion":"1.0","a":1,"data":{}}`,
			Delivery{Schema: CloudEvents10, Events: []Attempted{{Event: own}}},
		},
		{
			"two CloudEvents", CloudEventBatchType,
			`[{"id":"e1","source":"/r","subject":"a/b:v1","type":"Microsoft.ContainerRegistry.ImagePushed","time":"2026-11-27T00:02:03.0000040Z","specversion":"1.0","data":` + pushData + `},` +
				`{"id":"e\"3","source":"elsewhere","subject":"é","type":"mine","time":"2026-11-27T00:02:03.0000040Z","specversion":"1.0","a":1,"deadletterreason":"x","deliveryattempts":1,"lastdeliveryoutcome":"Busy","publishtime":"2026-11-27T00:02:03.0000040Z","lastdeliveryattempttime":"2026-11-27T00:02:03.0000040Z","data":{}}]`,
			Delivery{Schema: CloudEvents10, Events: []Attempted{{Event: push}, {Event: own, Count: 1, Dead: &Death{"x", 1, Busy, at, at}}}},
		},
		{
			"a webhook", WebhookType, strings.Replace(pushData, `"location":"local",`, "", 1),
			Delivery{Schema: WebhookSchema, Events: []Attempted{{Event: push}}},
		},
		{
			"a webhook of a deletion", WebhookType,
			`{"id":"e2","timestamp":"2026-11-27T00:02:03.000004000Z","action":"delete","target":{"mediaType":"m","digest":"sha256:1","repository":"a/b"}}`,
			Delivery{Schema: WebhookSchema, Events: []Attempted{{Event: deleted}}},
		},
		{
			"a webhook that asks for tags", WebhookType,
			`{"id":"e2","timestamp":"2026-11-27T00:02:03.000004000Z","action":"delete","target":{"mediaType":"m","digest":"sha256:1","repository":"a/b","tags":["v1"]}}`,
			Delivery{Schema: WebhookSchema, Tags: true, Events: []Attempted{{Event: deleted}}},
		},
	} {
		tt.d.Registry = "/r"
		body, contentType, err := EncodeBatch(tt.d)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.body, string(body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if contentType != tt.contentType {
			t.Errorf("%s is %s", tt.name, contentType)
		}
	}
	if _, _, err := EncodeBatch(Delivery{Schema: WebhookSchema, Events: make([]Attempted, 2)}); err == nil {
		t.Error("a webhook gets two events at once")
	}
}

func TestTopic(t *testing.T) {
	for topic, want := range map[string]string{
		"": "/r", "/connectedRegistries/edge": "/r/connectedRegistries/edge", "mine": "mine", "/Subscriptions/1/x": "/Subscriptions/1/x",
		"/my/app": "/my/app", "/connectedRegistries": "/connectedRegistries",
	} {
		if got := Topic("/r", topic); got != want {
			t.Errorf("topic %q is %q, want %q", topic, got, want)
		}
	}
}

func TestNewID(t *testing.T) {
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := NewID(), NewID(); a == b || !guid.MatchString(a) {
		t.Errorf("ids are %s, %s", a, b)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := NewRegistryEvent(ImagePushed, time.Now(), Target{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 3, Digest: "sha256:1", Repository: "a/b", Tag: "v1"}, Origin{Location: "local"})
	for _, schema := range []Schema{EventGridSchema, CloudEvents10, WebhookSchema} {
		b.Run(string(schema), func(b *testing.B) {
			for b.Loop() {
				if _, err := Encode(Delivery{Schema: schema, Registry: sampleRegistry}, Attempted{Event: e}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
