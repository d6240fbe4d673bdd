package registry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/internal/registry"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
)

// BenchmarkPush is the PUT of a manifest by tag, with and without events.
func BenchmarkPush(b *testing.B) {
	plain := newBenchSite(b, nil)
	telling := newBenchSite(b, &store.Journal{DB: storetest.New(b), Owner: "bench"})
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error)
	go func() { served <- telling.reg.Serve(ctx) }()
	defer func() { stop(); <-served }()
	var times [2][]time.Duration
	for b.Loop() {
		for i, s := range []*benchSite{plain, telling} {
			began := time.Now()
			s.put(b)
			times[i] = append(times[i], time.Since(began))
		}
		time.Sleep(10 * time.Millisecond) // what follows a push in the daemon takes longer
	}
	for i, name := range []string{"ms-plain", "ms-telling"} {
		slices.Sort(times[i])
		b.ReportMetric(float64(times[i][len(times[i])/2].Microseconds())/1000, name)
	}
}

type benchSite struct {
	reg *registry.Registry
	raw string
}

func newBenchSite(b *testing.B, j registry.Journal) *benchSite {
	b.Helper()
	s := &site{t: b, dir: b.TempDir(), with: registry.Options{Journal: j}}
	s.start(nil)
	b.Cleanup(s.stop)
	img := ociImage(b)
	s.push("app:v1", img)
	raw, err := img.RawManifest()
	if err != nil {
		b.Fatal(err)
	}
	return &benchSite{s.reg, string(raw)}
}

func (s *benchSite) put(b *testing.B) {
	b.Helper()
	req := httptest.NewRequestWithContext(b.Context(), http.MethodPut, "/v2/app/manifests/v1", strings.NewReader(s.raw))
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w := httptest.NewRecorder()
	if s.reg.ServeHTTP(w, req); w.Code != http.StatusCreated {
		b.Fatal(w.Code, w.Body)
	}
}
