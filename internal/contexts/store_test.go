package contexts

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	return &Store{Dir: filepath.Join(t.TempDir(), "contexts")}
}

// add plans p and sends what is missing, and returns how many contents that
// was.
func add(t testing.TB, s *Store, p *Packed) int {
	t.Helper()
	missing, err := s.Plan(t.Context(), p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Receive(t.Context(), p.Manifest.Digest(), stream(t, p, missing)); err != nil {
		t.Fatal(err)
	}
	return len(missing)
}

func stream(t testing.TB, p *Packed, missing []Digest) io.Reader {
	t.Helper()
	var b bytes.Buffer
	if err := p.writeBlobs(t.Context(), &b, missing, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	return &b
}

func open(t testing.TB, s *Store, m *Manifest) *Tree {
	t.Helper()
	tree, err := s.Open(context.WithoutCancel(t.Context()), m.Digest())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tree.Close)
	return tree
}

// sameTree fails unless the tree is what the manifest says, in all that a
// manifest says.
func sameTree(t testing.TB, tree *Tree, m *Manifest) {
	t.Helper()
	if diff := cmp.Diff(m.Entries, pack(t, tree.Dir).Manifest.Entries); diff != "" {
		t.Errorf("tree differs from its manifest (-manifest +tree):\n%s", diff)
	}
}

// varied makes a folder with all that a context can have.
func varied(t testing.TB) string {
	t.Helper()
	dir := folder(t, map[string]string{
		"Dockerfile": "FROM scratch", "run.sh": "#!/bin/sh", "private": "p", "src/a": "same", "src/b": "same", "src/c": "same",
		"src/deep/er/x": "x", "src/deep-er": "y", "empty1": "", "src/empty2": "", "void/": "", "closed/in": "i",
		"ä ö/\n": "odd", "link@": "src/a", "src/up@": "../link", "src/dir@": "deep", "dangling@": "void/none",
	})
	age(t, dir, time.Unix(1_600_000_000, 1))
	for name, mode := range map[string]fs.FileMode{"run.sh": 0o755, "private": 0o600, "src/c": 0o440, "void": 0o500, "closed": 0o700, "src": 0o775} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, at := range map[string]int64{"private": 0, "src/deep/er/x": -1_000_000_007, "src/deep": 1_700_000_000_999_999_999} {
		if err := os.Chtimes(filepath.Join(dir, name), time.Time{}, time.Unix(0, at)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTreeRoundTrip(t *testing.T) {
	s, p := newStore(t), pack(t, varied(t))
	p.Manifest.Name = "some folder"
	add(t, s, p)
	tree := open(t, s, p.Manifest)
	sameTree(t, tree, p.Manifest)
	if tree.Name != "some folder" {
		t.Errorf("tree has name %q", tree.Name)
	}
	again := &Store{Dir: s.Dir} // the daemon starts anew
	sameTree(t, open(t, again, p.Manifest), p.Manifest)
}

// TestOutsideDockerfile: what lies elsewhere is sent from there.
func TestOutsideDockerfile(t *testing.T) {
	s := newStore(t)
	dir, elsewhere := folder(t, map[string]string{"a": "x"}), folder(t, map[string]string{"b": "FROM b", "b.dockerignore": "a"})
	p := pack(t, dir, func(o *PackOptions) { o.Dockerfile = filepath.Join(elsewhere, "b") })
	if got := add(t, s, p); got != 2 {
		t.Errorf("%d contents are sent, want 2", got)
	}
	tree := open(t, s, p.Manifest)
	for name, want := range map[string]string{p.Dockerfile: "FROM b", p.Dockerfile + ".dockerignore": "a"} {
		if got, err := os.ReadFile(filepath.Join(tree.Dir, name)); string(got) != want || err != nil {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

// TestTreeInodes: two files of a context are never one, although their content
// is kept once per mode and time; and two trees share.
func TestTreeInodes(t *testing.T) {
	s := newStore(t)
	m := &Manifest{Entries: []Entry{fileEntry("a", "x"), fileEntry("b", "x"), fileEntry("c", "x"), fileEntry("d", "")}}
	m.Entries[2].Mode = 0o755
	other := &Manifest{Entries: slices.Concat(m.Entries, []Entry{fileEntry("e", ""), fileEntry("f", "x")})}
	p := &Packed{Manifest: m, dir: folder(t, map[string]string{"a": "x"})}
	age(t, p.dir, time.Unix(0, m.Entries[0].ModTime))
	add(t, s, p)
	if missing, err := s.Plan(t.Context(), other); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	tree, second := open(t, s, m), open(t, s, other)
	sameTree(t, tree, m)
	sameTree(t, second, other)
	stat := func(tree *Tree, name string) fs.FileInfo {
		info, err := os.Stat(filepath.Join(tree.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for i, a := range other.Entries {
		for _, b := range other.Entries[i+1:] {
			if os.SameFile(stat(second, a.Path), stat(second, b.Path)) {
				t.Errorf("%s and %s of one tree are one file", a.Path, b.Path)
			}
		}
	}
	for _, e := range m.Entries {
		if !os.SameFile(stat(tree, e.Path), stat(second, e.Path)) {
			t.Errorf("%s is there twice, once for each tree", e.Path)
		}
	}
}

func TestIncrements(t *testing.T) {
	s, dir := newStore(t), varied(t)
	if got := add(t, s, pack(t, dir)); got != 8 {
		t.Errorf("first upload: %d contents, want 8", got)
	}
	if got := add(t, s, pack(t, dir)); got != 0 {
		t.Errorf("unchanged: %d contents, want none", got)
	}
	fill(t, dir, map[string]string{"src/a": "other"})
	p := pack(t, dir)
	if got := add(t, s, p); got != 1 {
		t.Errorf("one file changed: %d contents, want 1", got)
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
	age(t, dir, time.Unix(1_650_000_000, 5))
	p = pack(t, dir)
	if got := add(t, s, p); got != 0 {
		t.Errorf("fresh checkout: %d contents, want none", got)
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
	if err := os.Rename(filepath.Join(dir, "src"), filepath.Join(dir, "lib")); err != nil {
		t.Fatal(err)
	}
	p = pack(t, dir)
	if got := add(t, s, p); got != 0 {
		t.Errorf("renamed: %d contents, want none", got)
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
}

func TestOpenErrors(t *testing.T) {
	s, p := newStore(t), pack(t, folder(t, map[string]string{"a": "x", "b": "y"}))
	d := p.Manifest.Digest()
	if _, err := s.Open(t.Context(), d); !errors.Is(err, ErrNotFound) {
		t.Errorf("never planned: %v, want ErrNotFound", err)
	}
	if err := s.Receive(t.Context(), d, strings.NewReader("")); !errors.Is(err, ErrNotFound) {
		t.Errorf("receive, never planned: %v, want ErrNotFound", err)
	}
	if _, err := s.Plan(t.Context(), p.Manifest); err != nil {
		t.Fatal(err)
	}
	var missing *MissingError
	if _, err := s.Open(t.Context(), d); !errors.As(err, &missing) || len(missing.Digests) != 2 {
		t.Errorf("nothing sent: %v, want 2 missing", err)
	}
	err := s.Receive(t.Context(), d, stream(t, p, []Digest{digestOf("y")}))
	if !errors.As(err, &missing) || !slices.Equal(missing.Digests, []Digest{digestOf("x")}) {
		t.Errorf("half sent: %v, want x missing", err)
	}
	if err := s.Receive(t.Context(), d, stream(t, p, missing.Digests)); err != nil {
		t.Errorf("the rest: %v", err)
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
}

func blob(sum Digest, size int, content string) string {
	return string(sum[:]) + string(binary.BigEndian.AppendUint64(nil, uint64(size))) + content
}

func TestReceiveRefuses(t *testing.T) {
	x, y := blob(digestOf("xx"), 2, "xx"), blob(digestOf("yy"), 2, "yy")
	tests := []struct {
		name, stream string
		mismatch     bool
	}{
		{"torn header", x + y[:20], false},
		{"torn content", x + y[:len(y)-1], false},
		{"other content", x + blob(digestOf("yy"), 2, "zz"), true},
		{"not listed", x + blob(digestOf("zz"), 2, "zz"), false},
		{"twice", x + x + y, false},
		{"longer than listed", x + blob(digestOf("yy"), 3, "yyy"), false},
		{"shorter than listed", x + blob(digestOf("yy"), 1, "y"), false},
		{"negative size", x + blob(digestOf("yy"), -1, "yy"), false},
		{"endless size", x + blob(digestOf("yy"), 1<<60, "yy"), false},
		{"rubbish behind", x + y + "more", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			m := &Manifest{Entries: []Entry{fileEntry("a", "xx"), fileEntry("b", "yy")}}
			if _, err := s.Plan(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			err := s.Receive(t.Context(), m.Digest(), strings.NewReader(tt.stream))
			var mismatch *MismatchError
			if !errors.Is(err, ErrInvalid) || errors.As(err, &mismatch) != tt.mismatch {
				t.Errorf("error %v; want ErrInvalid, by its sum: %v", err, tt.mismatch)
			}
			if missing, err := s.Plan(t.Context(), m); err != nil || slices.Contains(missing, digestOf("xx")) {
				t.Errorf("what came right before is missing: %v, %v", missing, err)
			}
			if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
			onlyGood(t, s)
		})
	}
}

// onlyGood fails if a blob is not what its name says.
func onlyGood(t testing.TB, s *Store) {
	t.Helper()
	err := filepath.WalkDir(s.path("blobs"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		if got := digestOf(string(content)).hex(); got != d.Name() {
			t.Errorf("blob %s has content with sum %s", d.Name(), got)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func FuzzReceive(f *testing.F) {
	x, y := blob(digestOf("xx"), 2, "xx"), blob(digestOf("yy"), 2, "yy")
	for _, seed := range []string{"", x, x + y, x + y[:9], y + x + x, blob(digestOf("xx"), 2, "zz")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := newStore(t)
		m := &Manifest{Entries: []Entry{fileEntry("a", "xx"), fileEntry("b", "yy")}}
		if _, err := s.Plan(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		err := s.Receive(t.Context(), m.Digest(), bytes.NewReader(in))
		if err != nil && !errors.Is(err, ErrInvalid) && !errors.As(err, new(*MissingError)) {
			t.Errorf("error %v blames nobody", err)
		}
		if err == nil {
			sameTree(t, open(t, s, m), m)
		}
		onlyGood(t, s)
	})
}

// TestSizeOfKnownContent: a manifest cannot claim that a content that is here
// is smaller than it is.
func TestSizeOfKnownContent(t *testing.T) {
	s := newStore(t)
	add(t, s, pack(t, folder(t, map[string]string{"a": "long content"})))
	m := &Manifest{Entries: []Entry{fileEntry("b", "long content")}}
	m.Entries[0].Size = 1
	if _, err := s.Plan(t.Context(), m); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

func TestConcurrentUploads(t *testing.T) {
	s, dir := newStore(t), varied(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p := pack(t, dir)
			missing, err := s.Plan(t.Context(), p.Manifest)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Receive(t.Context(), p.Manifest.Digest(), stream(t, p, missing)); err != nil {
				t.Error(err)
				return
			}
			tree, err := s.Open(t.Context(), p.Manifest.Digest())
			if err != nil {
				t.Error(err)
				return
			}
			defer tree.Close()
			sameTree(t, tree, p.Manifest)
		})
	}
	wg.Wait()
	if len(s.held)+len(s.building) > 0 {
		t.Errorf("held %v, building %v after all are done", s.held, s.building)
	}
}

// TestConcurrentTrees lays out different trees that need the same new inodes.
func TestConcurrentTrees(t *testing.T) {
	s := newStore(t)
	add(t, s, pack(t, folder(t, map[string]string{"a": "x"})))
	var wg sync.WaitGroup
	for i := range 6 {
		m := &Manifest{Entries: []Entry{dirEntry("own" + strconv.Itoa(i))}}
		for n := range 300 {
			m.Entries = append(m.Entries, fileEntry(fmt.Sprintf("x%03d", n), "x"))
		}
		if missing, err := s.Plan(t.Context(), m); err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
		wg.Go(func() {
			tree, err := s.Open(t.Context(), m.Digest())
			if err != nil {
				t.Error(err)
				return
			}
			defer tree.Close()
			sameTree(t, tree, m)
		})
	}
	wg.Wait()
}

// TestCrash leaves behind what a daemon leaves that is killed at any moment.
func TestCrash(t *testing.T) {
	s, p := newStore(t), pack(t, varied(t))
	d := p.Manifest.Digest()
	missing, err := s.Plan(t.Context(), p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	half := stream(t, p, missing)
	s.Receive(t.Context(), d, io.LimitReader(half, 150))
	fill(t, s.Dir, map[string]string{
		"tmp/tree-1/src/a": "half", "tmp/tree-1/shut/x": "", "tmp/blob-2": "half a blob", "tmp/evicted-3/context/manifest": "x",
		"contexts/" + digestOf("other").hex() + "/": "",
	})
	if err := os.Chmod(s.path("tmp/tree-1/shut"), 0); err != nil {
		t.Fatal(err)
	}

	s = &Store{Dir: s.Dir}
	if _, err := s.Open(t.Context(), d); !errors.As(err, new(*MissingError)) {
		t.Errorf("an incomplete context opens: %v", err)
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	if got := add(t, s, p); got == 0 || got >= len(missing) {
		t.Errorf("%d contents are sent again, of %d", got, len(missing))
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
	if _, err := s.Open(t.Context(), digestOf("other")); !errors.Is(err, ErrNotFound) {
		t.Errorf("context without a manifest: %v, want ErrNotFound", err)
	}
}

// TestDamagedManifest: what is remembered of a plan is not taken on trust.
func TestDamagedManifest(t *testing.T) {
	s, p := newStore(t), pack(t, varied(t))
	add(t, s, p)
	d := p.Manifest.Digest()
	forged := &Manifest{Entries: []Entry{fileEntry("../../x", "")}}
	for name, content := range map[string][]byte{"empty": nil, "forged": forged.AppendBinary(nil)} {
		if err := os.WriteFile(s.contextPath(d, "manifest"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), d); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
	}
}

// TestManyTrees: a file system lets a file have only so many names.
func TestManyTrees(t *testing.T) {
	s, p := newStore(t), pack(t, folder(t, map[string]string{"a": "x"}))
	add(t, s, p)
	dir := t.TempDir()
	for n := 0; ; n++ {
		err := os.Link(s.blobPath(digestOf("x")), filepath.Join(dir, strconv.Itoa(n)))
		if errors.Is(err, syscall.EMLINK) {
			break
		}
		if err != nil || n == 70_000 {
			t.Skip("no limit here: ", err)
		}
	}
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
}
