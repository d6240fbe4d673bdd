package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestServeFaults: whoever starts a daemon hears of all that is wrong at once.
func TestServeFaults(t *testing.T) {
	var out bytes.Buffer
	s := &session{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
	code := run(t.Context(), s, []string{
		"serve", "--state", t.TempDir(),
		"--tls-cert", "x", "--run-memory", "much", "--run-disk", "all", "--cache-max", "big", "--cache-min-free", "some", "--ssh-key", "/none",
		"--ssh-known-hosts", "/nothing", "--resource-id", "mine", "--lease", "1ms", "--keep-logs", "all",
	})
	if code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	for _, flag := range []string{"--tls-cert", "--run-memory", "--run-disk", "--cache-max", "--cache-min-free", "--ssh-key", "--ssh-known-hosts", "--resource-id", "--lease", "--keep-logs"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("%s is not told of in:\n%s", flag, &out)
		}
	}
}
