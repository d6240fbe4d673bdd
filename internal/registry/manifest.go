package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

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

// putManifest has distribution store a manifest, and indexes it if it is a
// referrer. The body is complete before anything is written.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, rt route) {
	body, bad := readManifest(w, req)
	if bad != nil {
		bad.serve(w)
		return
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))

	var l link
	if err := json.Unmarshal(body, &l); err != nil {
		faultManifestJSON.serve(w)
		return
	}
	if l.Subject == nil {
		answer := &response{ResponseWriter: w}
		answer.created = func() { r.tagged(rt, body) }
		r.backend.serve(answer, req)
		return
	}
	mediaType, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		faultManifestJSON.serve(w)
		return
	}
	if l.Subject.Digest.Validate() != nil {
		faultSubject.serve(w)
		return
	}
	r.putReferrer(&response{ResponseWriter: w, subject: l.Subject.Digest.String()}, req, rt.name, l.describe(mediaType, body))
}

// tagged reports a manifest that was put by its tag. A referrer is none that
// anybody builds on.
func (r *Registry) tagged(rt route, body []byte) {
	if r.pushed == nil {
		return
	}
	if _, err := digest.Parse(rt.ref); err != nil {
		r.pushed(rt.name, rt.ref, digest.FromBytes(body).String())
	}
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
	r.pair.Lock()
	defer r.pair.Unlock()

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
// referrer its entry.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, rt route) {
	answer := &response{ResponseWriter: w}
	d, err := digest.Parse(rt.ref)
	if err != nil { // a tag
		r.backend.serve(answer, req)
		return
	}
	subject := r.subject(req.Context(), rt.name, d)
	if subject == "" {
		r.backend.serve(answer, req)
		return
	}
	r.pair.Lock()
	defer r.pair.Unlock()
	r.backend.serve(answer, req)
	if answer.status != http.StatusAccepted {
		return
	}
	if err := r.referrers.remove(rt.name, subject, d); err != nil {
		r.log.Warn("forget referrer", "image", rt.name, "err", err)
	}
}

// subject reads which subject the manifest d names, "" if none. What cannot be
// read now can be deleted all the same: an entry that stays is never told.
func (r *Registry) subject(ctx context.Context, name string, d digest.Digest) digest.Digest {
	body, err := r.backend.manifest(ctx, name, d)
	if err != nil {
		r.log.Warn("read subject", "image", name, "err", err)
	}
	var l link
	if body == nil || json.Unmarshal(body, &l) != nil || l.Subject == nil || l.Subject.Digest.Validate() != nil {
		return ""
	}
	return l.Subject.Digest
}
