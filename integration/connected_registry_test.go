package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A told event is one as a receiver in Event Grid's schema gets it.
type told struct {
	ID          string `json:"id"`
	Topic       string `json:"topic"`
	Subject     string `json:"subject"`
	EventType   string `json:"eventType"`
	DataVersion string `json:"dataVersion"`
	Data        struct {
		Target struct {
			Digest    string `json:"digest"`
			MediaType string `json:"mediaType"`
			Size      int64  `json:"size"`
		} `json:"target"`
		Connected struct {
			Name string `json:"name"`
		} `json:"connectedRegistry"`
		Code string `json:"validationCode"`
	} `json:"data"`
}

// toldTo is a server that agrees to events and passes them on.
func toldTo(t *testing.T) (url string, events <-chan told) {
	t.Helper()
	all := make(chan told, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var batch []told
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		for _, e := range batch {
			if e.Data.Code != "" {
				_ = json.NewEncoder(w).Encode(map[string]string{"validationResponse": e.Data.Code})
				return
			}
			all <- e
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, all
}

// nextTold waits for one.
func nextTold(t *testing.T, events <-chan told) told {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event has come")
	}
	return told{}
}

// TestConnectedRegistry: a daemon tells its parent what is pushed to it, by an
// event subscription like any other, in either schema; and the parent tells its
// own subscribers, under the name that it has given the other.
func TestConnectedRegistry(t *testing.T) {
	need(t)
	parent, edge := &chain{daemon: start(t)}, &chain{daemon: start(t)}
	dir := parent.folder(nil)
	url, events := toldTo(t)
	parent.succeed(parent.acrd(dir, "event-subscription", "create", "-n", "all", "--endpoint", url, "--trusted", "--insecure"))
	for name, schema := range map[string]string{"grid": "eventgridschema", "cloud": "cloudeventschemav1_0"} {
		hook := strings.TrimSpace(parent.succeed(parent.acrd(dir, "event-source", "create", "-n", "edge-"+name, "--kind", "acrd", "--for-registry", edge.registry, "--re-emit", "edge-"+name)).stdout)
		edge.succeed(edge.acrd(dir, "event-subscription", "create", "-n", "up-"+name, "--endpoint", hook, "--event-delivery-schema", schema,
			"--subject-begins-with", name+":", "--trusted", "--insecure"))
	}
	for _, name := range []string{"grid", "cloud"} {
		began := time.Now()
		digest := edge.push(name+":v1", edge.some())
		e := nextTold(t, events)
		t.Logf("%s: from the push on the edge to a subscriber of the parent: %v", name, time.Since(began))
		if e.EventType != "Microsoft.ContainerRegistry.ImagePushed" || e.Subject != name+":v1" || !strings.HasSuffix(e.Topic, "/connectedRegistries/edge-"+name) ||
			e.DataVersion != "2.0" || e.Data.Connected.Name != "edge-"+name || e.Data.Target.Digest != digest || e.Data.Target.Size == 0 || e.Data.Target.MediaType == "" {
			t.Errorf("%s: the parent tells %+v", name, e)
		}
	}
	select {
	case e := <-events:
		t.Errorf("one too many: %+v", e)
	case <-time.After(time.Second):
	}

	// What is made by hand reaches whoever names its type.
	parent.succeed(parent.acrd(dir, "event-subscription", "create", "-n", "shop", "--endpoint", url, "--included-event-types", "com.example.deployed", "--trusted", "--insecure"))
	parent.succeed(parent.acrd(dir, "event", "publish", "--type", "com.example.deployed", "--subject", "shop", "--data", `{"target":{"digest":"x"}}`))
	if e := nextTold(t, events); e.EventType != "com.example.deployed" || e.Subject != "shop" || e.Data.Target.Digest != "x" {
		t.Errorf("published: %+v", e)
	}
}
