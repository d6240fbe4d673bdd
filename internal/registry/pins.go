package registry

import (
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// pins keep blobs from being collected while a request is about them. The zero
// value is ready.
//
// A blob is collected if no manifest names it and its file is old; every
// request that tells a client of it, or lets a manifest name it, makes the
// file young first. That is what Collect relies on.
type pins struct {
	mu   sync.Mutex // guards held, and each removal against it
	held map[digest.Digest]int
}

func (p *pins) hold(blobs ...digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = map[digest.Digest]int{}
	}
	for _, d := range blobs {
		p.held[d]++
	}
}

func (p *pins) release(blobs ...digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range blobs {
		if p.held[d]--; p.held[d] == 0 {
			delete(p.held, d)
		}
	}
}

// unheld does remove if nobody holds the blob, and lets nobody hold it
// meanwhile.
func (p *pins) unheld(d digest.Digest, remove func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[d] > 0 {
		return nil
	}
	return remove()
}

// pin holds the blobs, in a repository, that a request is about, until the
// function that it returns is called. That makes them young.
func (r *Registry) pin(name string, blobs ...digest.Digest) (unpin func()) {
	for _, d := range blobs {
		if kept := r.layout.canonical(name, d); kept != d {
			blobs = append(blobs, kept)
		}
	}
	r.pins.hold(blobs...)
	return func() {
		now := time.Now()
		for _, d := range blobs {
			_ = os.Chtimes(r.layout.blob(d), now, now) // there may be none
			_ = os.Chtimes(r.layout.layer(name, d), now, now)
		}
		r.pins.release(blobs...)
	}
}

// pinned are the blobs that a request is about: the one that it asks for,
// mounts, or has uploaded.
func pinned(req *http.Request, rt route) []digest.Digest {
	var d digest.Digest
	switch {
	case rt.kind == kindBlob && req.Method != http.MethodDelete:
		d = digest.Digest(rt.ref)
	case rt.kind == kindUpload && rt.ref == "":
		d = digest.Digest(req.URL.Query().Get("mount"))
		if d == "" {
			d = digest.Digest(req.URL.Query().Get("digest"))
		}
	case rt.kind == kindUpload && req.Method == http.MethodPut:
		d = digest.Digest(req.URL.Query().Get("digest"))
	}
	if d.Validate() != nil {
		return nil
	}
	return []digest.Digest{d}
}

// named are the blobs that a manifest needs, itself among them.
func named(body []byte, c *contents) []digest.Digest {
	all := []digest.Digest{digest.FromBytes(body)}
	for _, d := range c.parts() {
		if d.Digest.Validate() == nil {
			all = append(all, d.Digest)
		}
	}
	return all
}
