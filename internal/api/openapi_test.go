package api

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/eventing/inbound"
	"acrd/internal/acr"
	"acrd/internal/secrets"
	"acrd/runner"
	"acrd/triggers"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func readSchemas(t *testing.T) map[string]any {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Components struct{ Schemas map[string]any }
	}
	if err := yaml.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s.Components.Schemas
}

// TestOpenAPISchemas holds the schemas to the fields that bodies have.
func TestOpenAPISchemas(t *testing.T) {
	schemas := readSchemas(t)
	schema := func(path ...string) []string {
		v := any(schemas)
		for _, key := range path {
			v = v.(map[string]any)[key]
		}
		return slices.Sorted(maps.Keys(v.(map[string]any)))
	}
	for _, c := range []struct {
		of   any
		path []string
	}{
		{RunRequest{}, []string{"RunRequest", "properties"}},
		{Overrides{}, []string{"RunRequest", "properties", "overrideTaskStepProperties", "properties"}},
		{Run{}, []string{"Run", "properties"}},
		{RunProperties{}, []string{"Run", "properties", "properties", "properties"}},
		{NewToken{}, []string{"NewToken", "properties"}},
		{Token{}, []string{"Token", "properties"}},
		{secrets.Info{}, []string{"Secret", "properties"}},
		{inbound.Source{}, []string{"EventSource", "properties"}},
		{SourceNotice{}, []string{"SourceNotice", "properties"}},
		{acr.Garbage{}, []string{"Garbage", "properties"}},
		{acr.Collecting{}, []string{"Collecting", "properties"}},
		{acr.Repositories{}, []string{"Repositories", "properties"}},
		{acr.Attributes{}, []string{"ChangeableAttributes", "properties"}},
		{acr.Change{}, []string{"ChangeableAttributes", "properties"}},
		{acr.Repository{}, []string{"Repository", "properties"}},
		{acr.Tag{}, []string{"Tag", "properties"}},
		{acr.Tags{}, []string{"Tags", "properties"}},
		{acr.TagInfo{}, []string{"TagInfo", "properties"}},
		{acr.Manifest{}, []string{"Manifest", "properties"}},
		{acr.Reference{}, []string{"Manifest", "properties", "references", "items", "properties"}},
		{acr.Manifests{}, []string{"Manifests", "properties"}},
		{acr.ManifestInfo{}, []string{"ManifestInfo", "properties"}},
		{acr.Deleted{}, []string{"DeletedRepository", "properties"}},
		{acr.DeletedManifest{}, []string{"DeletedManifest", "properties"}},
		{acr.DeletedManifests{}, []string{"DeletedManifests", "properties"}},
		{acr.DeletedTag{}, []string{"DeletedTag", "properties"}},
		{acr.DeletedTags{}, []string{"DeletedTags", "properties"}},
		{Task{}, []string{"Task", "properties"}},
		{triggers.Explanation{}, []string{"Explanation", "properties"}},
		{triggers.Picture{}, []string{"Picture", "properties"}},
		{TaskProperties{}, []string{"Task", "properties", "properties", "properties"}},
		{runner.TaskStep{}, []string{"TaskStep", "properties"}},
		{runner.TaskTrigger{}, []string{"Trigger", "properties"}},
		{runner.BaseImageTrigger{}, []string{"Trigger", "properties", "baseImageTrigger", "properties"}},
		{runner.SourceAuth{}, []string{"Trigger", "properties", "sourceTriggers", "items", "properties", "sourceRepository", "properties", "sourceControlAuthProperties", "properties"}},
		{TaskRun{}, []string{"TaskRun", "properties"}},
		{TaskRunProperties{}, []string{"TaskRun", "properties", "properties", "properties"}},
		{Webhook{}, []string{"Webhook", "properties"}},
		{WebhookEvent{}, []string{"WebhookEvent", "properties"}},
		{eventRequestMessage{}, []string{"WebhookEvent", "properties", "eventRequestMessage", "properties"}},
		{eventResponseMessage{}, []string{"WebhookEvent", "properties", "eventResponseMessage", "properties"}},
		{CallbackConfig{}, []string{"CallbackConfig", "properties"}},
		// serviceUri and the like are in bodies alone.
		{struct {
			WebhookProperties
			CallbackConfig
		}{}, []string{"Webhook", "properties", "properties", "properties"}},
		{Redelivery{}, []string{"Redelivery", "properties"}},
		{Redelivered{}, []string{"Redelivered", "properties"}},
		{EventSubscription{}, []string{"EventSubscription", "properties"}},
		{EventSubscriptionProperties{}, []string{"EventSubscriptionUpdate", "properties"}},
		{EventRetryPolicy{}, []string{"EventSubscriptionUpdate", "properties", "retryPolicy", "properties"}},
		{EventDestination{}, []string{"EventDestination", "properties"}},
		{EventDestinationProperties{}, []string{"EventDestination", "properties", "properties", "properties"}},
		{EventSigning{}, []string{"EventDestination", "properties", "properties", "properties", "sign", "properties"}},
		{DeliveryAttribute{}, []string{"DeliveryAttribute", "properties"}},
		{DeliveryAttributeProperties{}, []string{"DeliveryAttribute", "properties", "properties", "properties"}},
		{EventFilter{}, []string{"EventFilter", "properties"}},
		{AdvancedFilter{}, []string{"EventFilter", "properties", "advancedFilters", "items", "properties"}},
		{FullURL{}, []string{"EventSubscriptionFullUrl", "properties"}},
		{Info{}, []string{"Version", "properties"}},
		{errorDetail{}, []string{"ErrorDetail", "properties"}},
		{operationStatus{}, []string{"OperationStatus", "properties"}},
	} {
		if diff := cmp.Diff(schema(c.path...), fields(reflect.TypeOf(c.of))); diff != "" {
			t.Errorf("%T (-docs +code):\n%s", c.of, diff)
		}
	}
}

// fields are the names that a struct has in JSON.
func fields(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]():
			names = append(names, fields(f.Type)...)
		case name != "" && name != "-":
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
