package buildkit

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
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

// TestNameNotUTF8 marshals such a name as BuildKit's client does, to learn how
// that fails.
func TestNameNotUTF8(t *testing.T) {
	t.Parallel()
	_, err := (&types.Packet{Stat: &types.Stat{Path: "\xe9"}}).Marshal()
	if err == nil {
		_, err = proto.Marshal(&types.Stat{Path: "\xe9"})
	}
	if err == nil {
		t.Fatal("such names travel; the advice is of no use any more")
	}
	err = status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	if text := plain(err); !strings.Contains(text, "name it in .dockerignore") {
		t.Errorf("%v: says %q", err, text)
	}
}
