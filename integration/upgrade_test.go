package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpgrade restores backups that earlier versions have made, each with a
// schema of its own: what was in them is there and works.
func TestUpgrade(t *testing.T) {
	need(t)
	backups, err := filepath.Glob("testdata/upgrade/*.tar.zst")
	if err != nil || len(backups) == 0 {
		t.Fatal("no backups of earlier versions", err)
	}
	for _, backup := range backups {
		version := strings.TrimSuffix(filepath.Base(backup), ".tar.zst")
		t.Run(version, func(t *testing.T) { upgrade(t, backup, filepath.Join("testdata/upgrade", version+".key")) })
	}
}

func upgrade(t *testing.T, backup, keyFile string) {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if backup, err = filepath.Abs(backup); err != nil {
		t.Fatal(err)
	}
	d := &daemon{TB: t, state: shortDir(t)}
	if err := os.WriteFile(filepath.Join(d.state, "key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	d.succeed(d.acrd(d.state, "restore", backup))
	d.start()
	t.Cleanup(d.stop)
	d.base()

	for _, row := range []struct {
		command string
		want    []string
	}{
		{"runs list -o tsv", []string{"ca1", "ca2", "ca3", "ca4", "Failed", "Succeeded", "greeting"}},
		{"task show-run --run-id ca3 -o json", []string{`"status": "Failed"`}},
		{"logs --run-id ca3", []string{"broken", "exit status 42"}},
		{"logs --run-id ca4", []string{"20 letters for world"}},
		{"task list", []string{"greeting", "website", "https://git.example.com/team/site.git#main"}},
		{"task show -n greeting -o json", []string{`"schedule": "0 3 * * *"`, `"Europe/Berlin"`}},
		{"task show -n website -o json", []string{`"src/**"`, `"VERSION"`}},
		{"task why greeting", []string{"nightly"}},
		{"secret list", []string{"greeting"}},
		{"token list", []string{"ci", "submit"}},
	} {
		out := d.succeed(d.acrd(d.state, strings.Fields(row.command)...)).String()
		for _, want := range row.want {
			if !strings.Contains(out, want) {
				t.Errorf("acrd %s does not say %q:\n%s", row.command, want, out)
			}
		}
	}
	// The task is sealed, and so is the secret that it names.
	if out := d.succeed(d.acrd(d.state, "task", "run", "-n", "greeting")).String(); !strings.Contains(out, "20 letters for world") {
		t.Errorf("the task runs otherwise than it did:\n%s", out)
	}
	d.succeed(d.acrd(d.state, "task", "update", "-n", "website", "--status", "Disabled"))
	d.succeed(d.acrd(d.state, "webhook", "create", "-n", "after", "--uri", "http://127.0.0.1:9/", "--actions", "push"))
}
