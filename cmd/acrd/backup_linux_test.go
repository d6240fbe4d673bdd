package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/internal/secrets"
	"acrd/internal/store/storetest"

	"golang.org/x/sys/unix"
)

// do runs one command without a daemon.
func do(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var text bytes.Buffer
	s := &session{stdin: strings.NewReader(""), stdout: &text, stderr: &text, getenv: func(string) string { return "" }}
	return run(t.Context(), s, args), text.String()
}

// oldState is a state folder with one run in it.
func oldState(t *testing.T) (dir string, id string) {
	t.Helper()
	dir = t.TempDir()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, filepath.Join(dir, storeFile), key)
	id = storetest.Add(t, db, storetest.SecretRequest("s3cr3tcanary")).ID
	for name, text := range map[string]string{
		"logs/" + id + "/log": "hello\n", "log-archive/x": "y", "token": "of the owner", "engine/cache": "large", "registry/blob": "image",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, id // the store stays open: a backup may be made of one in use
}

func TestBackupAndRestore(t *testing.T) {
	old, id := oldState(t)
	file := filepath.Join(t.TempDir(), "acrd.backup")
	if code, out := do(t, "backup", "--state", old, file); code != exitOK || !strings.Contains(out, "Restoring it needs "+filepath.Join(old, keyFile)) {
		t.Fatalf("backup: %d %s", code, out)
	}
	fresh := t.TempDir()
	key, err := os.ReadFile(filepath.Join(old, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if code, out := do(t, "restore", "--state", fresh, file); code != exitUsage || !strings.Contains(out, "put the file") {
		t.Errorf("restore without the key: %d %s", code, out)
	}
	if err := os.WriteFile(filepath.Join(fresh, keyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := do(t, "restore", "--verify", "--state", fresh, file); code != exitOK || !strings.Contains(out, "It is whole") {
		t.Errorf("verify: %d %s", code, out)
	}
	for range 2 { // what is there is replaced
		if code, out := do(t, "restore", "--state", fresh, file); code != exitOK || !strings.Contains(out, "Restored to") {
			t.Fatalf("restore: %d %s", code, out)
		}
	}
	opened, err := secrets.OpenKeyFile(filepath.Join(fresh, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, filepath.Join(fresh, storeFile), opened)
	if req, err := db.Request(t.Context(), id); err != nil || req.SecretValues["token"] != "s3cr3tcanary" {
		t.Errorf("request is %+v (%v)", req, err)
	}
	for name, want := range map[string]bool{"logs/" + id + "/log": true, "log-archive/x": true, "token": false, "engine": false, "registry": false} {
		if _, err := os.Stat(filepath.Join(fresh, name)); (err == nil) != want {
			t.Errorf("%s after the restore: %v, want it there: %v", name, err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(fresh, ".restore-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if b, _ := os.ReadFile(file); bytes.Contains(b, key) || bytes.Contains(b, []byte("s3cr3tcanary")) {
		t.Error("the key or a secret is in the backup")
	}
}

func TestBackupWithImages(t *testing.T) {
	old, _ := oldState(t)
	file := filepath.Join(t.TempDir(), "acrd.backup")
	if code, out := do(t, "backup", "--images", "--state", old, file); code != exitOK {
		t.Fatalf("backup: %d %s", code, out)
	}
	if err := os.WriteFile(filepath.Join(old, "registry/blob"), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := do(t, "restore", "--state", old, file); code != exitOK {
		t.Fatalf("restore: %d %s", code, out)
	}
	if b, err := os.ReadFile(filepath.Join(old, "registry/blob")); err != nil || string(b) != "image" {
		t.Errorf("the image is %q (%v)", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(old, "registry.replaced/blob")); err != nil || string(b) != "another" {
		t.Errorf("what was there is %q (%v)", b, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	old, _ := oldState(t)
	file := filepath.Join(t.TempDir(), "acrd.backup")
	if code, out := do(t, "backup", "--state", old, file); code != exitOK {
		t.Fatalf("backup: %d %s", code, out)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := oldState(t)
	used, _ := oldState(t)
	if err := os.WriteFile(filepath.Join(used, keyFile), must(os.ReadFile(filepath.Join(old, keyFile))), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(used, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		state string
		file  []byte
		code  int
		says  string
	}{
		"another key":  {other, whole, exitHost, "sealed with key"},
		"in use":       {used, whole, exitUsage, "stop it first"},
		"cut":          {old, whole[:len(whole)/2], exitUsage, "no backup of acrd's"},
		"not a backup": {old, []byte("hello"), exitUsage, "no backup of acrd's"},
		"empty":        {old, nil, exitUsage, "no backup of acrd's"},
	} {
		before := must(os.ReadFile(filepath.Join(tt.state, storeFile)))
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out := do(t, "restore", "--state", tt.state, path); code != tt.code || !strings.Contains(out, tt.says) {
			t.Errorf("%s: %d %s", name, code, out)
		}
		if after := must(os.ReadFile(filepath.Join(tt.state, storeFile))); !bytes.Equal(before, after) {
			t.Errorf("%s: the store was changed", name)
		}
	}
	if code, out := do(t, "backup", "--state", t.TempDir(), file); code != exitUsage || !strings.Contains(out, "is it the state folder") {
		t.Errorf("backup of an empty folder: %d %s", code, out)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
