package inbound_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/internal/images"
	"acrd/internal/store"
	"acrd/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A site is another registry, and what takes in and looks at what it says.
type site struct {
	t    *testing.T
	url  string
	key  store.Sealer
	db   *store.DB
	host string // the registry's
	mux  *http.ServeMux

	mu     sync.Mutex // guards pushed
	pushed []string
	stop   func()
	clock  atomic.Int64 // of hooks, in ns, where it stands still
}

func newSite(t *testing.T) *site {
	other := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(other.Close)
	s := &site{t: t, url: storetest.SQLite(t), key: storetest.Key(t), host: strings.TrimPrefix(other.URL, "http://")}
	s.open()
	return s
}

func (s *site) now() time.Time {
	if at := s.clock.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

// open is what a daemon does when it starts.
func (s *site) open() {
	s.db = storetest.Open(s.t, s.url, s.key)
	secret := func(_ context.Context, name string) (string, error) {
		return map[string]string{"hook": "open sesame", "robot": "user:password"}[name], nil
	}
	v := &inbound.Verifier{
		Sources: s.db, Queue: s.db, Registries: &images.Client{Own: "own.example"}, Secret: secret, Location: "local",
		Settling: []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond},
		Pushed: func(_ context.Context, ref, _ string, _ time.Time) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pushed = append(s.pushed, strings.TrimPrefix(ref, s.host+"/"))
			return nil
		},
	}
	s.mux = http.NewServeMux()
	s.mux.Handle(inbound.Pattern, &inbound.Receiver{Sources: s.db, Queue: s.db, Secret: secret, Woken: v.Wake, Now: s.now})
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Serve(ctx) }()
	var once sync.Once
	s.stop = func() { once.Do(func() { cancel(nil); <-done }) }
	s.t.Cleanup(s.stop)
}

func (s *site) source(src inbound.Source) string {
	s.t.Helper()
	src.Registry, src.Hash = s.host, inbound.HashToken("token-of-"+src.Name)
	if err := src.Check(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.db.AddSource(s.t.Context(), &src); err != nil {
		s.t.Fatal(err)
	}
	return "/hooks/" + string(src.Kind) + "/token-of-" + src.Name
}

func (s *site) hook(path, body string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.request("POST", path, body, headers...)
}

func (s *site) request(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	for _, h := range headers {
		key, value, _ := strings.Cut(h, ": ")
		r.Header.Set(key, value)
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

func (s *site) push(ref string, image v1.Image) string {
	s.t.Helper()
	tag, err := name.NewTag(s.host + "/" + ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		s.t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		s.t.Fatal(err)
	}
	return digest.String()
}

func some(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	return mutate.MediaType(image, types.OCIManifestSchema1)
}

func distribution(id, action, repository, tag, digest string) string {
	media := "application/vnd.oci.image.manifest.v1+json"
	if action == "delete" {
		media = ""
	}
	return fmt.Sprintf(`{"events":[{"id":%q,"timestamp":"2026-11-20T10:00:00Z","action":%q,"target":{"mediaType":%q,"repository":%q,"tag":%q,"digest":%q}}]}`,
		id, action, media, repository, tag, digest)
}

// outcomes waits until nothing of a source is open, and returns what became of
// it, oldest first.
func (s *site) outcomes(source string) []string {
	s.t.Helper()
	var all []inbound.Received
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if all, err = s.db.Recent(s.t.Context(), source, 100); err != nil {
			s.t.Fatal(err)
		}
		open := false
		for _, r := range all {
			open = open || r.Outcome == ""
		}
		if !open {
			break
		}
	}
	var lines []string
	for _, r := range all {
		lines = append([]string{string(r.Action) + " " + r.Repository + ":" + r.Tag + " " + string(r.Outcome)}, lines...)
	}
	return lines
}

func (s *site) events() []eventing.Event {
	s.t.Helper()
	all, err := s.db.OpenEvents(s.t.Context(), 100)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func (s *site) want(what string, want, got any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestPush: a push that is true is passed on once, with what the registry says
// of it, however often and by however many hooks it is told.
func TestPush(t *testing.T) {
	s := newSite(t)
	hook := s.source(inbound.Source{Name: "edge", Kind: inbound.Distribution, ConnectedRegistry: "edge"})
	digest := s.push("app:v1", some(t))
	for _, c := range []struct {
		id     string
		status int
	}{{"1", http.StatusAccepted}, {"1", http.StatusOK}, {"2", http.StatusAccepted}} {
		if w := s.hook(hook, distribution(c.id, "push", "app", "v1", digest)); w.Code != c.status {
			t.Errorf("hook %s: %d %s, want %d", c.id, w.Code, w.Body, c.status)
		}
		s.outcomes("edge")
	}
	s.want("outcomes", []string{"push app:v1 confirmed", "push app:v1 known"}, s.outcomes("edge"))
	s.want("told", []string{"app:v1"}, s.pushed)
	events := s.events()
	if len(events) != 1 {
		t.Fatalf("events %+v, want one", events)
	}
	e := events[0]
	s.want("event", []string{eventing.ImagePushed, "/connectedRegistries/edge", "app:v1", "2.0"}, []string{e.Type, e.Topic, e.Subject, e.DataVersion})
	var data map[string]any
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	edge := map[string]any{"name": "edge"}
	s.want("both spellings", []any{edge, edge}, []any{data["connectedRegistry"], data["connectedregistry"]})
	target := data["target"].(map[string]any)
	s.want("target", []any{digest, "application/vnd.oci.image.manifest.v1+json", "app", "v1"}, []any{target["digest"], target["mediaType"], target["repository"], target["tag"]})
	if target["size"].(float64) < 100 {
		t.Errorf("size %v", target["size"])
	}

	// Another image, the one before again, and a tag that is told before it is
	// there.
	other := s.push("app:v1", some(t))
	s.hook(hook, distribution("3", "push", "app", "v1", other))
	s.hook(hook, distribution("4", "push", "app", "late", ""))
	time.Sleep(150 * time.Millisecond)
	s.push("app:late", some(t))
	s.outcomes("edge")
	if n := len(s.events()); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

// TestNotSo: what the registry does not confirm is dropped.
func TestNotSo(t *testing.T) {
	s := newSite(t)
	hook := s.source(inbound.Source{Name: "hub", Kind: inbound.Distribution, ConnectedRegistry: "hub"})
	digest := s.push("app:v1", some(t))
	s.hook(hook, distribution("1", "push", "app", "nowhere", digest))
	s.hook(hook, distribution("2", "delete", "app", "", digest))
	s.hook(hook, distribution("3", "delete", "app", "v1", ""))
	got := s.outcomes("hub")
	s.want("outcomes", []string{"delete app: unconfirmed", "push app:nowhere unconfirmed", "untag app:v1 unconfirmed"}, sorted(got))
	s.want("told", 0, len(s.pushed))
	s.want("events", 0, len(s.events()))
}

func sorted(all []string) []string {
	for i := range all {
		for j := i; j > 0 && all[j] < all[j-1]; j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
	return all
}

// TestDelete: an image that is gone, a tag that is gone, and the same pushed
// again is news.
func TestDelete(t *testing.T) {
	s := newSite(t)
	hook := s.source(inbound.Source{Name: "hub", Kind: inbound.Distribution, ConnectedRegistry: "hub"})
	image := some(t)
	digest := s.push("app:v1", image)
	s.hook(hook, distribution("1", "push", "app", "v1", digest))
	s.outcomes("hub")
	for _, ref := range []string{"app:v1", "app@" + digest} {
		r, err := name.ParseReference(s.host + "/" + ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Delete(r); err != nil {
			t.Fatal(err)
		}
	}
	s.hook(hook, distribution("2", "delete", "app", "v1", ""))
	s.hook(hook, distribution("3", "delete", "app", "", digest))
	s.outcomes("hub")
	s.push("app:v1", image)
	s.hook(hook, distribution("4", "push", "app", "v1", digest))
	s.outcomes("hub")
	var types []string
	for _, e := range s.events() {
		types = append(types, e.Type)
	}
	s.want("events", []string{eventing.ImagePushed, eventing.ImageUntagged, eventing.ImageDeleted, eventing.ImagePushed}, types)
}

// TestChart: what a registry calls an image is a chart by its config.
func TestChart(t *testing.T) {
	s := newSite(t)
	hook := s.source(inbound.Source{Name: "hub", Kind: inbound.DockerHub, ConnectedRegistry: "hub"})
	s.pushChart("charts/demo", "0.2.0_b5", `{"name":"demo","version":"0.2.0+b5"}`)
	s.hook(hook, `{"push_data":{"tag":"0.2.0_b5"},"repository":{"repo_name":"charts/demo"}}`)
	s.want("outcomes", []string{"push charts/demo:0.2.0_b5 confirmed"}, s.outcomes("hub"))
	events := s.events()
	if len(events) != 1 || events[0].Type != eventing.ChartPushed || events[0].Subject != "charts/demo:0.2.0+b5" || !bytes.Contains(events[0].Data, []byte(`"size":7`)) {
		t.Errorf("events %+v", events)
	}
}

// TestAcceptedSurvives: what was answered is not lost when the daemon dies.
func TestAcceptedSurvives(t *testing.T) {
	s := newSite(t)
	hook := s.source(inbound.Source{Name: "hub", Kind: inbound.Distribution})
	digest := s.push("app:v1", some(t))
	s.stop() // nobody looks
	if w := s.hook(hook, distribution("1", "push", "app", "v1", digest)); w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.want("outcomes", []string{"push app:v1 confirmed"}, s.outcomes("hub"))
	s.want("told", []string{"app:v1"}, s.pushed)
}

// TestCircle: two daemons that tell each other everything come to an end.
func TestCircle(t *testing.T) {
	a, b := newSite(t), newSite(t)
	toA := a.source(inbound.Source{Name: "b", Kind: inbound.Acrd, Secret: "hook", Trusted: true, ConnectedRegistry: "b"})
	toB := b.source(inbound.Source{Name: "a", Kind: inbound.Acrd, Secret: "hook", Trusted: true, ConnectedRegistry: "a"})
	first := eventing.NewRegistryEvent(eventing.ImagePushed, time.Now(), eventing.Target{
		Repository: "app", Tag: "v1", Digest: "sha256:" + strings.Repeat("a", 64), MediaType: "m", Size: 7,
	}, eventing.Origin{})
	if err := a.db.AddEvents(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	forward := func(from, to *site, hook, source string, schema eventing.Schema) {
		d := eventing.Delivery{Schema: schema, Registry: "/subscriptions/s/registries/r"}
		for _, e := range from.events() {
			d.Events = append(d.Events, eventing.Attempted{Event: e})
		}
		body, contentType, err := eventing.EncodeBatch(d)
		if err != nil {
			t.Fatal(err)
		}
		if w := to.hook(hook, string(body), "Content-Type: "+contentType, "Authorization: Bearer open sesame"); w.Code >= 300 {
			t.Errorf("to %s: %d %s", source, w.Code, w.Body)
		}
		to.outcomes(source)
	}
	for range 2 {
		forward(a, b, toB, "a", eventing.EventGridSchema)
		forward(b, a, toA, "b", eventing.CloudEvents10)
	}
	if n, m := len(a.events()), len(b.events()); n != 1 || m != 1 {
		t.Errorf("%d and %d events, want one each", n, m)
	}
	e := b.events()[0]
	if e.ID != first.ID || e.Topic != "/connectedRegistries/a" || !bytes.Contains(e.Data, []byte(`"size":7`)) {
		t.Errorf("event %+v", e)
	}
}

// TestReceiver has what is answered to what is no hook, or none of a source.
func TestReceiver(t *testing.T) {
	s := newSite(t)
	open := s.source(inbound.Source{Name: "open", Kind: inbound.DockerHub})
	signed := s.source(inbound.Source{Name: "signed", Kind: inbound.Harbor, Secret: "hook"})
	grid := s.source(inbound.Source{Name: "grid", Kind: inbound.EventGrid})
	const push = `{"push_data":{"tag":"v1"},"repository":{"repo_name":"app"}}`
	validation := `[{"id":"1","topic":"t","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d","validationUrl":"https://x.invalid/"}}]`
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		answer                   string
	}{
		{"push", "POST", open, push, nil, 202, "accepted\n"},
		{"nothing to do", "POST", signed, `{"type":"SCANNING_COMPLETED"}`, []string{"Authorization: open sesame"}, 200, "nothing to do\n"},
		{"no secret", "POST", signed, `{}`, nil, 401, ""},
		{"wrong secret", "POST", signed, `not JSON`, []string{"Authorization: Bearer open"}, 401, ""},
		{"no JSON", "POST", open, `x`, nil, 400, ""},
		{"no image", "POST", open, strings.Replace(push, "app", "../x", 1), nil, 400, ""},
		{"too large", "POST", open, strings.Repeat(" ", 1<<20+1), nil, 413, ""},
		{"GET", "GET", open, "", nil, 405, ""},
		{"no OPTIONS", "OPTIONS", open, "", []string{"WebHook-Request-Origin: x"}, 405, ""},
		{"another kind", "POST", strings.Replace(open, "dockerhub", "quay", 1), push, nil, 404, ""},
		{"no kind", "POST", "/hooks/nexus/x", push, nil, 404, ""},
		{"no token", "POST", "/hooks/dockerhub/x", push, nil, 404, ""},
		{"too short", "POST", "/hooks/dockerhub", push, nil, 404, ""},
		{"Event Grid's handshake", "POST", grid, validation, []string{"aeg-event-type: SubscriptionValidation"}, 200, `{"validationResponse":"512d"}` + "\n"},
		{"CloudEvents' handshake", "OPTIONS", grid, "", []string{"WebHook-Request-Origin: eventgrid.azure.net", "WebHook-Request-Callback: https://x.invalid/"}, 200, ""},
		{"OPTIONS without origin", "OPTIONS", grid, "", nil, 400, ""},
		{"an end of a subscription", "POST", grid, `[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionDeletedEvent","data":{"eventSubscriptionId":"x"}}]`, nil, 200, "nothing to do\n"},
	} {
		w := s.request(c.method, c.path, c.body, c.headers...)
		if w.Code != c.status || c.answer != "" && w.Body.String() != c.answer {
			t.Errorf("%s: %d %q, want %d %q", c.name, w.Code, w.Body, c.status, c.answer)
		}
		if c.name == "CloudEvents' handshake" {
			s.want(c.name, []string{"eventgrid.azure.net", "3000", "POST, OPTIONS"},
				[]string{w.Header().Get("Webhook-Allowed-Origin"), w.Header().Get("Webhook-Allowed-Rate"), w.Header().Get("Allow")})
		}
	}
	s.clock.Store(time.Now().Add(time.Hour).UnixNano()) // what was sent before does not count any more
	admitted := func() (n int) {
		for range 300 {
			if w := s.hook(grid, validation); w.Code == http.StatusOK {
				n++
			} else if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		return n
	}
	s.want("of 300 at once", 200, admitted())
	s.clock.Add(int64(time.Second))
	s.want("of 300 a second later", 50, admitted())
	if w := s.hook(signed, `{}`, "Authorization: open sesame"); w.Code != http.StatusOK {
		t.Errorf("another source suffers: %d", w.Code)
	}
}

// pushChart puts a chart into the registry, as helm does.
func (s *site) pushChart(repository, tag, config string) {
	s.t.Helper()
	send := func(method, path, media, body string) {
		s.t.Helper()
		r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.host+"/v2/"+repository+path, strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Content-Type", media)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			s.t.Fatalf("%s %s: %s", method, path, resp.Status)
		}
	}
	sum := func(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }
	for _, blob := range []string{config, "package"} {
		send("POST", "/blobs/uploads/?digest="+sum(blob), "application/octet-stream", blob)
	}
	send("PUT", "/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,
		"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":%q,"size":%d},
		"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":%q,"size":7}]}`, sum(config), len(config), sum("package")))
}
