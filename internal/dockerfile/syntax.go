package dockerfile

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// checkSyntax refuses a "# syntax=" line that names another frontend than
// Dockerfile's own: an image that would run inside the build, with its
// secrets. The usual docker/dockerfile ones mean the frontend that is built
// in, and are returned.
func (s *source) checkSyntax() (string, error) {
	ref, _, where, ok := parser.DetectSyntax(s.text)
	if !ok {
		return "", nil
	}
	name := strings.TrimPrefix(ref, "docker.io/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	switch name {
	case "docker/dockerfile", "docker/dockerfile-upstream", "dockerfile":
		return ref, nil
	}
	return "", s.fault(where, ref, fmt.Sprintf("# syntax=%s names a frontend that is not allowed: builds use the Dockerfile frontend that is built in (docker/dockerfile)", ref))
}
