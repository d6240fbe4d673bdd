package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// deletedCatalog lists the repositories that something was deleted from.
func (r *Registry) deletedCatalog(w http.ResponseWriter, _ *http.Request, _ dataRoute) {
	names, err := r.trash.names()
	if err != nil {
		r.internal(w, "list deleted", err)
		return
	}
	answer(w, http.StatusOK, acr.Repositories{Names: append([]string{}, names...)})
}

func (r *Registry) deletedManifests(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	all, err := r.trash.manifests(rt.name)
	if err != nil {
		r.internal(w, "list deleted", err)
		return
	}
	all = slices.DeleteFunc(all, func(m acr.DeletedManifest) bool { return r.there(route{name: rt.name, ref: m.Digest}) })
	for i := range all {
		all[i].Expires = r.expires(all[i].Deleted)
	}
	answer(w, http.StatusOK, acr.DeletedManifests{Registry: req.Host, Repository: rt.name, Manifests: append([]acr.DeletedManifest{}, all...)})
}

func (r *Registry) deletedTags(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	all, err := r.trash.tags(rt.name, rt.ref)
	if err != nil {
		r.internal(w, "list deleted", err)
		return
	}
	all = slices.DeleteFunc(all, func(t acr.DeletedTag) bool { return r.names(rt.name, t.Name, digest.Digest(t.Digest)) })
	for i := range all {
		all[i].Expires = r.expires(all[i].Deleted)
	}
	answer(w, http.StatusOK, acr.DeletedTags{Registry: req.Host, Repository: rt.name, Tags: append([]acr.DeletedTag{}, all...)})
}

func (r *Registry) expires(deleted time.Time) time.Time {
	return deleted.AddDate(0, 0, r.Policies().SoftDelete.RetentionDays)
}

// restore brings a manifest back, under a tag or its digest. It is pushed once
// more, as far as everybody else is concerned.
func (r *Registry) restore(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	rt, d, bad := r.restorable(w, req, rt)
	if bad != nil {
		bad.serve(w)
		return
	}
	a := r.pushAgain(req, rt.name, rt.ref, d)
	if a.status != http.StatusCreated {
		a.relay(w)
		return
	}
	if rt.list == "_tags" {
		r.back(rt.name, rt.ref, d)
	}
	now := time.Now().UTC()
	answer(w, http.StatusOK, acr.Tag{Name: rt.ref, Digest: d.String(), Created: now, Updated: now, Attributes: acr.Unlocked()})
}

// restorable is the tag or the digest that a request wants back, and the
// manifest that it is to name. az names the tag of a digest in the body.
func (r *Registry) restorable(w http.ResponseWriter, req *http.Request, rt dataRoute) (dataRoute, digest.Digest, *fault) {
	q := req.URL.Query()
	d := digest.Digest(q.Get("digest"))
	if rt.list == "_manifests" {
		var body struct{ Tag string }
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<16)).Decode(&body); err != nil && !errors.Is(err, io.EOF) {
			return rt, "", faultRestore
		}
		d = digest.Digest(rt.ref)
		if body.Tag != "" {
			rt.list, rt.ref = "_tags", body.Tag
		}
	}
	if rt.list == "_tags" && !tagGrammar().MatchString(rt.ref) {
		return rt, "", faultTag
	}
	if d == "" {
		tags, err := r.trash.tags(rt.name, rt.ref)
		if err != nil {
			r.log.Error("restore", "image", rt.name, "err", err)
			return rt, "", faultInternal
		}
		if len(tags) == 0 {
			return rt, "", faultNotDeleted
		}
		d = digest.Digest(tags[len(tags)-1].Digest)
	}
	if d.Validate() != nil {
		return rt, "", faultDigest
	}
	if force, _ := strconv.ParseBool(q.Get("force")); rt.list == "_tags" && !force && r.there(route{name: rt.name, ref: rt.ref}) {
		return rt, "", faultTagThere
	}
	return rt, d, nil
}

// pushAgain pushes a manifest that was deleted, or has lost a tag, and first
// those in it.
func (r *Registry) pushAgain(req *http.Request, name, ref string, d digest.Digest) *passed {
	refused := func(f *fault) *passed {
		a := &passed{header: http.Header{}}
		f.serve(a)
		return a
	}
	known := r.there(route{name: name, ref: d.String()})
	if _, err := r.trash.root.Stat(trashedManifest(name, d)); err != nil && !known {
		return refused(faultNotDeleted)
	}
	body, c, err := r.layout.contents(d)
	if err != nil || body == nil {
		r.log.Error("restore", "image", name, "err", err)
		return refused(faultNotDeleted)
	}
	for _, part := range c.Manifests {
		if !r.there(route{name: name, ref: part.Digest.String()}) {
			if a := r.pushAgain(req, name, part.Digest.String(), part.Digest); a.status != http.StatusCreated {
				return a
			}
		}
	}
	path := "/v2/" + name + "/manifests/" + ref
	own := req.Clone(req.Context())
	own.Method, own.Body, own.ContentLength = http.MethodPut, io.NopCloser(bytes.NewReader(body)), int64(len(body))
	own.URL, own.RequestURI = &url.URL{Path: path}, path
	own.Header.Set("Content-Type", mediaTypeOf(c))
	a := &passed{header: http.Header{}}
	r.ServeHTTP(a, own)
	if a.status == http.StatusCreated {
		r.back(name, "", d)
	}
	return a
}

// back forgets that a manifest was deleted, or a tag of it, unless that has been
// done once more.
func (r *Registry) back(name, tag string, d digest.Digest) {
	leave := r.lanes.enter(name)
	defer leave()
	var file string
	var is bool
	if tag != "" {
		file, is = trashedTag(name, tag, d), r.names(name, tag, d)
	} else {
		file, is = trashedManifest(name, d), r.there(route{name: name, ref: d.String()})
	}
	if !is {
		return
	}
	if err := r.trash.remove(file); err != nil {
		r.log.Warn("forget deleted", "image", name, "err", err)
	}
}

// names says that a tag is put to a manifest.
func (r *Registry) names(name, tag string, d digest.Digest) bool {
	is, err := r.layout.resolve(name, tag)
	return err == nil && is == d
}
