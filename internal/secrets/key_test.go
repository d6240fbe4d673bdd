package secrets

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func openTestKey(t *testing.T) *Key {
	t.Helper()
	k, err := OpenKeyFile(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k, err := OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 || info.Size() != 32 {
		t.Errorf("key file has mode %v and %d bytes", info.Mode(), info.Size())
	}
	sealed, err := k.Seal([]byte("canary"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.Open(sealed); err != nil || string(plain) != "canary" {
		t.Errorf("after opening the file again: %q, %v", plain, err)
	}
	left, _ := filepath.Glob(path + "*")
	if len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKeyFileRefused(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"others can read it", func(p string) error { return os.WriteFile(p, make([]byte, 32), 0o644) }, "has mode 0644"},
		{"its group can write it", func(p string) error {
			return errors.Join(os.WriteFile(p, make([]byte, 32), 0o600), os.Chmod(p, 0o620))
		}, "has mode 0620"},
		{"too short", func(p string) error { return os.WriteFile(p, make([]byte, 31), 0o600) }, "does not hold 32 bytes"},
		{"too long", func(p string) error { return os.WriteFile(p, make([]byte, 33), 0o600) }, "does not hold 32 bytes"},
		{"a folder", func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file"},
		{"a link", func(p string) error {
			return errors.Join(os.WriteFile(p+"2", make([]byte, 32), 0o600), os.Symlink(p+"2", p))
		}, "key file"},
		{"no folder for it", func(p string) error { return os.Remove(filepath.Dir(p)) }, "make key file"},
		{"another user's", func(p string) error {
			if os.Geteuid() != 0 {
				t.Skip("giving a file away needs root")
			}
			return errors.Join(os.WriteFile(p, make([]byte, 32), 0o600), os.Chown(p, 12345, -1))
		}, "belongs to user 12345"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d", "key")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := row.make(path); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenKeyFile(path); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

// TestKeyFileTogether: daemons that start at one time end with one key.
func TestKeyFileTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]*Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = OpenKeyFile(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	sealed, err := keys[0].Seal([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if _, err := k.Open(sealed); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

func TestSeal(t *testing.T) {
	k := openTestKey(t)
	for _, plain := range [][]byte{nil, []byte("x"), []byte("canary-4711"), bytes.Repeat([]byte{0}, 1<<20)} {
		sealed, err := k.SealFor("db", plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 4 && bytes.Contains(sealed, plain[:4]) && len(plain) < 100 {
			t.Errorf("the sealed value shows %q", plain)
		}
		got, err := k.OpenFor("db", sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d bytes, %v", len(plain), len(got), err)
		}
		if _, err := k.OpenFor("other", sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("under another name: %v", err)
		}
		if _, err := openTestKey(t).OpenFor("db", sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("with another key: %v", err)
		}
	}
}

// TestSealChanged: every bit counts, and so does every byte that is missing.
func TestSealChanged(t *testing.T) {
	k := openTestKey(t)
	sealed, err := k.Seal([]byte("canary-4711"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if plain, err := k.Open(changed); err == nil {
			t.Errorf("byte %d changed: %q", i, plain)
		}
		if plain, err := k.Open(sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Errorf("cut after %d bytes: %q, %v", i, plain, err)
		}
	}
	same, err := k.Seal([]byte("canary-4711"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(same, sealed) {
		t.Error("one value sealed twice looks the same")
	}
}

// FuzzOpen: what comes from a database does not crash the daemon.
func FuzzOpen(f *testing.F) {
	k, err := newKey(make([]byte, keySize))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{sealed1})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := k.Open(b); err == nil && len(plain) > len(b) {
			t.Errorf("opened %x", b)
		}
	})
}
