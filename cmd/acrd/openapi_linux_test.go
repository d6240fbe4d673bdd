package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/internal/logs"
	"acrd/internal/metrics"
	"acrd/internal/registry"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// single are the operations behind doors that lead to one place only.
var single = []string{
	"GET /healthz",
	"GET /metrics",
	"GET /logs/{run}/rawtext.log",
	"POST /hooks/{provider}/{task}/{trigger}",
	"POST /hooks/{kind}/{token}",
	"OPTIONS /hooks/{kind}/{token}",
	"GET /eventsubscriptions/{eventSubscription}/validate",
	"POST /eventsubscriptions/{eventSubscription}/validate",
}

const registryResource = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerRegistry/registries/{registry}"

// served are all operations that the code knows, sorted.
func served() []string {
	all := slices.Concat(single, api.Operations(), registry.Operations())
	for _, operation := range contexts.Operations() {
		method, path, _ := strings.Cut(operation, " ")
		all = append(all, method+" "+registryResource+path)
	}
	slices.Sort(all)
	return all
}

// documented are all operations of docs/openapi.yaml, sorted.
func documented(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Paths map[string]map[string]any }
	if err := yaml.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	var all []string
	for path, item := range s.Paths {
		for method := range item {
			if method != "parameters" {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestOpenAPI holds docs/openapi.yaml to what is served, both ways.
func TestOpenAPI(t *testing.T) {
	if diff := cmp.Diff(documented(t), served()); diff != "" {
		t.Errorf("docs/openapi.yaml and the code (-docs +code):\n%s", diff)
	}
}

// TestOpenAPIDoors has every operation find its door, and leaves no door to
// which none leads.
func TestOpenAPIDoors(t *testing.T) {
	doors := (&daemon{}).doors(house{&api.Gate{}, &api.Server{}, &api.Admin{}, &logs.Dir{}, metrics.New("")})
	mux := http.NewServeMux()
	for pattern := range doors {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	leading := map[string]bool{}
	for _, operation := range documented(t) {
		method, path, _ := strings.Cut(operation, " ")
		_, pattern := mux.Handler(httptest.NewRequest(method, strings.NewReplacer("{", "", "}", "").Replace(path), nil))
		if pattern == "/" && !strings.HasPrefix(path, "/subscriptions/") && path != "/version" {
			t.Errorf("%s leads to the management API, which does not know it", operation)
		}
		leading[pattern] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(doors)), slices.Sorted(maps.Keys(leading))); diff != "" {
		t.Errorf("doors, and those that docs/openapi.yaml leads to (-doors +docs):\n%s", diff)
	}
}
