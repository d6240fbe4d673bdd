package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// query is one request for referrers.
type query struct {
	name         string
	subject      digest.Digest
	artifactType string        // "" for all
	last         digest.Digest // the last entry of the page before, "" on the first
}

// index is OCI's image index, of descriptors that are JSON already.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// serveReferrers answers /v2/<name>/referrers/<digest>.
func (r *Registry) serveReferrers(w http.ResponseWriter, req *http.Request, rt route) {
	params := req.URL.Query()
	q := query{
		name:         rt.name,
		subject:      digest.Digest(rt.ref),
		artifactType: params.Get("artifactType"),
		last:         digest.Digest(params.Get("last")),
	}
	if q.last != "" && q.last.Validate() != nil {
		faultDigest.serve(w)
		return
	}
	found, next, err := r.page(req.Context(), q)
	var body []byte
	if err == nil {
		body, err = json.Marshal(index{2, v1.MediaTypeImageIndex, found})
	}
	if err != nil {
		r.log.Error("list referrers", "image", q.name, "err", err)
		faultInternal.serve(w)
		return
	}
	if q.artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if next != "" {
		q.last = next
		w.Header().Set("Link", "<"+q.path()+`>; rel="next"`)
	}
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	_, _ = w.Write(body) // the client is gone, and nobody else wants to know
}

// path is the relative URL that asks q.
func (q query) path() string {
	params := url.Values{"last": {q.last.String()}}
	if q.artifactType != "" {
		params.Set("artifactType", q.artifactType)
	}
	u := url.URL{Path: "/v2/" + q.name + "/referrers/" + q.subject.String(), RawQuery: params.Encode()}
	return u.String()
}

// page collects the next answer to q: never nil, and no larger than a manifest
// may be, unless its only entry is. When there is more, next is the last that
// the page holds.
func (r *Registry) page(ctx context.Context, q query) (found []json.RawMessage, next digest.Digest, err error) {
	found = []json.RawMessage{}
	room := maxManifest - 1<<10 // for what is around the entries
	var last digest.Digest
	for e, err := range r.referrers.of(q.name, q.subject, q.last) {
		if err != nil {
			r.log.Error("skip referrer", "image", q.name, "err", err)
			continue
		}
		if q.artifactType != "" && e.artifactType != q.artifactType {
			continue
		}
		ok, err := r.backend.has(ctx, q.name, e.digest)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			continue
		}
		room -= len(e.descriptor) + len(",")
		if len(found) == maxPage || len(found) > 0 && room < 0 {
			return found, last, nil
		}
		found, last = append(found, e.descriptor), e.digest
	}
	return found, "", nil
}
