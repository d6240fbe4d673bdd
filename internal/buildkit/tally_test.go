package buildkit

import (
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestTally(t *testing.T) {
	now := time.Now()
	vertex := func(name string, completed *time.Time, cached bool) *client.Vertex {
		return &client.Vertex{Digest: digest.FromString(name), Name: name, Completed: completed, Cached: cached}
	}
	failed := vertex("[3/3] RUN false", &now, false)
	failed.Error = "exit code 1"
	count := tally{}
	for range 2 { // BuildKit says things more than once
		count.add(&client.SolveStatus{Vertexes: []*client.Vertex{
			vertex("[internal] load build definition from Dockerfile", &now, false), vertex("[auth] library/alpine", &now, false),
			vertex("[1/3] FROM alpine", &now, true), vertex("[build 2/3] RUN make", &now, false),
			vertex("[3/3] RUN sleep", nil, false), failed, vertex("exporting to image", &now, false),
		}})
	}
	if parts, cached := count.count(); parts != 2 || cached != 1 {
		t.Errorf("got %d and %d, want 2 and 1", parts, cached)
	}
}
