package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"acrd/eventing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest is the size that the distribution-spec asks registries to take
// at least, and the most that clients read.
const maxManifest = 4 << 20

// link is the part of a manifest that makes it a referrer.
type link struct {
	ArtifactType string            `json:"artifactType"`
	Config       v1.Descriptor     `json:"config"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// describe is how a list of referrers shows the manifest body.
func (l link) describe(mediaType string, body []byte) v1.Descriptor {
	d := v1.Descriptor{
		MediaType:    mediaType,
		Digest:       digest.FromBytes(body),
		Size:         int64(len(body)),
		ArtifactType: l.ArtifactType,
		Annotations:  l.Annotations,
	}
	if d.ArtifactType == "" {
		d.ArtifactType = l.Config.MediaType
	}
	return d
}

// pushManifest takes a manifest in. It has all of it before it holds anything
// up, for a client may be slow.
func (r *Registry) pushManifest(w http.ResponseWriter, req *http.Request, rt route) {
	body, bad := readManifest(w, req)
	if bad != nil {
		bad.serve(w)
		return
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	var c contents
	_ = json.Unmarshal(body, &c) // what is no manifest is refused below
	defer r.pin(rt.name, named(body, &c)...)()
	r.changing(w, req, rt, func() { r.putManifest(w, req, rt) })
}

// putManifest has distribution store a manifest, indexes it if it is a
// referrer, and tells of it if it gets a tag. The body is complete before
// anything is written. The caller has the lane of the repository.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, rt route) {
	body, bad := readManifest(w, req)
	if bad != nil {
		bad.serve(w)
		return
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	mediaType, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")) // distribution refuses what it is not
	var l link
	if err := json.Unmarshal(body, &l); err != nil || l.Subject != nil && mediaType == "" {
		faultManifestJSON.serve(w)
		return
	}
	if l.Subject != nil && l.Subject.Digest.Validate() != nil {
		faultSubject.serve(w)
		return
	}
	put := func(answer *response) {
		if l.Subject == nil {
			r.backend.serve(answer, req)
			return
		}
		answer.subject = l.Subject.Digest.String()
		r.putReferrer(answer, req, rt.name, l.describe(mediaType, body))
	}
	answer := &response{ResponseWriter: w}
	d := digest.FromBytes(body)
	held, err := r.hold(context.WithoutCancel(req.Context()), rt.name, d)
	if err != nil {
		r.internal(w, "quarantine manifest", err)
		return
	}
	if _, err := digest.Parse(rt.ref); err == nil {
		r.quietly(answer, req, rt.name, put)
		return
	}
	if r.pushed != nil && l.Subject == nil && !held { // nobody builds on a referrer
		answer.created = func() { r.pushed(rt.name, rt.ref, d.String()) }
	}
	r.telling(answer, req, func(ctx context.Context) (eventing.Draft, error) { return r.push(ctx, req, rt, mediaType, body, held) }, put)
}

// push is the draft of a push to a tag.
func (r *Registry) push(ctx context.Context, req *http.Request, rt route, mediaType string, body []byte, held bool) (eventing.Draft, error) {
	before, err := r.backend.stamp(ctx, rt.name, rt.ref)
	if err != nil {
		return eventing.Draft{}, err
	}
	t, chart := r.backend.target(ctx, rt.name, rt.ref, mediaType, body)
	what := pushOf(chart)
	if held {
		what = eventing.ImageQuarantined
	}
	return r.draft(what, t, change{Repository: rt.name, Tag: rt.ref, Digest: digest.FromBytes(body), Before: before}, req), nil
}

// telling does a change of which a draft tells. The caller has the lane of the
// repository.
func (r *Registry) telling(answer *response, req *http.Request, draft func(context.Context) (eventing.Draft, error), do func(*response)) {
	if r.ledger.journal == nil {
		do(answer)
		return
	}
	ctx := context.WithoutCancel(req.Context())
	d, err := draft(ctx)
	if err != nil {
		r.log.Error("look what is changed", "image", req.URL.Path, "err", err)
		faultInternal.serve(answer)
		return
	}
	if bad := r.ledger.begin(ctx, d); bad != nil {
		bad.serve(answer.ResponseWriter)
		return
	}
	defer func() {
		if answer.status == http.StatusCreated || answer.status == http.StatusAccepted {
			r.ledger.decide(d, true)
			return
		}
		if err := r.look(ctx, d); err != nil { // later again, by Serve
			r.log.Error("look whether a change was made", "image", d.Event.Subject, "err", err)
		}
	}()
	do(answer)
}

// quietly does a change of a repository that nobody is told of.
func (r *Registry) quietly(answer *response, req *http.Request, name string, do func(*response)) {
	if bad := r.ledger.settleRepository(req.Context(), name); bad != nil {
		bad.serve(answer.ResponseWriter)
		return
	}
	do(answer)
}

// readManifest reads the whole body or says why not.
func readManifest(w http.ResponseWriter, req *http.Request) ([]byte, *fault) {
	if req.ContentLength > maxManifest {
		return nil, faultManifestSize
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, faultManifestSize
	}
	if err != nil {
		return nil, faultManifestCut
	}
	return body, nil
}

// putReferrer writes the entry, then the manifest. A crash between the two
// leaves an entry that is never told; the other order would lose a referrer,
// as clients do not push again what they find stored.
func (r *Registry) putReferrer(w *response, req *http.Request, name string, d v1.Descriptor) {
	subject := digest.Digest(w.subject)
	if err := r.referrers.add(name, subject, d); err != nil {
		r.log.Error("index referrer", "image", name, "err", err)
		faultInternal.serve(w)
		return
	}
	r.backend.serve(w, req)
	if w.status == http.StatusCreated {
		return
	}
	ok, err := r.backend.has(context.WithoutCancel(req.Context()), name, d.Digest)
	if err == nil && !ok {
		err = r.referrers.remove(name, subject, d.Digest)
	}
	if err != nil {
		r.log.Warn("forget referrer", "image", name, "err", err)
	}
}

// deleteManifest has distribution delete a manifest or tag, and with a
// referrer its entry. The caller has the lane of the repository.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, rt route) {
	answer := &response{ResponseWriter: w}
	d, err := digest.Parse(rt.ref)
	if err != nil {
		r.untag(answer, req, rt)
		return
	}
	ctx := context.WithoutCancel(req.Context())
	mediaType, body, err := r.backend.manifest(ctx, rt.name, d)
	if err != nil { // what cannot be read can be deleted all the same
		r.log.Warn("read manifest", "image", rt.name, "err", err)
	}
	if body == nil && err == nil {
		r.backend.serve(answer, req)
		return
	}
	r.telling(answer, req, func(ctx context.Context) (eventing.Draft, error) {
		return r.deletion(ctx, req, rt.name, d, mediaType, body)
	}, func(answer *response) {
		r.backend.serve(answer, req)
		subject := subjectOf(body)
		if answer.status != http.StatusAccepted || subject == "" {
			return
		}
		if err := r.referrers.remove(rt.name, subject, d); err != nil {
			r.log.Warn("forget referrer", "image", rt.name, "err", err)
		}
	})
}

// deletion is the draft of the deletion of a manifest. What it tells can be
// read only before.
func (r *Registry) deletion(ctx context.Context, req *http.Request, name string, d digest.Digest, mediaType string, body []byte) (eventing.Draft, error) {
	tags, err := r.backend.tagsOf(ctx, name, d)
	if err != nil {
		return eventing.Draft{}, err
	}
	slices.Sort(tags)
	t, chart := r.backend.target(ctx, name, strings.Join(tags[:min(1, len(tags))], ""), mediaType, body)
	t.Tags = tags[:min(maxTags, len(tags))]
	what := eventing.ChartDeleted
	if !chart {
		what, t.Digest = eventing.ImageDeleted, d.String()
	}
	return r.draft(what, t, change{Repository: name, Digest: d, Gone: true}, req), nil
}

// untag has distribution remove a tag.
func (r *Registry) untag(answer *response, req *http.Request, rt route) {
	ctx := context.WithoutCancel(req.Context())
	d, err := r.backend.tagged(ctx, rt.name, rt.ref)
	if err != nil {
		r.log.Warn("read tag", "image", rt.name, "err", err)
	}
	remove := func(answer *response) { r.backend.serve(answer, req) }
	if d == "" {
		r.quietly(answer, req, rt.name, remove)
		return
	}
	r.telling(answer, req, func(ctx context.Context) (eventing.Draft, error) {
		mediaType, _, err := r.backend.manifest(ctx, rt.name, d)
		if err != nil {
			r.log.Warn("read manifest", "image", rt.name, "err", err)
		}
		t := eventing.Target{MediaType: mediaType, Digest: d.String(), Repository: rt.name, Tag: rt.ref}
		return r.draft(eventing.ImageUntagged, t, change{Repository: rt.name, Tag: rt.ref, Gone: true}, req), nil
	}, remove)
}

// subjectOf reads which subject a manifest names, "" if none.
func subjectOf(body []byte) digest.Digest {
	var l link
	if body == nil || json.Unmarshal(body, &l) != nil || l.Subject == nil || l.Subject.Digest.Validate() != nil {
		return ""
	}
	return l.Subject.Digest
}
