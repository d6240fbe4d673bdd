package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"acrd/internal/acr"

	"github.com/opencontainers/go-digest"
)

// changing has do put or delete a manifest, and keeps what is known of the
// repository true. Meanwhile nobody else changes the repository. It may have
// been locked since the request began, whose client may be slow.
func (r *Registry) changing(w http.ResponseWriter, req *http.Request, rt route, do func()) {
	r.writes.RLock()
	defer r.writes.RUnlock()
	leave := r.lanes.enter(rt.name)
	defer leave()
	if bad := r.locked(req, rt); bad != nil {
		bad.serve(w)
		return
	}
	d, err := digest.Parse(rt.ref)
	if err == nil {
		do()
		r.views.changed(rt.name)
		r.forgetGone(rt.name, d)
		return
	}
	before, _ := r.layout.resolve(rt.name, rt.ref) // distribution has its own opinion of a broken one
	do()
	r.views.changed(rt.name)
	after, err := r.layout.resolve(rt.name, rt.ref)
	if before != "" && after != before {
		// The manifest has lost a tag: its folder says when.
		now := time.Now()
		_ = os.Chtimes(filepath.Dir(r.layout.revision(rt.name, before)), now, now)
	}
	if err == nil && after == "" {
		r.forget(lockTag(rt.name, rt.ref))
	}
}

// forgetGone forgets the attributes of a manifest that was deleted, and of the
// tags that went with it.
func (r *Registry) forgetGone(name string, d digest.Digest) {
	if _, err := os.Stat(r.layout.revision(name, d)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	r.forget(lockManifest(name, d))
	tags, err := r.attributes.tags(name)
	if err != nil {
		r.log.Warn("forget attributes", "image", name, "err", err)
	}
	for _, tag := range tags {
		if named, err := r.layout.resolve(name, tag); err == nil && named == "" {
			r.forget(lockTag(name, tag))
		}
	}
}

func (r *Registry) forget(thing string) {
	if err := r.attributes.forget(thing); err != nil {
		r.log.Warn("forget attributes", "err", err)
	}
}

// dataUntag removes a tag.
func (r *Registry) dataUntag(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	if _, ok := r.view(w, rt.name); !ok {
		return
	}
	a := r.pass(req, http.MethodDelete, "/v2/"+rt.name+"/manifests/"+rt.ref)
	if a.status == http.StatusNotFound {
		faultTagUnknown.serve(w)
		return
	}
	a.relay(w)
}

// dataDelete deletes all manifests of a repository, each as a client would,
// and then what is left of it. Nothing is deleted when something is locked.
func (r *Registry) dataDelete(w http.ResponseWriter, req *http.Request, rt dataRoute) {
	v, ok := r.view(w, rt.name)
	if !ok {
		return
	}
	if bad := r.anyLocked(rt.name, v); bad != nil {
		bad.serve(w)
		return
	}
	gone := acr.Deleted{Manifests: []string{}, Tags: []string{}}
	for _, m := range v.manifests {
		a := r.pass(req, http.MethodDelete, "/v2/"+rt.name+"/manifests/"+m.digest.String())
		if a.status == http.StatusNotFound {
			continue
		}
		if a.status != http.StatusAccepted {
			a.relay(w)
			return
		}
		gone.Manifests = append(gone.Manifests, m.digest.String())
		gone.Tags = append(gone.Tags, v.named[m.digest]...)
	}
	if err := r.removeRepository(rt.name); err != nil {
		r.internal(w, "delete repository", err)
		return
	}
	answer(w, http.StatusAccepted, gone)
}

func (r *Registry) anyLocked(name string, v *view) *fault {
	if !r.attributesOf(lockRepository(name)).Removable() {
		return faultLocked
	}
	for _, m := range v.manifests {
		if bad := r.manifestLocked(http.MethodDelete, name, m.digest); bad != nil {
			return bad
		}
	}
	return nil
}

// removeRepository removes a repository that has no manifests, unless one was
// pushed meanwhile. Who is pushing to it finds that its blobs are gone.
func (r *Registry) removeRepository(name string) error {
	trash, err := os.MkdirTemp(r.dir, removedFolders)
	if err != nil {
		return fmt.Errorf("remove repository %s: %w", name, err)
	}
	defer os.RemoveAll(trash)
	r.writes.Lock()
	defer r.writes.Unlock()
	if deleted, err := r.trash.manifests(name); err != nil || len(deleted) > 0 || !r.layout.empty(name) {
		return err // what can be restored needs it
	}
	r.views.changed(name)
	_ = os.Remove(filepath.Join(r.layout.repository(name), "_uploads")) // only if nobody is uploading
	for _, part := range []string{"_manifests", "_layers"} {
		err := os.Rename(filepath.Join(r.layout.repository(name), part), filepath.Join(trash, part))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove repository %s: %w", name, err)
		}
	}
	r.forget(lockRepository(name))
	for dir := r.layout.repository(name); dir != r.layout.repositories(); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break // others are below it
		}
	}
	return nil
}

// removedFolders are where repositories go to be removed.
const removedFolders = ".removed-*"

// sweepRemoved removes what a crash has left of removed repositories.
func sweepRemoved(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, removedFolders))
	if err != nil {
		return err
	}
	var errs []error
	for _, folder := range left {
		errs = append(errs, os.RemoveAll(folder))
	}
	return errors.Join(errs...)
}

// empty says that a repository has no manifest.
func (l layout) empty(name string) bool {
	none := errors.New("there is one")
	return links(l.revisions(name), func(digest.Digest, os.FileInfo) error { return none }) == nil
}

// passed is an answer that was given to ourselves.
type passed struct {
	status int
	header http.Header
	body   []byte
}

func (p *passed) Header() http.Header { return p.header }
func (p *passed) WriteHeader(status int) {
	if p.status == 0 {
		p.status = status
	}
}

func (p *passed) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	p.body = append(p.body, b...)
	return len(b), nil
}

// relay hands the answer on.
func (p *passed) relay(w http.ResponseWriter) {
	if t := p.header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // the client is gone, and nobody else wants to know
}

// pass does a request of the OCI API in the name of the client who has sent
// req.
func (r *Registry) pass(req *http.Request, method, path string) *passed {
	own := req.Clone(req.Context())
	own.Method, own.Body, own.ContentLength = method, http.NoBody, 0
	own.URL, own.RequestURI = &url.URL{Path: path}, path
	own.Header.Del("Content-Type")
	a := &passed{header: http.Header{}}
	r.ServeHTTP(a, own)
	return a
}
