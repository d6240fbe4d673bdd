package acr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A Client asks a registry by its data API. It is safe for concurrent use.
type Client struct {
	HTTP *http.Client
	Base string // http(s)://HOST:PORT
	// Page is how many a list asks for at once; 0 leaves it to the registry.
	Page int
}

// A Fault is an answer that refuses.
type Fault struct {
	Status  int
	Code    string
	Message string
}

func (f *Fault) Error() string { return f.Message }

// IsNotFound says that there is nothing of that name.
func IsNotFound(err error) bool {
	var f *Fault
	return errors.As(err, &f) && f.Status == http.StatusNotFound
}

// IsLocked says that attributes forbid it.
func IsLocked(err error) bool {
	var f *Fault
	return errors.As(err, &f) && f.Status == http.StatusMethodNotAllowed
}

// Orders of lists; the empty one is by name.
const (
	NewestFirst = "timedesc"
	OldestFirst = "timeasc"
)

// Catalog is every repository, by name, a page at a time as it is needed.
func (c *Client) Catalog(ctx context.Context) iter.Seq2[string, error] {
	return list(ctx, c, Root+"/_catalog", nil, func(p Repositories) []string { return p.Names })
}

// Repository is one, if there is such a one.
func (c *Client) Repository(ctx context.Context, name string) (*Repository, error) {
	var r Repository
	return &r, c.call(ctx, http.MethodGet, Root+"/"+name, nil, &r)
}

// UpdateRepository changes attributes.
func (c *Client) UpdateRepository(ctx context.Context, name string, change Change) (*Repository, error) {
	var r Repository
	return &r, c.call(ctx, http.MethodPatch, Root+"/"+name, change, &r)
}

// DeleteRepository deletes everything in it.
func (c *Client) DeleteRepository(ctx context.Context, name string) (*Deleted, error) {
	var d Deleted
	return &d, c.call(ctx, http.MethodDelete, Root+"/"+name, nil, &d)
}

// Tags are a repository's.
func (c *Client) Tags(ctx context.Context, repository, order string) iter.Seq2[Tag, error] {
	return list(ctx, c, Root+"/"+repository+"/_tags", ordered(order), func(p Tags) []Tag { return p.Tags })
}

// Tag is one.
func (c *Client) Tag(ctx context.Context, repository, tag string) (*TagInfo, error) {
	var t TagInfo
	return &t, c.call(ctx, http.MethodGet, Root+"/"+repository+"/_tags/"+tag, nil, &t)
}

// UpdateTag changes attributes.
func (c *Client) UpdateTag(ctx context.Context, repository, tag string, change Change) (*TagInfo, error) {
	var t TagInfo
	return &t, c.call(ctx, http.MethodPatch, Root+"/"+repository+"/_tags/"+tag, change, &t)
}

// Untag takes a tag away; the manifest stays.
func (c *Client) Untag(ctx context.Context, repository, tag string) error {
	return c.call(ctx, http.MethodDelete, Root+"/"+repository+"/_tags/"+tag, nil, nil)
}

// Manifests are a repository's.
func (c *Client) Manifests(ctx context.Context, repository, order string) iter.Seq2[Manifest, error] {
	return list(ctx, c, Root+"/"+repository+"/_manifests", ordered(order), func(p Manifests) []Manifest { return p.Manifests })
}

// Manifest is one.
func (c *Client) Manifest(ctx context.Context, repository, digest string) (*ManifestInfo, error) {
	var m ManifestInfo
	return &m, c.call(ctx, http.MethodGet, Root+"/"+repository+"/_manifests/"+digest, nil, &m)
}

// UpdateManifest changes attributes.
func (c *Client) UpdateManifest(ctx context.Context, repository, digest string, change Change) (*ManifestInfo, error) {
	var m ManifestInfo
	return &m, c.call(ctx, http.MethodPatch, Root+"/"+repository+"/_manifests/"+digest, change, &m)
}

// DeleteManifest deletes a manifest, and with it its tags.
func (c *Client) DeleteManifest(ctx context.Context, repository, digest string) error {
	return c.call(ctx, http.MethodDelete, "/v2/"+repository+"/manifests/"+digest, nil, nil)
}

// Content reads a manifest itself, by tag or digest.
func (c *Client) Content(ctx context.Context, repository, ref string) (json.RawMessage, error) {
	var b json.RawMessage
	return b, c.call(ctx, http.MethodGet, "/v2/"+repository+"/manifests/"+ref, nil, &b)
}

// Referrers are the manifests whose subject is this one; of one type, if that
// is not empty.
func (c *Client) Referrers(ctx context.Context, repository, digest, artifactType string) iter.Seq2[Descriptor, error] {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	return list(ctx, c, "/v2/"+repository+"/referrers/"+digest, query, func(p Referrers) []Descriptor { return p.Manifests })
}

func ordered(order string) url.Values {
	if order == "" {
		return nil
	}
	return url.Values{"orderby": {order}}
}

// list follows the pages of a list. An error ends it.
func list[Page, Item any](ctx context.Context, c *Client, path string, query url.Values, items func(Page) []Item) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if query == nil {
			query = url.Values{}
		}
		if c.Page > 0 {
			query.Set("n", strconv.Itoa(c.Page))
		}
		next := path + "?" + query.Encode()
		for next != "" {
			var page Page
			var err error
			if next, err = c.page(ctx, next, &page); err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range items(page) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// page reads one page and returns the path of the next.
func (c *Client) page(ctx context.Context, path string, into any) (string, error) {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	link := resp.Header.Get("Link")
	end := strings.IndexByte(link, '>')
	if !strings.HasPrefix(link, "<") || end < 0 {
		return "", nil
	}
	return link[1:end], nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.HTTP.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok {
		return nil, u.Err // the address says nothing to a user
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, fault(resp)
}

// fault reads an answer that refuses, of the registry or of who stands before
// it.
func fault(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	f := &Fault{Status: resp.StatusCode, Message: strings.TrimSpace(string(b))}
	var body struct {
		Errors []struct{ Code, Message string }
		Error  struct{ Code, Message string }
	}
	if json.Unmarshal(b, &body) == nil {
		if len(body.Errors) > 0 {
			f.Code, f.Message = body.Errors[0].Code, body.Errors[0].Message
		} else if body.Error.Message != "" {
			f.Code, f.Message = body.Error.Code, body.Error.Message
		}
	}
	if f.Message == "" {
		f.Message = resp.Status
	}
	return f
}
