package runner

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for ref, want := range map[string]Reference{
		"alpine":                          {DockerHub, "library/alpine", "latest", "", "alpine:latest"},
		"alpine:3.20":                     {DockerHub, "library/alpine", "3.20", "", "alpine:3.20"},
		"library/alpine":                  {DockerHub, "library/alpine", "latest", "", "alpine:latest"},
		"docker.io/library/alpine:3":      {DockerHub, "library/alpine", "3", "", "alpine:3"},
		"docker.io/alpine":                {DockerHub, "library/alpine", "latest", "", "alpine:latest"},
		"index.docker.io/grafana/grafana": {DockerHub, "grafana/grafana", "latest", "", "grafana/grafana:latest"},
		DockerHub + "/library/x:1":        {DockerHub, "library/x", "1", "", "x:1"},
		"grafana/grafana":                 {DockerHub, "grafana/grafana", "latest", "", "grafana/grafana:latest"},
		"localhost/app":                   {"localhost", "app", "latest", "", "localhost/app:latest"},
		"localhost:5000/app":              {"localhost:5000", "app", "latest", "", "localhost:5000/app:latest"},
		"registry:5000/a/b/c:1":           {"registry:5000", "a/b/c", "1", "", "registry:5000/a/b/c:1"},
		"[::1]:5000/app:1":                {"[::1]:5000", "app", "1", "", "[::1]:5000/app:1"},
		"Host/app":                        {"Host", "app", "latest", "", "Host/app:latest"},
		"mcr.microsoft.com/dotnet/sdk:8":  {"mcr.microsoft.com", "dotnet/sdk", "8", "", "mcr.microsoft.com/dotnet/sdk:8"},
		"r.io/library/app":                {"r.io", "library/app", "latest", "", "r.io/library/app:latest"},
		"alpine@" + digest:                {DockerHub, "library/alpine", "", digest, "alpine@" + digest},
		"r.io:1/a:2@" + digest:            {"r.io:1", "a", "2", digest, "r.io:1/a:2@" + digest},
	} {
		if diff := cmp.Diff(want, NewReference(ref, "")); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", ref, diff)
		}
	}
	if got := NewReference("alpine:3", digest); got.Digest != digest || got.Reference != "alpine:3" {
		t.Errorf("with a digest: %+v", got)
	}
}
