package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/internal/api"
	"acrd/internal/logs"
	"acrd/internal/source"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

const deskToken = "the-token-of-the-desk-0123"

// A desk is a server with everything real but the engine.
type desk struct {
	*testing.T
	api    *api.Server
	engine *stepstest.Fake
	runs   *store.DB
	told   *told
	server *httptest.Server
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, engine: &stepstest.Fake{}, runs: storetest.New(t), told: &told{}}
	d.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
		if _, err := os.Stat(filepath.Join(op.Context, "hello")); err != nil {
			return nil, err
		}
		return &steps.Image{Tags: op.Tags, Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	d.engine.PushFunc = func(_ context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
		return &steps.Pushed{Ref: ref, Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	dir := t.TempDir()
	lg := &logs.Dir{Path: filepath.Join(dir, "logs"), Key: []byte("a key for the links to logs")}
	archives := &api.Archives{Dir: filepath.Join(dir, "uploads"), MaxBytes: 1 << 20}
	r := &runner.Runner{
		Store: d.runs, Logs: lg, Engine: d.engine, Registry: "localhost:5000", Dir: filepath.Join(dir, "runs"), Sources: &archiveSources{archives}, Alone: true,
	}
	d.api = &api.Server{
		Subscriptions: d.told, Deliveries: d.told,
		Runs: r, Records: d.runs, Tasks: d.runs, TaskRuns: d.runs, Timers: d.runs, Logs: lg, Archives: archives,
		LogLink: lg.Link, Info: api.Info{Registry: "localhost:5000"},
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx) }()
	mux := http.NewServeMux()
	mux.Handle("/uploads/", d.api.Uploads())
	mux.Handle(logs.LinkPrefix, lg.Handler())
	mux.Handle("/", api.Guard(d.api.Handler(), deskToken))
	d.server = httptest.NewServer(mux)
	t.Cleanup(func() {
		d.server.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return d
}

// archiveSources knows uploaded archives only.
type archiveSources struct{ archives *api.Archives }

func (*archiveSources) Fetch(context.Context, steps.Context, string, io.Writer) (*steps.Fetched, error) {
	return nil, errors.New("there is no such repository")
}

func (s *archiveSources) Upload(ctx context.Context, id, dir string, _ bool) (runner.Checkout, error) {
	f, err := s.archives.Open(id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return folder(dir), source.Extract(ctx, f, root, source.Limits{})
}

type folder string

func (f folder) Dir() string { return string(f) }
func (folder) Key() string   { return "key" }
func (folder) Close() error  { return nil }

const root = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"

// ask sends one request and returns status, header and body of the answer.
func (d *desk) ask(method, path, body string) (int, http.Header, string) {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, d.server.URL+path, strings.NewReader(body))
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+deskToken)
	resp, err := d.server.Client().Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// want asks, and wants a status and that the answer says something.
func (d *desk) want(status int, method, path, body string, says ...string) string {
	d.Helper()
	got, _, text := d.ask(method, path, body)
	if got != status {
		d.Errorf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	for _, s := range says {
		if !strings.Contains(text, s) {
			d.Errorf("%s %s: %s: want it to say %s", method, path, text, s)
		}
	}
	return text
}
