package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"acrd/runner"
)

const (
	// pageSize is how many resources are in one page, as in Azure.
	pageSize = 100
	// scanSize is how many runs are read at a time when the store cannot
	// tell which ones are meant.
	scanSize = 500
)

// A cursor is where the next page begins. On the wire it is opaque.
type cursor struct {
	// After is the last resource of the page before.
	After string `json:"a"`
	// Left is how many may still come; 0 is all.
	Left int `json:"n,omitempty"`
}

func (c cursor) token() string {
	b, _ := json.Marshal(c) // plain values
	return base64.RawURLEncoding.EncodeToString(b)
}

func readCursor(q url.Values) (c cursor, err error) {
	if q.Has("$skipToken") {
		b, err := base64.RawURLEncoding.DecodeString(q.Get("$skipToken"))
		if err != nil || json.Unmarshal(b, &c) != nil || c.After == "" {
			return c, runner.Faults{{Code: "InvalidParameter", Target: "$skipToken", Message: "It is not from a nextLink of this daemon."}}
		}
		return c, nil
	}
	if text := q.Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return c, runner.Faults{{Code: "InvalidParameter", Target: "$top", Message: "It is not a positive number."}}
		}
		c.Left = n
	}
	return c, nil
}

// size is how many resources the page that begins at c has.
func (c cursor) size() int {
	if c.Left > 0 {
		return min(c.Left, pageSize)
	}
	return pageSize
}

// next is where the page after one of n resources begins.
func (c cursor) next(last string, n int) (cursor, bool) {
	if c.Left > 0 {
		c.Left -= n
		if c.Left <= 0 {
			return c, false
		}
	}
	c.After = last
	return c, true
}

// A page is a part of a list.
type page[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// nextLink is the address of r, but for the page.
func nextLink(r *http.Request, host string, c cursor) string {
	u := url.URL{Scheme: scheme(r), Host: host, Path: r.URL.Path}
	q := r.URL.Query()
	q.Del("$top")
	q.Set("$skipToken", c.token())
	u.RawQuery = q.Encode()
	return u.String()
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// address is where clients reach this daemon, as r's has.
func (s *Server) address(r *http.Request) string {
	if r.Context().Value(peerKey{}) != nil { // over the socket, under no name
		return s.Info.Registry
	}
	return r.Host
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	c, err := readCursor(r.URL.Query())
	if err != nil {
		return err
	}
	f, err := parseFilter(r.URL.Query().Get("$filter"))
	if err != nil {
		return runner.Faults{{Code: "InvalidParameter", Target: "$filter", Message: fmt.Sprintf("The filter cannot be understood: %v.", err)}}
	}
	runs, more, err := s.matching(r.Context(), f, c.After, c.size())
	if err != nil {
		return err
	}
	p := page[*Run]{Value: []*Run{}}
	for _, run := range runs {
		p.Value = append(p.Value, newRun(rootOf(r), run))
	}
	if more {
		if next, ok := c.next(runs[len(runs)-1].ID, len(runs)); ok {
			p.NextLink = nextLink(r, s.address(r), next)
		}
	}
	return reply(w, http.StatusOK, p)
}

// matching are the n newest runs before one that f is for, and whether there
// are more.
func (s *Server) matching(ctx context.Context, f *filter, before string, n int) (found []*runner.Run, more bool, err error) {
	if id, ok := f.runID(); ok {
		run, err := s.Records.Run(ctx, strings.ToLower(id))
		if errors.Is(err, runner.ErrNotFound) {
			return nil, false, nil
		}
		if err == nil && before == "" && f.match(run) {
			found = append(found, run)
		}
		return found, false, err
	}
	q, exact := f.narrow()
	q.Before, q.Limit = before, n+1
	if !exact {
		q.Limit = scanSize
	}
	for {
		runs, err := s.Records.Runs(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, run := range runs {
			if !f.match(run) {
				continue
			}
			if len(found) == n {
				return found, true, nil
			}
			found = append(found, run)
		}
		if len(runs) < q.Limit {
			return found, false, nil
		}
		q.Before = runs[len(runs)-1].ID
	}
}
