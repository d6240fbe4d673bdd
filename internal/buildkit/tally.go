package buildkit

import (
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// A tally is for each instruction of a build whether it was done already.
type tally map[digest.Digest]bool

// add counts what is done. BuildKit's own work, such as reading a Dockerfile,
// is no instruction: those are named [1/3] FROM, [stage 2/3] RUN.
func (t tally) add(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		if v.Completed == nil || v.Error != "" || !strings.HasPrefix(v.Name, "[") || strings.HasPrefix(v.Name, "[internal]") || strings.HasPrefix(v.Name, "[auth]") {
			continue
		}
		t[v.Digest] = v.Cached
	}
}

func (t tally) count() (parts, cached int) {
	for _, c := range t {
		if c {
			cached++
		}
	}
	return len(t), cached
}
