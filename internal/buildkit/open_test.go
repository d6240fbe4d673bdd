package buildkit

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"acrd/internal/buildkit/control"
)

// TestOpenCancelled cancels a run while the engine opens it: whoever asked
// learns that it is open, and so closes it.
func TestOpenCancelled(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var opened atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		opened.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	g := &generation{control: control.NewClient(socket, ""), dead: make(chan struct{})}
	if err := g.open(ctx, "ca1", control.OpenRun{}); err != nil {
		t.Errorf("open while the run is cancelled: %v", err)
	}
	if err := g.open(ctx, "ca1", control.OpenRun{}); err == nil || opened.Load() != 1 {
		t.Errorf("open of a run that is cancelled: %v, after %d openings", err, opened.Load())
	}
}
