package container

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestStartError(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		"runc run failed: unable to start container process: exec: nothing: not found": "exec: nothing: not found",
		"mkdir /var/lib/acrd/engine/runc/03241-ca4-2: no space left on device":         "no space left on device",
		"runc run failed: write /var/lib/acrd/x/state.json: no space left on device":   "no space left on device",
	} {
		file := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(file, []byte(`{"level":"error","msg":"`+msg+`"}`+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := startError(file, errors.New("exit status 1"))
		start, ok := errors.AsType[*StartError](err)
		if !ok || start.Reason != want {
			t.Errorf("%s: got %v, want %s", msg, err, want)
		}
	}
}
