package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"
)

// backend is distribution on a folder: an app for clients, and the same files
// seen through its storage package for what we ask ourselves.
type backend struct {
	app   *handlers.App
	files driver.StorageDriver
	store distribution.Namespace
}

// openBackend opens distribution below dir, which must be absolute. Clients'
// requests go through the storage driver of that name.
func openBackend(ctx context.Context, dir, driver string) (*backend, error) {
	// Distribution makes this with the first push, and cannot list or purge before.
	if err := os.MkdirAll(filepath.Join(dir, "docker/registry/v2/repositories"), 0o700); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	files, err := filesystem.FromParameters(map[string]any{"rootdirectory": dir})
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	store, err := storage.NewRegistry(ctx, files, storage.EnableDelete)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	app, err := newApp(ctx, configure(dir, driver))
	if err != nil {
		return nil, err
	}
	return &backend{app: app, files: files, store: store}, nil
}

// configure is the configuration file that nobody has to write.
func configure(dir, driver string) *configuration.Configuration {
	c := &configuration.Configuration{Storage: configuration.Storage{
		driver:        {"rootdirectory": dir},
		"delete":      {"enabled": true},
		"redirect":    {"disable": true},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}}, // a goroutine; see PurgeUploads
	}}
	// The secret signs the offset of an upload between two of its requests. One
	// per process is enough: a client that outlives us asks for the offset and
	// gets it signed anew.
	c.HTTP.Secret = rand.Text()
	// Whatever name and scheme a client or a proxy in front has found us by, it
	// comes back to the same. Helm insists on that.
	c.HTTP.RelativeURLs = true
	c.Catalog.MaxEntries = maxPage
	c.Tags.MaxTags = maxPage
	// Without this a manifest whose layers lie elsewhere (Windows bases) is a 500.
	c.Validation.Manifests.URLs.Allow = []string{"^https?://"}
	return c
}

// newApp is handlers.NewApp with its panics as errors. The app does not end
// with ctx, only with close.
func newApp(ctx context.Context, c *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("start distribution: %v", p)
		}
	}()
	return handlers.NewApp(context.WithoutCancel(ctx), c), nil
}

func (b *backend) serve(w http.ResponseWriter, req *http.Request) { b.app.ServeHTTP(w, req) }

// has reports whether repository name has the manifest d.
func (b *backend) has(ctx context.Context, name string, d digest.Digest) (bool, error) {
	manifests, err := b.manifests(ctx, name)
	if err != nil {
		return false, err
	}
	ok, err := manifests.Exists(ctx, d)
	if err != nil {
		return false, fmt.Errorf("look up %s@%s: %w", name, d, err)
	}
	return ok, nil
}

// manifest reads the manifest d of repository name; nil when there is none.
func (b *backend) manifest(ctx context.Context, name string, d digest.Digest) (mediaType string, body []byte, err error) {
	manifests, err := b.manifests(ctx, name)
	if err != nil {
		return "", nil, err
	}
	m, err := manifests.Get(ctx, d)
	if _, none := errors.AsType[distribution.ErrManifestUnknownRevision](err); none {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read %s@%s: %w", name, d, err)
	}
	return m.Payload()
}

func (b *backend) manifests(ctx context.Context, name string) (distribution.ManifestService, error) {
	repo, err := b.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	return repo.Manifests(ctx)
}

// close ends the app. Its own Shutdown forgets one goroutine, the broadcaster
// of an event queue that has no readers here, and hides it in a field without
// an exported name. If that field moves, the goroutine stays and TestMain says so.
func (b *backend) close() error {
	err := b.app.Shutdown()
	events := reflect.ValueOf(b.app).Elem().FieldByName("events")
	if events.Kind() != reflect.Struct {
		return err
	}
	sink := events.FieldByName("sink")
	if !sink.IsValid() {
		return err
	}
	if c, ok := reflect.TypeAssert[io.Closer](reflect.NewAt(sink.Type(), sink.Addr().UnsafePointer()).Elem()); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}
