// Package registry is an OCI registry on a folder, as an http.Handler.
//
// Behind it works distribution (github.com/distribution/distribution), which
// owns the files: blobs, manifests, tags, uploads. In front of it stands our
// own code, which every request passes. The front
//
//   - answers the referrers API, which distribution does not have;
//   - lets through only paths that are well-formed, so that no name, tag,
//     digest or session id can mean anything but itself on disk;
//   - bounds what a request may cost: manifests of 4 MiB, pages of 1,000;
//   - turns distribution's internal errors into answers without our paths.
//
// Words: a referrer is a manifest that names another as its subject.
//
// It tells events about what is pushed and deleted, through a Journal: a draft
// before the change, and the event when the change was made. What a crash
// leaves open is looked up in the files by Open.
//
// The package knows no users (whoever reaches the handler may push and
// delete), and never gives disk space back by itself: see PurgeUploads for
// abandoned uploads, and Collect for blobs that no manifest needs.
package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options configure Open.
type Options struct {
	// Dir is the folder that holds everything; Open makes it if it is missing.
	// Two open registries must not share one.
	Dir string

	// Log receives our warnings and distribution's; nil discards them.
	//
	// Distribution logs to the logger that logrus keeps for the whole process.
	// Open takes that logger over, so it is the Log of the last Open that
	// counts, and what other users of logrus write arrives there too.
	Log *slog.Logger

	// Pushed, if not nil, is called when a tag was set, before the client has
	// its answer; so it must not take long.
	Pushed func(name, tag, digest string)

	// Journal keeps the events; nil tells none.
	Journal Journal
	// Location is told as where the registry is, as a region of Azure.
	Location string
	// MayRelease says who may change the quarantine of an image; nil lets all
	// who may push.
	MayRelease func(*http.Request) bool

	// driver is another of distribution's storage drivers, for tests.
	driver string
}

// Registry is an open registry. Its methods are safe for concurrent use.
type Registry struct {
	log     *slog.Logger
	backend *backend
	pushed  func(name, tag, digest string)
	ledger  *ledger
	lanes   lanes

	location   string
	mayRelease func(*http.Request) bool
	policies   *policies

	// referrers may name manifests that do not exist (any more), but names
	// every one that does: an entry is written before its manifest, and removed
	// after it. Hence only entries whose manifest exists are ever told. The lanes
	// guard that order against a second request.
	referrers *referrers

	dir        string
	layout     layout
	views      views
	attributes *attributes
	trash      *trash
	locks      sync.Mutex // guards a change of attributes against another
	// writes keeps a repository from being removed while a manifest comes into
	// it.
	writes sync.RWMutex
	pins   pins
	// collecting is held by the one Collect that runs.
	collecting sync.Mutex

	mu       sync.Mutex // guards closed: no request joins requests once it is true
	closed   bool
	requests sync.WaitGroup
	shut     func() error // once
}

// Open opens the registry in o.Dir. It starts nothing that Close does not end,
// and keeps no hold of ctx. The caller must call Close.
func Open(ctx context.Context, o Options) (*Registry, error) {
	if o.Dir == "" {
		return nil, errors.New("open registry: no folder given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if err := sweepRemoved(dir); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	redirectLogrus(o.Log)
	refs, err := openReferrers(filepath.Join(dir, "referrers"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	attrs, err := openAttributes(filepath.Join(dir, "attributes"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", errors.Join(err, refs.close()))
	}
	rules, err := openPolicies(dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", errors.Join(err, refs.close(), attrs.close()))
	}
	deleted, err := openTrash(filepath.Join(dir, "deleted"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", errors.Join(err, refs.close(), attrs.close(), rules.close()))
	}
	b, err := openBackend(ctx, dir, cmp.Or(o.driver, "filesystem"))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", errors.Join(err, refs.close(), attrs.close(), rules.close(), deleted.close()))
	}
	r := &Registry{
		log: o.Log, backend: b, referrers: refs, pushed: o.Pushed, ledger: newLedger(o.Journal, o.Log),
		location: o.Location, dir: dir, layout: newLayout(dir), attributes: attrs, trash: deleted,
		mayRelease: o.MayRelease, policies: rules,
	}
	r.shut = sync.OnceValue(func() error {
		return errors.Join(r.settleLast(), b.close(), refs.close(), attrs.close(), rules.close(), deleted.close())
	})
	if o.Journal == nil {
		return r, nil
	}
	// Before anybody changes what tells it, and whatever the clock has done.
	if err := r.reconcile(ctx, time.Now().AddDate(100, 0, 0)); err != nil {
		return nil, fmt.Errorf("open registry: %w", errors.Join(err, r.Close()))
	}
	return r, nil
}

// settleLast tells what Serve has not told.
func (r *Registry) settleLast() error {
	if r.ledger.journal == nil {
		return nil
	}
	return r.ledger.settle(context.Background())
}

// ServeHTTP answers everything at and below /v2/. The request must carry that
// prefix: mount the registry with mux.Handle("/v2/", r). URLs in answers are
// relative. After Close every answer is 503.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff") // blobs are strangers' bytes on our origin
	if !r.enter() {
		faultClosed.serve(w)
		return
	}
	defer r.requests.Done()

	req = req.Clone(req.Context()) // ours to change
	rt, bad := parseRoute(req)
	if known := methods()[rt.endpoint()]; bad == nil && !slices.Contains(known, req.Method) {
		w.Header().Set("Allow", strings.Join(known, ", "))
		bad = faultMethod
	}
	if bad == nil {
		bad = bound(req, rt)
	}
	if bad == nil {
		bad = r.locked(req, rt)
	}
	if bad != nil {
		bad.serve(w)
		return
	}
	switch {
	case rt.kind == kindReferrers:
		r.serveReferrers(w, req, rt)
	case rt.kind == kindManifest && req.Method == http.MethodPut:
		r.pushManifest(w, req, rt)
	case rt.kind == kindManifest && req.Method == http.MethodDelete:
		r.changing(w, req, rt, func() {
			if bad := r.keeping(rt, func() { r.deleteManifest(w, req, rt) }); bad != nil {
				bad.serve(w)
			}
		})
	default:
		defer r.pin(rt.name, pinned(req, rt)...)()
		r.backend.serve(&response{ResponseWriter: w}, req)
	}
}

// enter reports whether a request may begin; then requests.Done ends it.
func (r *Registry) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.requests.Add(1)
	return true
}

// Close refuses new requests, waits for those that run, and then lets go of
// the folder. It interrupts nobody: shut the http.Server down first, or a slow
// client holds Close up. Calling it again waits too and returns the same.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.requests.Wait()
	return r.shut()
}
