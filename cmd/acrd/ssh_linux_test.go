package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSSHFiles refuses files that ssh would not, or should not, believe.
func TestSSHFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, mode := range map[string]os.FileMode{"key": 0o600, "open-key": 0o640, "hosts": 0o644, "open-hosts": 0o666} {
		if err := os.WriteFile(name, []byte("CANARY"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ key, hosts, want string }{
		{"", "", ""},
		{"key", "hosts", ""},
		{"none", "", "--ssh-key: stat none: no such file"},
		{".", "", "--ssh-key: . is not a file"},
		{"open-key", "", "--ssh-key: open-key has mode 0640: chmod 0600 it"},
		{"key", "open-hosts", "--ssh-known-hosts: open-hosts has mode 0666: chmod 0644 it"},
	} {
		got, err := (&sshValues{tt.key, tt.hosts}).read()
		switch {
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "CANARY")):
			t.Errorf("%+v: %v; want %q", tt, err, tt.want)
		case tt.want == "" && err != nil:
			t.Errorf("%+v: %v", tt, err)
		case tt.want == "" && tt.key != "" && (!filepath.IsAbs(got.key) || !filepath.IsAbs(got.knownHosts)):
			t.Errorf("%+v: %+v is relative", tt, got)
		}
	}
}
