package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"acrd/eventing/inbound"
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
