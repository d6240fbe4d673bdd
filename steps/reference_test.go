package steps

import (
	"strings"
	"testing"
)

func TestCheckReference(t *testing.T) {
	good := []string{
		"app", "app:v1", "team/app:V1.2_x", "localhost:5000/app", "localhost/app", "r.io/a/b/c:1", "[::1]:5000/app:1", "a__b/c--d:1",
		"app@sha256:" + strings.Repeat("a", 64), "r.io:443/app:1@sha256:" + strings.Repeat("0", 64), "UPPER.io/app:1",
	}
	for _, r := range good {
		if err := checkReference(r); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
	for r, want := range map[string]string{
		"App:v1": "repository name (App) must be lowercase", "r.io/Team/app": "repository name (Team/app) must be lowercase",
		"": "invalid reference", ":v1": "invalid reference", "app:": "invalid reference", "app:v 1": "invalid reference", "-app": "invalid reference",
		"a//b": "invalid reference", "app/": "invalid reference", "app:v1:v2": "invalid reference", "https://r.io/app": "invalid reference",
		"app@sha256:xy": "invalid reference", "app:" + strings.Repeat("a", 129): "invalid reference", "r..io:x/app": "invalid reference", "a/../b": "invalid reference",
	} {
		if err := checkReference(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", r, err, want)
		}
	}
}
