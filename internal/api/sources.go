package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"acrd/eventing/inbound"
	"acrd/runner"
)

// sourceRoutes are those of other registries that may speak here.
func (a *Admin) sourceRoutes() []route {
	return []route{
		{"POST", adminRoot + "/event-sources", a.createSource},
		{"GET", adminRoot + "/event-sources", a.listSources},
		{"GET", adminRoot + "/event-sources/{name}", a.showSource},
		{"PATCH", adminRoot + "/event-sources/{name}", a.updateSource},
		{"DELETE", adminRoot + "/event-sources/{name}", a.deleteSource},
	}
}

// A FreshSource is one with its address, which is never shown again.
type FreshSource struct {
	inbound.Source
	// Hook is the path that its hooks are sent to.
	Hook string `json:"hook"`
}

// A ShownSource is one with the latest of what it has said.
type ShownSource struct {
	inbound.Source
	Notices []SourceNotice `json:"notices"`
}

// A SourceNotice is a notice, and what became of it. One without an outcome is
// open.
type SourceNotice struct {
	ID      string          `json:"id"`
	Action  inbound.Action  `json:"action"`
	Image   string          `json:"image"`
	Digest  string          `json:"digest,omitempty"`
	At      time.Time       `json:"received"`
	Outcome inbound.Outcome `json:"outcome,omitempty"`
	Why     string          `json:"why,omitempty"`
	Tries   int             `json:"tries"`
}

// shownNotices is how many are shown of a source.
const shownNotices = 100

func (a *Admin) createSource(w http.ResponseWriter, r *http.Request) error {
	var s inbound.Source
	if err := decode(w, r, &s); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return &runner.InvalidError{Err: err}
	}
	token := rand.Text() + rand.Text()
	s.Hash, s.Created = inbound.HashToken(token), time.Now().UTC().Truncate(time.Second)
	if err := a.Sources.AddSource(r.Context(), &s); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return reply(w, http.StatusCreated, FreshSource{s, "/hooks/" + string(s.Kind) + "/" + token})
}

func (a *Admin) listSources(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Sources.Sources(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		Value []inbound.Source `json:"value"`
	}{append([]inbound.Source{}, all...)})
}

func (a *Admin) showSource(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Sources.Source(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	recent, err := a.Sources.Recent(r.Context(), s.Name, shownNotices)
	if err != nil {
		return err
	}
	shown := ShownSource{*s, []SourceNotice{}}
	for _, n := range recent {
		shown.Notices = append(shown.Notices, SourceNotice{n.ID, n.Action, n.Ref(), n.Digest, n.At, n.Outcome, n.Why, n.Tries})
	}
	return reply(w, http.StatusOK, shown)
}

// updateSource changes what the body names. The address stays, and so does what
// is in it.
func (a *Admin) updateSource(w http.ResponseWriter, r *http.Request) error {
	var change json.RawMessage
	if err := decode(w, r, &change); err != nil {
		return err
	}
	s, err := a.Sources.ChangeSource(r.Context(), r.PathValue("name"), func(s *inbound.Source) error {
		old := *s
		if err := json.Unmarshal(change, s); err != nil {
			return &runner.InvalidError{Err: err}
		}
		if s.Kind != old.Kind || s.Name != old.Name {
			return &runner.InvalidError{Err: errors.New("the name and the kind of a source stay: make another one")}
		}
		s.Created = old.Created
		if err := s.Check(); err != nil {
			return &runner.InvalidError{Err: err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *Admin) deleteSource(w http.ResponseWriter, r *http.Request) error {
	if err := a.Sources.DeleteSource(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// CreateEventSource lets a registry speak, and returns its address, of which
// there is no other copy.
func (c *Client) CreateEventSource(ctx context.Context, s *inbound.Source) (*FreshSource, error) {
	var fresh FreshSource
	return &fresh, c.call(ctx, http.MethodPost, adminRoot+"/event-sources", s, &fresh)
}

// EventSources lists registries that may speak.
func (c *Client) EventSources(ctx context.Context) ([]inbound.Source, error) {
	var page struct{ Value []inbound.Source }
	err := c.call(ctx, http.MethodGet, adminRoot+"/event-sources", nil, &page)
	return page.Value, err
}

// EventSource shows one, and the latest of what it has said.
func (c *Client) EventSource(ctx context.Context, name string) (*ShownSource, error) {
	var s ShownSource
	return &s, c.call(ctx, http.MethodGet, adminRoot+"/event-sources/"+url.PathEscape(name), nil, &s)
}

// PatchEventSource changes what the body names.
func (c *Client) PatchEventSource(ctx context.Context, name string, body any) (*inbound.Source, error) {
	var s inbound.Source
	return &s, c.call(ctx, http.MethodPatch, adminRoot+"/event-sources/"+url.PathEscape(name), body, &s)
}

// DeleteEventSource makes the address of a source worth nothing.
func (c *Client) DeleteEventSource(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, adminRoot+"/event-sources/"+url.PathEscape(name), nil, nil)
}
