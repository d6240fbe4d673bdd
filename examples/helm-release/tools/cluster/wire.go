package main

import (
	"encoding/json"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// discovery tells clients the version, and which kinds there are.
func discovery(mux *http.ServeMux) {
	tell := func(path string, what any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, what) })
	}
	apps := metav1.GroupVersionForDiscovery{GroupVersion: "apps/v1", Version: "v1"}
	tell("/version", map[string]string{"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
	tell("/api", metav1.APIVersions{Versions: []string{"v1"}})
	tell("/apis", metav1.APIGroupList{Groups: []metav1.APIGroup{
		{Name: "apps", Versions: []metav1.GroupVersionForDiscovery{apps}, PreferredVersion: apps},
	}})
	lists := map[string]*metav1.APIResourceList{}
	for _, k := range kinds {
		if lists[k.root] == nil {
			lists[k.root] = &metav1.APIResourceList{GroupVersion: k.version}
			tell(k.root, lists[k.root])
		}
		lists[k.root].APIResources = append(lists[k.root].APIResources, metav1.APIResource{
			Name: k.plural, Kind: k.name, Namespaced: true, Verbs: []string{"create", "delete", "get", "list", "patch", "update"},
		})
	}
}

// decode reads an object in any form that Kubernetes' own clients send.
func decode(body []byte, into object) error {
	_, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	return err
}

func answer(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(what)
}

func runtimeKind(k kind) schema.GroupVersionKind {
	group, version, ok := strings.Cut(k.version, "/")
	if !ok {
		group, version = "", k.version
	}
	return schema.GroupVersionKind{Group: group, Version: version, Kind: k.name}
}

// A status is how Kubernetes says what went wrong.
type status struct{ metav1.Status }

func (s *status) Error() string { return s.Message }

func failure(code int32, reason metav1.StatusReason, message string) *status {
	return &status{metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}
