package contexts

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// folder makes a folder: "a/b" is a file with the given content, "a/" a
// folder, "a@" a link to the given target.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	fill(t, dir, files)
	return dir
}

func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(strings.TrimRight(name, "/@")))
		parent := filepath.Dir(file)
		if strings.HasSuffix(name, "/") {
			parent = file
		}
		err := os.MkdirAll(parent, 0o755)
		switch {
		case strings.HasSuffix(name, "/"):
		case strings.HasSuffix(name, "@"):
			err = errors.Join(err, os.Symlink(content, file))
		default:
			err = errors.Join(err, os.WriteFile(file, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// age sets the times of everything in dir back to the given one, folders last.
func age(t testing.TB, dir string, to time.Time) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(file, to, to)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// digestOf is the sum of a content.
func digestOf(content string) Digest { return sha256.Sum256([]byte(content)) }

// fileEntry is a file as a manifest lists it.
func fileEntry(name, content string) Entry {
	return Entry{Path: name, Type: File, Mode: 0o644, ModTime: 1e18, Size: int64(len(content)), Sum: digestOf(content)}
}

func dirEntry(name string) Entry { return Entry{Path: name, Type: Dir, Mode: 0o755, ModTime: 1e18} }

func linkEntry(name, target string) Entry {
	return Entry{Path: name, Type: Symlink, Mode: 0o777, ModTime: 1e18, Target: target}
}

func TestParseDigest(t *testing.T) {
	d := digestOf("x")
	got, err := ParseDigest(d.String())
	if err != nil || got != d {
		t.Errorf("ParseDigest(%q) = %v, %v; want it back", d, got, err)
	}
	for _, bad := range []string{"", "sha256:", d.hex(), "sha512:" + d.hex(), strings.ToUpper(d.String()), d.String() + "0", "sha256:" + strings.Repeat("g", 64), "sha256:../../" + d.hex()[6:]} {
		if got, err := ParseDigest(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseDigest(%q) = %v, %v; want ErrInvalid", bad, got, err)
		}
	}
}
