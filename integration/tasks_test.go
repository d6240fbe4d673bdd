package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTasksSurvive: a task and its secrets are there after a restart, and its
// secrets are in no file and no answer in clear.
func TestTasksSurvive(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	const secret = "CANARY-9f2c77"
	dir := d.folder(map[string]string{"task.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 sh -c 'echo secret of ${#S} letters'\n    env: [\"S={{.Values.pin}}\"]\n"})
	d.succeed(d.acrd(dir, "task", "create", "-n", "survivor", "-c", "/dev/null", "-f", "task.yaml", "--set-secret", "pin="+secret, "--schedule", "0 4 31 2 *"))
	d.succeed(d.acrd(dir, "task", "credential", "add", "-n", "survivor", "--login-server", "r.invalid", "-u", "user", "-p", secret))
	d.stop()
	d.start()
	r := d.succeed(d.acrd(dir, "task", "run", "-n", "survivor"))
	if !strings.Contains(r.stdout, "secret of 13 letters") {
		t.Errorf("the run has another secret:\n%s", r)
	}
	shown := d.succeed(d.acrd(dir, "task", "show", "-n", "survivor", "--with-secure-properties", "-o", "json")).String()
	if !strings.Contains(shown, "r.invalid") || !strings.Contains(shown, "0 4 31 2 *") || strings.Contains(shown, secret) {
		t.Errorf("the task is %s", shown)
	}
	d.stop()
	err := filepath.WalkDir(d.state, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			t.Errorf("the secret is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
