package buildkit

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestBrokenConnection: the death of the child is first seen in what its
// clients make of a connection that is gone.
func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		status.Error(codes.Unavailable, "error reading from server"): true,
		errdefs.ErrUnavailable: true, // as containerd's clients turn that
		io.EOF:                 true,
		status.Error(codes.NotFound, "no such image"): false,
		errdefs.ErrNotFound:                           false,
		errors.New("exit code 1"):                     false,
	} {
		if got := brokenConnection(fmt.Errorf("read manifest: %w", err)); got != want {
			t.Errorf("brokenConnection(%v) = %v", err, got)
		}
	}
}
