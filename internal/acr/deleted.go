package acr

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// deleted is where the registry tells what can be restored.
const deleted = Root + "/_deleted/"

// DeletedRepositories are those that something was deleted from.
func (c *Client) DeletedRepositories(ctx context.Context) ([]string, error) {
	var r Repositories
	return r.Names, c.call(ctx, http.MethodGet, deleted+"_catalog", nil, &r)
}

// DeletedManifests are those of a repository that can be restored.
func (c *Client) DeletedManifests(ctx context.Context, repository string) ([]DeletedManifest, error) {
	var all DeletedManifests
	return all.Manifests, c.call(ctx, http.MethodGet, deleted+repository+"/_manifests", nil, &all)
}

// DeletedTags are those of a repository that can be restored, the last deleted
// last; of one tag, if it is not empty.
func (c *Client) DeletedTags(ctx context.Context, repository, tag string) ([]DeletedTag, error) {
	var all DeletedTags
	return all.Tags, c.call(ctx, http.MethodGet, strings.TrimSuffix(deleted+repository+"/_tags/"+tag, "/"), nil, &all)
}

// RestoreTag brings back what a tag has named last, or a digest under it. A
// tag that is there is taken only by force.
func (c *Client) RestoreTag(ctx context.Context, repository, tag, digest string, force bool) (*Tag, error) {
	q := url.Values{}
	if digest != "" {
		q.Set("digest", digest)
	}
	if force {
		q.Set("force", "true")
	}
	var t Tag
	return &t, c.call(ctx, http.MethodPost, deleted+repository+"/_tags/"+tag+"?"+q.Encode(), nil, &t)
}

// RestoreManifest brings back a manifest without a tag.
func (c *Client) RestoreManifest(ctx context.Context, repository, digest string) (*Tag, error) {
	var t Tag
	return &t, c.call(ctx, http.MethodPost, deleted+repository+"/_manifests/"+digest, nil, &t)
}
