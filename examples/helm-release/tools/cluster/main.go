// Command cluster is as much of a Kubernetes API as helm needs to install a
// chart and upgrade it: version, discovery, and objects of three kinds, kept
// in memory. Nothing runs on it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// kinds are what the cluster has, by the paths that lead to them.
var kinds = []kind{
	{"/api/v1", "v1", "secrets", "Secret", func() object { return &corev1.Secret{} }}, // where helm keeps its releases
	{"/api/v1", "v1", "services", "Service", func() object { return &corev1.Service{} }},
	{"/apis/apps/v1", "apps/v1", "deployments", "Deployment", func() object { return &appsv1.Deployment{} }},
}

type kind struct {
	root, version, plural, name string
	empty                       func() object
}

// An object is of one of the kinds.
type object interface {
	runtime.Object
	metav1.Object
}

func main() {
	c := &cluster{objects: map[string]object{}}
	server := &http.Server{Addr: ":8080", Handler: c.handler(), ReadHeaderTimeout: 10 * time.Second}
	fmt.Println("a cluster, as far as helm can tell, on port 8080")
	fmt.Fprintln(os.Stderr, "cluster:", server.ListenAndServe())
	os.Exit(1)
}

// A cluster is its objects, by path: /api/v1/namespaces/NAMESPACE/PLURAL/NAME.
type cluster struct {
	mu      sync.Mutex // guards what follows
	objects map[string]object
	changes int
}

func (c *cluster) handler() http.Handler {
	mux := http.NewServeMux()
	discovery(mux)
	for _, k := range kinds {
		all := k.root + "/namespaces/{namespace}/" + k.plural
		c.handle(mux, "GET "+all, k, c.list)
		c.handle(mux, "POST "+all, k, c.create)
		c.handle(mux, "GET "+all+"/{name}", k, c.get)
		c.handle(mux, "PUT "+all+"/{name}", k, c.replace)
		c.handle(mux, "PATCH "+all+"/{name}", k, c.patch)
		c.handle(mux, "DELETE "+all+"/{name}", k, c.remove)
	}
	return mux
}

// handle does one request at a time, and prints those that change something.
func (c *cluster) handle(mux *http.ServeMux, pattern string, k kind, do func(k kind, r *http.Request, body []byte) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			fmt.Println(r.Method, r.URL.Path)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
		if err != nil {
			answer(w, http.StatusBadRequest, failure(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()))
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		result, err := do(k, r, body)
		if status, ok := err.(*status); ok {
			answer(w, int(status.Code), status)
			return
		} else if err != nil {
			answer(w, http.StatusBadRequest, failure(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error()))
			return
		}
		answer(w, http.StatusOK, result)
	})
}

func (c *cluster) list(k kind, r *http.Request, _ []byte) (any, error) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, err
	}
	items := []object{}
	for path, o := range c.objects {
		if strings.HasPrefix(path, r.URL.Path+"/") && selector.Matches(labels.Set(o.GetLabels())) {
			items = append(items, o)
		}
	}
	return map[string]any{"kind": k.name + "List", "apiVersion": k.version, "metadata": map[string]any{}, "items": items}, nil
}

func (c *cluster) create(k kind, r *http.Request, body []byte) (any, error) {
	o := k.empty()
	if err := decode(body, o); err != nil {
		return nil, err
	}
	path := r.URL.Path + "/" + o.GetName()
	if c.objects[path] != nil {
		return nil, failure(http.StatusConflict, metav1.StatusReasonAlreadyExists, o.GetName()+" exists already")
	}
	o.SetNamespace(r.PathValue("namespace"))
	o.SetUID(types.UID(path))
	o.SetCreationTimestamp(metav1.Now())
	return c.keep(k, path, o), nil
}

func (c *cluster) keep(k kind, path string, o object) object {
	c.changes++
	o.SetResourceVersion(strconv.Itoa(c.changes))
	o.GetObjectKind().SetGroupVersionKind(runtimeKind(k))
	c.objects[path] = o
	return o
}

func (c *cluster) get(_ kind, r *http.Request, _ []byte) (any, error) {
	if o := c.objects[r.URL.Path]; o != nil {
		return o, nil
	}
	return nil, failure(http.StatusNotFound, metav1.StatusReasonNotFound, r.PathValue("name")+" not found")
}

func (c *cluster) replace(k kind, r *http.Request, body []byte) (any, error) {
	if _, err := c.get(k, r, nil); err != nil {
		return nil, err
	}
	o := k.empty()
	if err := decode(body, o); err != nil {
		return nil, err
	}
	return c.keep(k, r.URL.Path, o), nil
}

func (c *cluster) patch(k kind, r *http.Request, body []byte) (any, error) {
	old, err := c.get(k, r, nil)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, body, k.empty())
	if err != nil {
		return nil, err
	}
	return c.replace(k, r, after)
}

func (c *cluster) remove(k kind, r *http.Request, _ []byte) (any, error) {
	o, err := c.get(k, r, nil)
	delete(c.objects, r.URL.Path)
	return o, err
}
