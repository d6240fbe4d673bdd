package integration

import (
	"slices"
	"testing"
	"time"

	"acrd/internal/api"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// BenchmarkBasePush is the time from the beginning of a push of a base image
// into our registry to the start of the run of what builds on it, without
// debounce. The promise is a p99 of 250 ms.
func BenchmarkBasePush(b *testing.B) {
	need(b)
	c := newChain(b, []string{"--base-image-quiet", "0"}, map[string]string{"app": "FROM REGISTRY/base/os:1\nCOPY app.Dockerfile /\n"})
	c.push("base/os:1", c.some())
	c.first("app")
	c.settle(0)
	images := []v1.Image{c.some(), c.some(), c.some()}
	var took []time.Duration
	for b.Loop() {
		for range 5 {
			began := time.Now()
			c.push("base/os:1", images[len(took)%len(images)])
			started := c.next(len(took)).Properties.StartTime
			took = append(took, started.Sub(began))
		}
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/p50")
	b.ReportMetric(float64(p99.Microseconds())/1000, "ms/p99")
	if len(took) >= 50 && p99 > 250*time.Millisecond {
		b.Errorf("p99 of %d pushes is %v", len(took), p99)
	}
}

// next waits until run number n, from 0, has ended.
func (c *chain) next(n int) *api.Run {
	c.Helper()
	for {
		runs := c.runs()
		if len(runs) > n && runs[n].Properties.FinishTime != nil {
			return runs[n]
		}
		time.Sleep(100 * time.Millisecond)
	}
}
