package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"acrd/eventing/inbound"

	"github.com/google/go-cmp/cmp"
)

// memorySources keep one source.
type memorySources struct{ kept *inbound.Source }

func (m *memorySources) SourceByHash(context.Context, string) (*inbound.Source, error) {
	return nil, inbound.ErrNotFound
}

func (m *memorySources) Sources(context.Context) ([]inbound.Source, error) {
	return []inbound.Source{*m.kept}, nil
}

func (m *memorySources) AddSource(_ context.Context, s *inbound.Source) error {
	if m.kept != nil {
		return inbound.ErrTaken
	}
	m.kept = s
	return nil
}

func (m *memorySources) Source(_ context.Context, name string) (*inbound.Source, error) {
	if m.kept == nil || m.kept.Name != name {
		return nil, inbound.ErrNotFound
	}
	return m.kept, nil
}

func (m *memorySources) Recent(context.Context, string, int) ([]inbound.Received, error) {
	return []inbound.Received{{Notice: inbound.Notice{ID: "1", Action: inbound.Push, Repository: "app", Tag: "v1"}, Outcome: inbound.Unconfirmed, Why: "no", Tries: 2}}, nil
}

func (m *memorySources) ChangeSource(ctx context.Context, name string, change func(*inbound.Source) error) (*inbound.Source, error) {
	s, err := m.Source(ctx, name)
	if err != nil {
		return nil, err
	}
	changed := *s
	if err := change(&changed); err != nil {
		return nil, err
	}
	m.kept = &changed
	return &changed, nil
}

func (m *memorySources) DeleteSource(_ context.Context, name string) error {
	_, err := m.Source(context.Background(), name)
	m.kept = nil
	return err
}

// TestEventSources: the address of a source is told once, and not kept.
func TestEventSources(t *testing.T) {
	m := &memorySources{}
	c := newSourceAdmin(t, m)
	ctx := t.Context()
	for _, wrong := range []inbound.Source{
		{Name: "a", Kind: "nexus", Registry: "r"},
		{Name: "a", Kind: inbound.Harbor},
		{Name: "a", Kind: inbound.Harbor, Registry: "https://r/x"},
		{Name: "", Kind: inbound.Quay},
		{Name: "a", Kind: inbound.Quay, Trusted: true},
		{Name: "a", Kind: inbound.Harbor, Registry: "r", Trusted: true},
		{Name: "a", Kind: inbound.GHCR, Header: "X"},
		{Name: "a", Kind: inbound.DockerHub, Secret: "s"},
		{Name: "a", Kind: inbound.Quay, ConnectedRegistry: "a/b"},
	} {
		if _, err := c.CreateEventSource(ctx, &wrong); !hasStatus(err, http.StatusBadRequest) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	fresh, err := c.CreateEventSource(ctx, &inbound.Source{Name: "hub", Kind: inbound.DockerHub, ConnectedRegistry: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile(`^/hooks/dockerhub/([A-Z2-7]{52})$`).FindStringSubmatch(fresh.Hook)
	if path == nil || m.kept.Hash != inbound.HashToken(path[1]) || m.kept.Registry != "docker.io" || fresh.Created.IsZero() {
		t.Errorf("made %+v, kept %+v", fresh, m.kept)
	}
	if _, err := c.CreateEventSource(ctx, &inbound.Source{Name: "hub", Kind: inbound.DockerHub}); !hasStatus(err, http.StatusConflict) {
		t.Errorf("a second: %v", err)
	}
	if all, err := c.EventSources(ctx); err != nil || len(all) != 1 || all[0].Name != "hub" {
		t.Errorf("list %+v, %v", all, err)
	}
	shown, err := c.EventSource(ctx, "hub")
	if err != nil || shown.ConnectedRegistry != "hub" || len(shown.Notices) != 1 || shown.Notices[0].Image != "app:v1" || shown.Notices[0].Outcome != inbound.Unconfirmed {
		t.Errorf("shown %+v, %v", shown, err)
	}
	if err := c.DeleteEventSource(ctx, "hub"); err != nil {
		t.Error(err)
	}
	if _, err := c.EventSource(ctx, "hub"); !hasStatus(err, http.StatusNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

// TestEventSources_Update: what a change does not name stays, and the address in
// any case.
func TestEventSources_Update(t *testing.T) {
	kept := inbound.Source{Name: "hub", Kind: inbound.Harbor, Registry: "h.example", Secret: "s", Hash: "hash", Created: time.Unix(1e9, 0).UTC()}
	m := &memorySources{&kept}
	c := newSourceAdmin(t, m)
	want := kept
	want.Credential, want.Secret = "robot", ""
	got, err := c.PatchEventSource(t.Context(), "hub", map[string]any{"credential": "robot", "secret": "", "created": "2001-01-01T00:00:00Z"})
	if diff := cmp.Diff(&want, m.kept); diff != "" || err != nil {
		t.Fatalf("kept (-want +got, %v):\n%s", err, diff)
	}
	if want.Hash = ""; !cmp.Equal(&want, got) {
		t.Errorf("told (-want +got):\n%s", cmp.Diff(&want, got))
	}
	for _, wrong := range []string{`{"kind":"acr"}`, `{"name":"other"}`, `{"registry":"https://x/"}`, `{"trusted":true}`, `{"secret":1}`, `[]`} {
		if _, err := c.PatchEventSource(t.Context(), "hub", json.RawMessage(wrong)); !hasStatus(err, http.StatusBadRequest) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if _, err := c.PatchEventSource(t.Context(), "none", map[string]any{}); !hasStatus(err, http.StatusNotFound) {
		t.Errorf("no such source: %v", err)
	}
}

func hasStatus(err error, status int) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == status
}

func newSourceAdmin(t *testing.T, m *memorySources) *Client {
	t.Helper()
	s := httptest.NewServer((&Gate{Owner: "owners"}).Management((&Admin{Sources: m}).Handler()))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, "owners")
	if err != nil {
		t.Fatal(err)
	}
	return c
}
