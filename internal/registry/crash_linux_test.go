package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/registry"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/internal/store/storetest"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestCrash kills -9 a process with registry, store and dispatcher at every point
// between the first byte of a push and the delivery of its event: before and
// after each change of a file, each write of the journal, each answer, each
// step of the delivery. The next process is killed, too, as it cleans up. In
// the end the event was delivered at least once, with one id, if the registry
// has what was pushed, and never if it has not. The same for the other changes.
func TestCrash(t *testing.T) {
	step := 1
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		step = 7 // all of them take half a minute
	}
	c := newCrashSite(t)
	for _, op := range []crashOp{
		{"push", c.fresh, func() error { return c.write("t", c.img) }, func() bool { return c.digest("t") == hash(t, c.img).String() }},
		{"push again", c.tagged, func() error { return remote.Put(c.ref("t"), c.img, onceOnly()...) }, c.stamped},
		{"untag", c.tagged, func() error { return c.remove("t") }, func() bool { return c.digest("t") == "" }},
		{"delete", c.tagged, func() error { return c.remove(hash(t, c.img).String()) }, c.deleted},
	} {
		t.Run(op.name, func(t *testing.T) {
			c.t = t
			at := 1
			for c.crash(op, at) {
				at += step
			}
			if at < 10 {
				t.Errorf("only %d points", at-1)
			}
			t.Logf("killed at each %d. of %d points", step, at-1)
		})
	}
	t.Logf("killed %d times again after that", c.again)
}

type crashOp struct {
	name    string
	prepare func()
	do      func() error
	done    func() bool // the registry has it
}

// A crashSite is a folder, the process that serves it, and the receiver of its
// events.
type crashSite struct {
	t        *testing.T
	dir      string
	receiver *httptest.Server
	img      v1.Image
	stamp    time.Time
	process  *exec.Cmd
	address  string
	gone     chan struct{}
	again    int // how often the next process was killed, too

	mu  sync.Mutex // guards got
	got []eventing.Event
}

func newCrashSite(t *testing.T) *crashSite {
	t.Helper()
	c := &crashSite{t: t, dir: t.TempDir(), img: ociImage(t)}
	c.receiver = httptest.NewServer(http.HandlerFunc(c.receive))
	t.Cleanup(c.receiver.Close)
	db := storetest.Open(t, filepath.Join(c.dir, "db"), c.key())
	err := db.ChangeSubscription(t.Context(), eventing.EventSubscription, "test", func(*eventing.Subscription) (*eventing.Subscription, error) {
		return &eventing.Subscription{
			Kind: eventing.EventSubscription, Name: "test", State: eventing.Succeeded, Schema: eventing.EventGridSchema,
			Filter:      eventing.Filter{Types: []string{eventing.ImagePushed, eventing.ImageDeleted, eventing.ImageUntagged}},
			Destination: eventing.Destination{Type: eventing.ToWebHook, URL: c.receiver.URL},
		}, nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	c.start(0)
	t.Cleanup(func() { _ = c.process.Process.Kill(); <-c.gone })
	return c
}

func (c *crashSite) key() *secrets.Key {
	key, err := secrets.OpenKeyFile(filepath.Join(c.dir, "key"))
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

func (c *crashSite) receive(_ http.ResponseWriter, r *http.Request) {
	var all []struct {
		ID, EventType, Subject string
		Data                   json.RawMessage
	}
	if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
		c.t.Error(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range all {
		c.got = append(c.got, eventing.Event{ID: e.ID, Type: e.EventType, Subject: e.Subject, Data: e.Data})
	}
}

// start starts the process, which kills itself at a point of its start, if
// that is not 0.
func (c *crashSite) start(at int) {
	c.t.Helper()
	c.process = exec.Command(os.Args[0], "-test.run", "^TestCrashProcess$", "-test.timeout", "10m")
	c.process.Env = append(os.Environ(), "ACRD_CRASH_DIR="+c.dir, "ACRD_CRASH_AT="+strconv.Itoa(at))
	c.process.Stderr = os.Stderr
	c.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.process.StdoutPipe()
	if err == nil {
		err = c.process.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	gone := make(chan struct{})
	c.gone, c.address = gone, ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "serves on "); ok {
			c.address = address
			break
		}
	}
	process := c.process
	go func() {
		_, _ = io.Copy(io.Discard, out)
		_ = process.Wait()
		close(gone)
	}()
}

// idle waits until nothing is left to do, or until the process is gone, which
// it reports.
func (c *crashSite) idle() (gone bool) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case <-c.gone:
			return true
		default:
		}
		if resp, err := http.Get(c.address + "/left"); err == nil {
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(b) == "0" {
				return false
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatal("the process does not come to rest")
	return false
}

// crash does op in a process that kills itself at a point, and looks what has
// become of it. It is false if op has fewer points.
func (c *crashSite) crash(op crashOp, at int) bool {
	c.t.Helper()
	if c.idle() {
		c.t.Fatal("the process is gone")
	}
	op.prepare()
	c.idle()
	c.mu.Lock()
	c.got = nil
	c.mu.Unlock()
	if err := c.arm(at); err != nil {
		c.t.Fatal(err)
	}
	failed := op.do()
	// The last point is after all is done: at rest it may still be killed.
	crashed := c.idle() || c.arm(0) != nil
	if crashed {
		for c.start(at%10 + 1); c.idle() || c.arm(0) != nil; c.start(0) {
			c.again++
		}
	}
	c.check(op, at, failed)
	return crashed
}

// arm has the process kill itself at a point from now on, or at none.
func (c *crashSite) arm(at int) error {
	resp, err := http.Post(c.address+"/arm?at="+strconv.Itoa(at), "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (c *crashSite) check(op crashOp, at int, failed error) {
	c.t.Helper()
	done := op.done()
	if failed == nil && !done {
		c.t.Errorf("at point %d the client was told of success, and it is not there", at)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := map[string]bool{}
	for _, e := range c.got {
		ids[e.ID] = true
	}
	if done && len(ids) != 1 || !done && len(ids) != 0 {
		c.t.Errorf("at point %d, done is %v, the client has %v, events are %v", at, done, failed, c.got)
	}
}

func (c *crashSite) ref(what string) name.Reference {
	c.t.Helper()
	sep := ":"
	if strings.Contains(what, ":") {
		sep = "@"
	}
	ref, err := name.ParseReference(strings.TrimPrefix(c.address, "http://") + "/app" + sep + what)
	if err != nil {
		c.t.Fatal(err)
	}
	return ref
}

func onceOnly() []remote.Option {
	return []remote.Option{remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryPredicate(func(error) bool { return false })}
}

func (c *crashSite) write(tag string, img v1.Image) error {
	return remote.Write(c.ref(tag), img, onceOnly()...)
}

func (c *crashSite) remove(what string) error { return remote.Delete(c.ref(what), onceOnly()...) }

// digest is empty if there is no such thing.
func (c *crashSite) digest(what string) string {
	d, err := remote.Head(c.ref(what), onceOnly()...)
	if err != nil {
		return ""
	}
	return d.Digest.String()
}

func (c *crashSite) fresh() { c.img = ociImage(c.t) }

// tagged puts the tag to an image.
func (c *crashSite) tagged() {
	c.t.Helper()
	if c.digest("t") == "" || c.digest("t") != hash(c.t, c.img).String() {
		c.fresh()
		if err := c.write("t", c.img); err != nil {
			c.t.Fatal(err)
		}
	}
	c.stamp = c.written()
}

// deleted says that the image is gone, and has left no tag.
func (c *crashSite) deleted() bool {
	c.t.Helper()
	gone := c.digest(hash(c.t, c.img).String()) == ""
	if _, err := os.Stat(c.link()); gone != errors.Is(err, fs.ErrNotExist) {
		c.t.Errorf("gone is %v, and the tag: %v", gone, err)
	}
	return gone
}

func (c *crashSite) stamped() bool { return !c.written().Equal(c.stamp) }

// written is when the tag was put.
func (c *crashSite) written() time.Time {
	c.t.Helper()
	info, err := os.Stat(c.link())
	if err != nil {
		c.t.Fatal(err)
	}
	return info.ModTime()
}

// link is the file of the tag.
func (c *crashSite) link() string {
	return filepath.Join(c.dir, "registry/docker/registry/v2/repositories/app/_manifests/tags/t/current/link")
}

// TestCrashProcess is the process that TestCrash kills.
func TestCrashProcess(t *testing.T) {
	dir := os.Getenv("ACRD_CRASH_DIR")
	if dir == "" {
		t.Skip("TestCrash runs it")
	}
	p := &points{}
	at, _ := strconv.ParseInt(os.Getenv("ACRD_CRASH_AT"), 10, 64)
	p.at.Store(at)
	factory.Register("crashing", p)
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, filepath.Join(dir, "db"), key)
	journal := &store.Journal{DB: db, Owner: "test"}
	reg, err := registry.Open(t.Context(), registry.Options{Dir: filepath.Join(dir, "registry"), Journal: &crashJournal{journal, p}}.On("crashing"))
	if err != nil {
		t.Fatal(err)
	}
	dispatcher := &eventing.Dispatcher{
		Store: &crashStore{db, p}, Alone: true, Lease: time.Minute, Log: slog.New(slog.DiscardHandler),
		Open: func(d eventing.Destination) (eventing.Sink, error) { return &crashSink{d.URL, p}, nil },
	}
	go func() { _ = reg.Serve(t.Context()) }()
	go func() { _ = dispatcher.Serve(t.Context()) }()
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, r *http.Request) {
		p.hit()
		reg.ServeHTTP(&crashAnswer{w, p}, r)
		p.hit()
	})
	mux.HandleFunc("/arm", func(_ http.ResponseWriter, r *http.Request) {
		at, _ := strconv.ParseInt(r.FormValue("at"), 10, 64)
		p.n.Store(0)
		p.at.Store(at)
	})
	mux.HandleFunc("/left", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, left(r.Context(), db, journal)) })
	server := httptest.NewServer(mux)
	fmt.Println("serves on " + server.URL)
	<-t.Context().Done()
}

// left counts what is not told yet.
func left(ctx context.Context, db *store.DB, journal *store.Journal) int {
	drafts, err := journal.Drafts(ctx, time.Now().Add(time.Hour))
	events, e := db.OpenEvents(ctx, 10)
	depths, e2 := db.Depths(ctx)
	if errors.Join(err, e, e2) != nil {
		return 1
	}
	n := len(drafts) + len(events)
	for _, d := range depths {
		n += d.Events
	}
	return n
}

// points are where a process can be killed.
type points struct{ at, n atomic.Int64 }

func (p *points) hit() {
	if at := p.at.Load(); at > 0 && p.n.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// around has a point before and after f.
func (p *points) around(f func() error) error {
	p.hit()
	err := f()
	p.hit()
	return err
}

// Create makes the storage driver that hits points.
func (p *points) Create(_ context.Context, parameters map[string]any) (driver.StorageDriver, error) {
	d, err := filesystem.FromParameters(parameters)
	return &crashDriver{d, p}, err
}

type crashDriver struct {
	driver.StorageDriver
	p *points
}

func (d *crashDriver) PutContent(ctx context.Context, path string, content []byte) error {
	return d.p.around(func() error { return d.StorageDriver.PutContent(ctx, path, content) })
}

func (d *crashDriver) Move(ctx context.Context, from, to string) error {
	return d.p.around(func() error { return d.StorageDriver.Move(ctx, from, to) })
}

func (d *crashDriver) Delete(ctx context.Context, path string) error {
	return d.p.around(func() error { return d.StorageDriver.Delete(ctx, path) })
}

func (d *crashDriver) Writer(ctx context.Context, path string, add bool) (driver.FileWriter, error) {
	w, err := d.StorageDriver.Writer(ctx, path, add)
	if err != nil {
		return nil, err
	}
	return &crashWriter{w, d.p}, nil
}

type crashWriter struct {
	driver.FileWriter
	p *points
}

func (w *crashWriter) Write(b []byte) (n int, err error) {
	err = w.p.around(func() error { n, err = w.FileWriter.Write(b); return err })
	return n, err
}

func (w *crashWriter) Commit(ctx context.Context) error {
	return w.p.around(func() error { return w.FileWriter.Commit(ctx) })
}

type crashJournal struct {
	registry.Journal
	p *points
}

func (j *crashJournal) Begin(ctx context.Context, d eventing.Draft, settled ...eventing.Settled) error {
	return j.p.around(func() error { return j.Journal.Begin(ctx, d, settled...) })
}

func (j *crashJournal) Settle(ctx context.Context, settled ...eventing.Settled) error {
	return j.p.around(func() error { return j.Journal.Settle(ctx, settled...) })
}

type crashAnswer struct {
	http.ResponseWriter
	p *points
}

func (w *crashAnswer) WriteHeader(status int) {
	w.p.hit()
	w.ResponseWriter.WriteHeader(status)
	w.p.hit()
}

type crashStore struct {
	eventing.Store
	p *points
}

func (s *crashStore) Pass(ctx context.Context, events []int64, into []eventing.Fan, at time.Time) (n int, err error) {
	err = s.p.around(func() error { n, err = s.Store.Pass(ctx, events, into, at); return err })
	return n, err
}

func (s *crashStore) Settle(ctx context.Context, owner string, all []eventing.Settlement) (lost []int64, err error) {
	err = s.p.around(func() error { lost, err = s.Store.Settle(ctx, owner, all); return err })
	return lost, err
}

type crashSink struct {
	url string
	p   *points
}

func (s *crashSink) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	body, contentType, err := eventing.EncodeBatch(d)
	if err == nil {
		err = s.p.around(func() error { return post(ctx, s.url, contentType, body) })
	}
	if err != nil {
		return nil, &eventing.DeliveryError{Outcome: eventing.SocketError, Err: err}
	}
	return nil, nil
}

func post(ctx context.Context, url, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (s *crashSink) Close() error { return nil }
