package contexts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pack packs dir with a hash cache of its own.
func pack(t testing.TB, dir string, change ...func(*PackOptions)) *Packed {
	t.Helper()
	p, err := tryPack(t, dir, change...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryPack(t testing.TB, dir string, change ...func(*PackOptions)) (*Packed, error) {
	t.Helper()
	opts := PackOptions{Dir: dir, HashCache: filepath.Join(t.TempDir(), "hashes")}
	for _, c := range change {
		c(&opts)
	}
	return Pack(t.Context(), opts)
}

func paths(m *Manifest) []string {
	names := []string{}
	for _, e := range m.Entries {
		names = append(names, e.Path)
	}
	return names
}

func TestPackEntries(t *testing.T) {
	dir := folder(t, map[string]string{"run.sh": "#!/bin/sh\n", "src/a.txt": "a", "src/empty": "", "void/": "", "link@": "src/a.txt", "dangling@": "nowhere"})
	at := time.Unix(1_700_000_000, 123_456_789)
	age(t, dir, at)
	for name, mode := range map[string]fs.FileMode{"run.sh": 0o755 | fs.ModeSetuid, "void": 0o700, "src": 0o755 | fs.ModeSticky} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	p := pack(t, dir)
	ns := at.UnixNano()
	want := []Entry{
		{Path: "dangling", Type: Symlink, Mode: 0o777, Target: "nowhere"},
		{Path: "link", Type: Symlink, Mode: 0o777, Target: "src/a.txt"},
		{Path: "run.sh", Type: File, Mode: 0o755, ModTime: ns, Size: 10, Sum: digestOf("#!/bin/sh\n")},
		{Path: "src", Type: Dir, Mode: 0o755, ModTime: ns},
		{Path: "src/a.txt", Type: File, Mode: 0o644, ModTime: ns, Size: 1, Sum: digestOf("a")},
		{Path: "src/empty", Type: File, Mode: 0o644, ModTime: ns, Sum: emptyDigest},
		{Path: "void", Type: Dir, Mode: 0o700, ModTime: ns},
	}
	for i := range p.Manifest.Entries {
		if e := &p.Manifest.Entries[i]; e.Type == Symlink {
			e.ModTime = 0 // of its making
		}
	}
	if diff := cmp.Diff(want, p.Manifest.Entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if err := p.Manifest.validate(Limits{}); err != nil {
		t.Errorf("a Store would refuse it: %v", err)
	}
}

func TestPackName(t *testing.T) {
	a, b := folder(t, map[string]string{"x": "1"}), folder(t, map[string]string{"x": "1"})
	first, again, other := pack(t, a).Manifest, pack(t, a).Manifest, pack(t, b).Manifest
	if first.Name != again.Name || first.Name == other.Name || first.Name == "" {
		t.Errorf("names %q, %q of one folder and %q of another", first.Name, again.Name, other.Name)
	}
	named := pack(t, a, func(o *PackOptions) { o.Name = "n" }).Manifest
	if named.Name != "n" || named.Digest() != first.Digest() {
		t.Errorf("with a name of its own: %q, %v; want n and the same digest %v", named.Name, named.Digest(), first.Digest())
	}
}

func TestPackDefaultExcludes(t *testing.T) {
	dir := folder(t, map[string]string{".git/config": "", ".gitignore": "", "sub/.git/config": "", "a": ""})
	p := pack(t, dir, func(o *PackOptions) { o.DefaultExcludes = true })
	if diff := cmp.Diff([]string{"a", "sub", "sub/.git", "sub/.git/config"}, paths(p.Manifest)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{".git", ".gitignore"}, p.Excluded); diff != "" {
		t.Errorf("excluded (-want +got):\n%s", diff)
	}
	if got := paths(pack(t, dir).Manifest); len(got) != 7 {
		t.Errorf("without the option: %v", got)
	}
}

func TestPackDockerfile(t *testing.T) {
	dir := folder(t, map[string]string{"Dockerfile": "FROM a", "a": "", ".dockerignore": "Dockerfile\n.dockerignore\ndeploy", "deploy/x": "", "deploy/Dockerfile": "FROM b"})
	elsewhere := folder(t, map[string]string{"my.Dockerfile": "FROM c", "plain": "FROM d", "plain.dockerignore": "a"})
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(dir, alias); err != nil {
		t.Fatal(err)
	}
	own := digestOf("FROM c").hex()[:32] + "_my.Dockerfile"
	plain := digestOf("FROM d").hex()[:32] + "_plain"
	tests := []struct {
		name, dockerfile, want string
		paths                  []string
	}{
		{"default, ignored", "", "Dockerfile", []string{".dockerignore", "Dockerfile", "a"}},
		{"in an ignored folder", filepath.Join(dir, "deploy/Dockerfile"), "deploy/Dockerfile", []string{".dockerignore", "a", "deploy", "deploy/Dockerfile"}},
		{"in the folder by another name", filepath.Join(alias, "Dockerfile"), "Dockerfile", []string{".dockerignore", "Dockerfile", "a"}},
		{"outside", filepath.Join(elsewhere, "my.Dockerfile"), own, []string{".dockerignore", own, "a"}},
		{"outside with an ignore file", filepath.Join(elsewhere, "plain"), plain, []string{".dockerignore", "Dockerfile", plain, plain + ".dockerignore", "deploy", "deploy/Dockerfile", "deploy/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pack(t, dir, func(o *PackOptions) { o.Dockerfile = tt.dockerfile })
			if p.Dockerfile != tt.want {
				t.Errorf("Dockerfile is %q, want %q", p.Dockerfile, tt.want)
			}
			want := &Manifest{}
			for _, name := range tt.paths {
				want.Entries = append(want.Entries, Entry{Path: name})
			}
			want.sort()
			if diff := cmp.Diff(paths(want), paths(p.Manifest)); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackNoDockerfile(t *testing.T) {
	dir := folder(t, map[string]string{"a": ""})
	if p := pack(t, dir); p.Dockerfile != "" {
		t.Errorf("Dockerfile is %q in a folder without", p.Dockerfile)
	}
	for _, missing := range []string{filepath.Join(dir, "Dockerfile"), filepath.Join(t.TempDir(), "Dockerfile")} {
		if _, err := tryPack(t, dir, func(o *PackOptions) { o.Dockerfile = missing }); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with a Dockerfile that is named and missing: %v", err)
		}
	}
	if _, err := tryPack(t, filepath.Join(dir, "a")); err == nil {
		t.Error("a file was packed as a folder")
	}
}

// TestPackRequiredLinks: what must travel may be reached over links, as long
// as they stay in the folder.
func TestPackRequiredLinks(t *testing.T) {
	dir := folder(t, map[string]string{
		".dockerignore@": "conf/ignore", "conf/ignore": "*", "conf/Dockerfile": "FROM a",
		"Dockerfile@": "now/Dockerfile", "now@": "conf", "tasks/acb.yaml": "", "tasks/other": "",
	})
	p := pack(t, dir, func(o *PackOptions) { o.Keep = []string{"./tasks/acb.yaml"} })
	want := []string{".dockerignore", "Dockerfile", "conf", "conf/Dockerfile", "conf/ignore", "now", "tasks", "tasks/acb.yaml"}
	if diff := cmp.Diff(want, paths(p.Manifest)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestPackHostileLinks(t *testing.T) {
	outside := folder(t, map[string]string{"secret": "TOP-SECRET-CANARY [", "dir/Dockerfile": "TOP-SECRET-CANARY"})
	secret := filepath.Join(outside, "secret")
	tests := []struct {
		name  string
		files map[string]string
		keep  string
	}{
		{"Dockerfile", map[string]string{"Dockerfile@": secret}, ""},
		{"Dockerfile, relative", map[string]string{"Dockerfile@": "../" + filepath.Base(outside) + "/secret"}, ""},
		{"Dockerfile, over two links", map[string]string{"Dockerfile@": "a", "a@": "sub/../../x"}, ""},
		{"Dockerfile.dockerignore", map[string]string{"Dockerfile": "", "Dockerfile.dockerignore@": secret}, ""},
		{".dockerignore", map[string]string{".dockerignore@": secret}, ""},
		{"task file", map[string]string{"acb.yaml@": secret}, "acb.yaml"},
		{"task file in a linked folder", map[string]string{"tasks@": filepath.Join(outside, "dir")}, "tasks/Dockerfile"},
		{"task file above", map[string]string{"a": ""}, "../secret"},
		{"task file, absolute", map[string]string{"a": ""}, secret},
		{"circle", map[string]string{"Dockerfile@": "a", "a@": "Dockerfile"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.files["sub/"] = ""
			dir := folder(t, tt.files)
			p, err := tryPack(t, dir, func(o *PackOptions) {
				if tt.keep != "" {
					o.Keep = []string{tt.keep}
				}
			})
			if err == nil {
				t.Fatalf("packed %v", paths(p.Manifest))
			}
			if strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error has content from outside: %v", err)
			}
		})
	}
}

// TestPackDoesNotFollow: links to folders and files outside are links.
func TestPackDoesNotFollow(t *testing.T) {
	outside := folder(t, map[string]string{"secret": "s"})
	dir := folder(t, map[string]string{"d@": outside, "f@": filepath.Join(outside, "secret"), "loop@": "."})
	if diff := cmp.Diff([]string{"d", "f", "loop"}, paths(pack(t, dir).Manifest)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestPackNotUTF8(t *testing.T) {
	dir := folder(t, map[string]string{"a": ""})
	if err := os.WriteFile(filepath.Join(dir, "caf\xe9"), nil, 0o644); err != nil {
		t.Skip(err)
	}
	if _, err := tryPack(t, dir); err == nil || !strings.Contains(err.Error(), `"caf\xe9"`) {
		t.Errorf("error %v; want one with the name", err)
	}
	fill(t, dir, map[string]string{".dockerignore": "caf*"})
	if _, err := tryPack(t, dir); err != nil {
		t.Errorf("ignored, it still disturbs: %v", err)
	}
}

func TestPackLimits(t *testing.T) {
	dir := folder(t, map[string]string{"a": "123", "b": "456", "c/d": ""})
	for _, l := range []Limits{{Entries: 3}, {Bytes: 5}} {
		if _, err := tryPack(t, dir, func(o *PackOptions) { o.Limits = l }); !errors.Is(err, ErrTooLarge) {
			t.Errorf("with %+v: %v, want ErrTooLarge", l, err)
		}
	}
	if _, err := tryPack(t, dir, func(o *PackOptions) { o.Limits = Limits{Depth: 1} }); !errors.Is(err, ErrInvalid) {
		t.Errorf("too deep: %v, want ErrInvalid", err)
	}
}

// TestPackChange changes the end and then the start of a file while it is
// read. Old start and new end never were in it together.
func TestPackChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "big")
	content := make([]byte, 32<<20)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	before := digestOf(string(content))
	done := make(chan error)
	go func() {
		time.Sleep(5 * time.Millisecond)
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt([]byte("x"), int64(len(content)-1))
			_, startErr := f.WriteAt([]byte("x"), 0)
			err = errors.Join(err, startErr, f.Close())
		}
		done <- err
	}()
	got := pack(t, dir).Manifest.Entries[0].Sum
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	content[0], content[len(content)-1] = 'x', 'x'
	if after := digestOf(string(content)); got != before && got != after {
		t.Errorf("sum %v is neither of the file before nor after", got)
	}
}

// TestPackRestlessFile touches a file all the time. It is so big that no read
// of it fits between two touches.
func TestPackRestlessFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "big")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 128<<20)); err != nil {
		t.Fatal(err)
	}
	meanwhile(t, func(n int64) { os.Chtimes(file, time.Time{}, time.Unix(n, 0)) })
	_, err := tryPack(t, dir)
	var changed *ChangedError
	if !errors.As(err, &changed) || changed.Path != "big" {
		t.Errorf("error %v; want a ChangedError for big", err)
	}
}

// TestPackOtherNames gives a file other names all the time, as who copies a
// folder by links does: its state changes, and nothing that is packed.
func TestPackOtherNames(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	file := filepath.Join(dir, "big")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 32<<20)); err != nil {
		t.Fatal(err)
	}
	meanwhile(t, func(int64) { os.Link(file, other); os.Remove(other) })
	p, err := tryPack(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := digestOf(string(make([]byte, 32<<20))); p.Manifest.Entries[0].Sum != want {
		t.Errorf("sum %v, want %v", p.Manifest.Entries[0].Sum, want)
	}
}

// meanwhile does something over and over, at least once before it returns and
// until the test ends. It counts from 1.
func meanwhile(t *testing.T, do func(n int64)) {
	do(1)
	stop := make(chan struct{})
	var doer sync.WaitGroup
	doer.Go(func() {
		for n := int64(2); ; n++ {
			select {
			case <-stop:
				return
			default:
				do(n)
			}
		}
	})
	t.Cleanup(func() { close(stop); doer.Wait() })
}
