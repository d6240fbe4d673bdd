package registry

import (
	"net/http"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// locked refuses what attributes forbid: of the repository, and of the tag or
// manifest that the request is about.
func (r *Registry) locked(req *http.Request, rt route) *fault {
	if rt.name == "" {
		return nil
	}
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	a := r.attributesOf(lockRepository(rt.name))
	switch {
	case rt.kind == kindTags, rt.kind == kindUpload && reads:
		return nil
	case reads && !a.Read, !reads && !a.Write, req.Method == http.MethodDelete && !a.Delete && rt.kind != kindUpload:
		return faultLocked
	case rt.kind == kindUpload:
		return r.sourceLocked(req)
	case rt.kind != kindManifest:
		return nil
	}
	d, err := digest.Parse(rt.ref)
	if err != nil {
		return r.tagLocked(req.Method, rt)
	}
	return r.manifestLocked(req.Method, rt.name, d)
}

// sourceLocked is locked for the repository that a blob is to be mounted from:
// to mount is to read.
func (r *Registry) sourceLocked(req *http.Request) *fault {
	from := req.URL.Query().Get("from")
	if from == "" || !nameGrammar().MatchString(from) {
		return nil
	}
	return refuseUnless(r.attributesOf(lockRepository(from)).Read)
}

// tagLocked is locked for a request by tag. Whoever may not read a manifest
// may not read it by its tag either.
func (r *Registry) tagLocked(method string, rt route) *fault {
	a := r.attributesOf(lockTag(rt.name, rt.ref))
	switch method {
	case http.MethodDelete:
		return refuseUnless(a.Removable())
	case http.MethodPut:
		return refuseUnless(a.Write)
	}
	if !a.Read {
		return faultLocked
	}
	d, err := r.layout.resolve(rt.name, rt.ref)
	if err != nil || d == "" {
		return nil // for distribution to say
	}
	m := r.attributesOf(lockManifest(rt.name, d))
	if m.Read && m.Held() {
		return faultQuarantined
	}
	return refuseUnless(m.Read)
}

// manifestLocked is locked for a request by digest. With a manifest its tags
// would go, so they hold it.
func (r *Registry) manifestLocked(method, name string, d digest.Digest) *fault {
	a := r.attributesOf(lockManifest(name, d))
	switch method {
	case http.MethodPut:
		return refuseUnless(a.Write)
	case http.MethodGet, http.MethodHead:
		return refuseUnless(a.Read)
	}
	if !a.Removable() {
		return faultLocked
	}
	tags, err := r.attributes.tags(name)
	if err != nil {
		r.log.Error("read locks", "image", name, "err", err)
		return faultInternal
	}
	for _, tag := range tags {
		if r.attributesOf(lockTag(name, tag)).Removable() {
			continue
		}
		if named, err := r.layout.resolve(name, tag); err != nil || named == d {
			return faultLocked
		}
	}
	return nil
}

func refuseUnless(allowed bool) *fault {
	if allowed {
		return nil
	}
	return faultLocked
}

// attributesOf are those of a thing; when they cannot be read it is locked.
func (r *Registry) attributesOf(thing string) acr.Attributes {
	a, err := r.attributes.of(thing)
	if err != nil {
		r.log.Error("read attributes", "err", err)
	}
	return a
}
