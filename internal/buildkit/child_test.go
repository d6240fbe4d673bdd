package buildkit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/internal/buildkit/control"
)

// TestBury has a child that is killed as it is told to end: another one is
// started, to remove what that has left, and ends.
func TestBury(t *testing.T) {
	dir, err := os.MkdirTemp("", "acrd-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	starts := filepath.Join(dir, "starts")
	script := "echo $$ >> " + starts + "; echo {} >&5; exec 5>&-; cat > /dev/null; [ $(wc -l < " + starts + ") -gt 1 ] || kill -9 $$"
	e := New(Options{Config: control.Config{Dir: filepath.Join(dir, "engine")}, Command: []string{"sh", "-c", script}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx) }()
	if err := e.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(starts)
	if n := strings.Count(string(text), "\n"); n != 2 || err != nil {
		t.Errorf("%d children were started, want 2 (%v)", n, err)
	}
}
