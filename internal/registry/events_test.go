package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/registry"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// memory is a Journal that can fail.
type memory struct {
	mu     sync.Mutex // guards what follows
	drafts []eventing.Draft
	told   []eventing.Event
	// before is called with the name of a method before it does anything, and
	// after with its answer that may get lost.
	before func(method string) error
	after  func(method string) error
}

func (m *memory) Begin(_ context.Context, d eventing.Draft, settled ...eventing.Settled) error {
	return m.do("begin", func() {
		m.settle(settled)
		m.drafts = append(m.drafts, d)
	})
}

func (m *memory) Settle(_ context.Context, settled ...eventing.Settled) error {
	return m.do("settle", func() { m.settle(settled) })
}

func (m *memory) do(method string, f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		if err := m.before(method); err != nil {
			return err
		}
	}
	f()
	if m.after != nil {
		return m.after(method)
	}
	return nil
}

func (m *memory) settle(settled []eventing.Settled) {
	for _, s := range settled {
		i := slices.IndexFunc(m.drafts, func(d eventing.Draft) bool { return d.Event.ID == s.Event.ID })
		if i < 0 {
			continue
		}
		m.drafts = slices.Delete(m.drafts, i, i+1)
		if s.Happened {
			m.told = append(m.told, s.Event)
		}
	}
}

func (m *memory) Drafts(_ context.Context, before time.Time) ([]eventing.Draft, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.drafts), func(d eventing.Draft) bool { return !d.At.Before(before) }), nil
}

// events are what was told, in words: type, subject, digest.
func (m *memory) events() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, e := range m.told {
		all = append(all, strings.TrimPrefix(e.Type, "Microsoft.ContainerRegistry.")+" "+e.Subject)
	}
	return all
}

func (m *memory) data(t *testing.T, i int) eventing.RegistryData {
	t.Helper()
	var d eventing.RegistryData
	if err := json.Unmarshal(m.told[i].Data, &d); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339Nano, d.Timestamp); err != nil || d.ID != m.told[i].ID {
		t.Errorf("event %s has the data %s", m.told[i].ID, m.told[i].Data)
	}
	d.ID, d.Timestamp = "", ""
	if d.Request != nil {
		d.Request.ID = ""
	}
	return d
}

func newTellingSite(t *testing.T, j registry.Journal) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), with: registry.Options{Journal: j, Location: "here"}}
	s.start(nil)
	t.Cleanup(s.stop)
	return s
}

// chart is one as helm pushes it.
func chart(t *testing.T, config string) v1.Image {
	t.Helper()
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer([]byte("the package"), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")})
	if err != nil {
		t.Fatal(err)
	}
	return &chartImage{mutate.MediaType(img, types.OCIManifestSchema1), config}
}

type chartImage struct {
	v1.Image
	config string
}

func (c *chartImage) RawConfigFile() ([]byte, error) { return []byte(c.config), nil }
func (c *chartImage) Manifest() (*v1.Manifest, error) {
	m, err := c.Image.Manifest()
	if err != nil {
		return nil, err
	}
	m = m.DeepCopy()
	m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
	m.Config.Size = int64(len(c.config))
	m.Config.Digest, _, err = v1.SHA256(strings.NewReader(c.config))
	return m, err
}

func (c *chartImage) RawManifest() ([]byte, error) {
	m, err := c.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (c *chartImage) Digest() (v1.Hash, error) {
	b, err := c.RawManifest()
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(strings.NewReader(string(b)))
	return h, err
}

func (c *chartImage) ConfigName() (v1.Hash, error) {
	h, _, err := v1.SHA256(strings.NewReader(c.config))
	return h, err
}

// TestEvents tells what of each change, in order, and nothing else.
func TestEvents(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	host, img := s.host(), ociImage(t)
	d := s.push("team/app:v1", img).String()
	if err := crane.Tag(s.host()+"/team/app:v1", "v2", s.crane()...); err != nil {
		t.Fatal(err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	const oci = "Content-Type: application/vnd.oci.image.manifest.v1+json"
	s.want(http.StatusCreated, "", "PUT", "/v2/team/app/manifests/v1", raw, oci, "User-Agent: by hand")
	s.want(http.StatusCreated, "", "PUT", "/v2/team/app/manifests/"+d, raw, oci) // untagged
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "PUT", "/v2/team/app/manifests/v3", []byte(`{"schemaVersion":2}`), oci)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/team/app/manifests/nothing", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/team/app/manifests/"+someone.String(), nil)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: ociImage(t)}, mutate.IndexAddendum{Add: ociImage(t)})
	if err := remote.WriteIndex(s.ref("team/both:v1"), index, s.options()...); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusAccepted, "", "DELETE", "/v2/team/app/manifests/v2", nil)
	s.want(http.StatusCreated, "", "PUT", "/v2/team/app/manifests/v2", raw, oci)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/team/app/manifests/"+d, nil, "User-Agent: by hand")
	c := chart(t, `{"name":"demo","version":"0.2.0+build.5"}`)
	cd := s.push("charts/demo:0.2.0_build.5", c).String()
	craw, err := c.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusCreated, "", "PUT", "/v2/charts/demo/manifests/"+cd, craw, oci) // as helm does
	s.want(http.StatusAccepted, "", "DELETE", "/v2/charts/demo/manifests/"+cd, nil)
	s.restart()

	want := []string{
		"ImagePushed team/app:v1", "ImagePushed team/app:v2", "ImagePushed team/app:v1", "ImagePushed team/both:v1",
		"Acrd.ImageUntagged team/app:v2", "ImagePushed team/app:v2", "ImageDeleted team/app",
		"ChartPushed charts/demo:0.2.0+build.5", "ChartDeleted charts/demo:0.2.0+build.5",
	}
	if diff := cmp.Diff(want, m.events()); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	hand := func(method string) *eventing.Request {
		return &eventing.Request{Host: host, Method: method, UserAgent: "by hand"}
	}
	layer := digest.FromString("the package").String()
	for i, want := range map[int]eventing.RegistryData{
		2: {Action: "push", Location: "here", Request: hand("PUT"), Target: &eventing.Target{
			MediaType: mediaType, Size: int64(len(raw)), Length: int64(len(raw)), Digest: d, Repository: "team/app", Tag: "v1",
		}},
		6: {Action: "delete", Location: "here", Request: hand("DELETE"), Target: &eventing.Target{
			MediaType: mediaType, Digest: d, Repository: "team/app", Tags: []string{"v1", "v2"},
		}},
		7: {Action: "chart_push", Location: "here", Target: &eventing.Target{
			MediaType: "application/vnd.acr.helm.chart", Size: 11, Digest: layer, Repository: "charts/demo",
			Tag: "demo-0.2.0+build.5.tgz", Name: "demo", Version: "0.2.0+build.5",
		}},
		8: {Action: "chart_delete", Location: "here", Target: &eventing.Target{
			MediaType: "application/vnd.acr.helm.chart", Size: 11, Digest: layer, Repository: "charts/demo",
			Tag: "demo-0.2.0+build.5.tgz", Name: "demo", Version: "0.2.0+build.5", Tags: []string{"0.2.0_build.5"},
		}},
	} {
		if diff := cmp.Diff(want, m.data(t, i)); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i, diff)
		}
	}
	if len(m.drafts) > 0 {
		t.Errorf("drafts are left: %v", m.drafts)
	}
}

// TestEvents_ChartWithoutItsSelf has a chart whose config says nothing.
func TestEvents_ChartWithoutItsSelf(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	s.push("charts/demo:1.0.0_b", chart(t, `[]`))
	s.restart()
	if diff := cmp.Diff([]string{"ChartPushed charts/demo:1.0.0+b"}, m.events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestJournalFails has a journal refuse, or do what it is asked and lose the
// answer. A push that fails is never told, one that succeeds is told once.
func TestJournalFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		lost   bool
		status int
	}{
		"no space":      {fmt.Errorf("write: %w", syscall.ENOSPC), false, http.StatusInsufficientStorage},
		"an error":      {errors.New("no database"), false, http.StatusInternalServerError},
		"a lost answer": {errors.New("connection reset"), true, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &memory{}
			s := newTellingSite(t, m)
			img := ociImage(t)
			s.push("app:v1", img)
			raw, err := img.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			put := func(status int, code string) {
				t.Helper()
				s.want(status, code, "PUT", "/v2/app/manifests/v2", raw, "Content-Type: application/vnd.oci.image.manifest.v1+json")
			}
			once := func(method string) func(string) error {
				failed := false
				return func(got string) error {
					if got != method || failed {
						return nil
					}
					failed = true
					return test.err
				}
			}
			set := func(method string) {
				m.mu.Lock()
				defer m.mu.Unlock()
				if m.before, m.after = once(method), nil; test.lost {
					m.before, m.after = nil, once(method)
				}
			}
			set("begin")
			put(test.status, "UNKNOWN")
			s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v2", nil)
			put(http.StatusCreated, "")
			set("settle")
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error)
			go func() { served <- s.reg.Serve(ctx) }()
			put(http.StatusCreated, "")
			for deadline := time.Now().Add(5 * time.Second); len(m.events()) < 3 && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"ImagePushed app:v1", "ImagePushed app:v2", "ImagePushed app:v2"}, m.events()); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConcurrentPushes has many clients move the same tags. Each push is told,
// and the last that is told of a tag is what the tag is put to.
func TestConcurrentPushes(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- s.reg.Serve(ctx) }()
	const clients, pushes = 4, 5
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range pushes {
				s.push("app:v1", ociImage(t))
			}
		})
	}
	all.Wait()
	stop()
	<-served
	last, err := crane.Digest(s.host()+"/app:v1", s.crane()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reg.Close(); err != nil {
		t.Fatal(err)
	}
	if len(m.told) != clients*pushes {
		t.Errorf("%d events, want %d", len(m.told), clients*pushes)
	}
	if got := m.data(t, len(m.told)-1).Target.Digest; got != last {
		t.Errorf("the last event is about %s, the tag about %s", got, last)
	}
}

// TestHalfTags opens what a crash has left of tags that were being made and
// removed, by name and with their manifest: nothing lists them.
func TestHalfTags(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	img := ociImage(t)
	d := s.push("app:keep", ociImage(t)).String()
	gone := s.push("app:made", img).String()
	for _, tag := range []string{"removed", "with"} {
		s.push("app:"+tag, img)
	}
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+gone, nil)
	s.stop()
	for i, check := range []string{`{"Repository":"app","Tag":"made","Digest":"` + d + `"}`, `{"Repository":"app","Tag":"removed","Gone":true}`, `{"Repository":"app","Digest":"` + gone + `","Gone":true}`} {
		e := eventing.Event{ID: fmt.Sprint("crashed ", i), Type: eventing.ImageUntagged, Subject: "app", Key: "app"}
		m.drafts = append(m.drafts, eventing.Draft{Event: e, Check: json.RawMessage(check), At: time.Now()})
	}
	for _, tag := range []string{"made", "removed", "with"} {
		index := filepath.Join(s.dir, "docker/registry/v2/repositories/app/_manifests/tags", tag, "index/sha256")
		if err := os.MkdirAll(index, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.start(nil)
	if diff := cmp.Diff([]string{"keep"}, s.tagsOf("app")); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if len(m.drafts) > 0 {
		t.Errorf("drafts are left: %v", m.drafts)
	}
}
