package contexts

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestIgnore is docker's meaning of .dockerignore. Want lists what is left of
// the files, without .dockerignore, which always travels, and without folders.
func TestIgnore(t *testing.T) {
	tests := []struct {
		name, ignore string
		files, want  string
	}{
		{"nothing", "", "a b/c", "a b/c"},
		{"folder with a slash", "node_modules/", "node_modules/x src/node_modules/y", "src/node_modules/y"},
		{"folder without", "build", "build/x src/build/y buildx", "buildx src/build/y"},
		{"leading slash", "/build", "build/x src/build/y", "src/build/y"},
		{"any depth", "**/*.log", "a.log x/b.log x/y/c.log x/y/c.txt", "x/y/c.txt"},
		{"any depth folder", "**/node_modules", "node_modules/x a/node_modules/y a/z", "a/z"},
		{"one level", "*/temp*", "temp sub/tempa sub/b sub/sub/tempb", "sub/b sub/sub/tempb temp"},
		{"question mark", "temp?", "tempa tempb temp tempab", "temp tempab"},
		{"class", "[ab].txt", "a.txt b.txt c.txt", "c.txt"},
		{"back one", "docs/*\n!docs/README.md", "docs/a docs/README.md docs/x/y", "docs/README.md"},
		{"back below an ignored folder", "docs\n!docs/keep/a", "docs/b docs/keep/a docs/keep/c", "docs/keep/a"},
		{"back by a pattern", "vendor\n!**/*.go", "vendor/a/b.go vendor/a/b.c", "vendor/a/b.go"},
		{"back a folder", "*\n!src", "a src/b src/c/d", "src/b src/c/d"},
		{"back a folder with a slash", "*\n!src/", "a src/b", "src/b"},
		{"back with a leading slash", "*\n!/src", "a src/b", "src/b"},
		{"last match wins", "*.md\n!README*.md\nREADME-secret.md", "a.md README.md README-secret.md", "README.md"},
		{"last match wins, other order", "*.md\nREADME-secret.md\n!README*.md", "a.md README.md README-secret.md", "README-secret.md README.md"},
		{"again below what came back", "*\n!src\nsrc/gen", "src/a src/gen/b", "src/a"},
		{"comment", "# a\n#b\n c", "a b c #b", "#b a b"},
		{"spaces", "  a  \n\t\n b\t", "a b c", "c"},
		{"windows lines", "a\r\nb\r\n", "a b c", "c"},
		{"byte order mark", "\xef\xbb\xbfa", "a b", "b"},
		{"unclean", "./a/../b//c/", "b/c/d b/e", "b/e"},
		{"up and out", "../a", "a", "a"},
		{"everything", "*", "a b/c", ""},
		{"everything, any depth", "**", "a b/c", ""},
		{"dot", ".", "a b/c", "a b/c"},
		{"hidden", ".*", ".env a/.env", "a/.env"},
		{"escape", `\#a`, "#a a", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{".dockerignore": tt.ignore}
			for f := range strings.FieldsSeq(tt.files) {
				files[f] = f
			}
			p := pack(t, folder(t, files))
			got := []string{}
			for _, e := range p.Manifest.Entries {
				if e.Type == File && e.Path != ".dockerignore" {
					got = append(got, e.Path)
				}
			}
			want := strings.Fields(tt.want)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q leaves of %s (-want +got):\n%s", tt.ignore, tt.files, diff)
			}
		})
	}
}

// TestIgnoredFolders: a folder travels if it is not ignored or something in it
// is not.
func TestIgnoredFolders(t *testing.T) {
	dir := folder(t, map[string]string{
		".dockerignore": "a\nb\n!b/x/keep\nd/*",
		"a/x/y":         "", "b/x/keep": "", "b/y/z": "", "c/": "", "d/e": "",
	})
	want := []string{".dockerignore", "b", "b/x", "b/x/keep", "c", "d"}
	if diff := cmp.Diff(want, paths(pack(t, dir).Manifest)); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestMayBringBack(t *testing.T) {
	tests := []struct {
		pattern, dir string
		want         bool
	}{
		{"docs/README.md", "docs", true},
		{"docs/README.md", "node_modules", false},
		{"docs/README.md", "docs/x", false},
		{"**/*.go", "node_modules/x", true},
		{"src/**", "node_modules", false},
		{"src/**/x", "src/a/b", true},
		{"*/keep", "node_modules", true},
		{"*/keep", "node_modules/x", false},
		{"node_modules", "node_modules/x", true},
		{"a**", "a/b", true},
	}
	for _, tt := range tests {
		ig, err := newIgnorer([]string{"!" + tt.pattern})
		if err != nil {
			t.Fatal(err)
		}
		if got := ig.mayBringBack(tt.dir); got != tt.want {
			t.Errorf("!%s may match below %s: %v, want %v", tt.pattern, tt.dir, got, tt.want)
		}
	}
}

func TestIgnoreFaults(t *testing.T) {
	for _, bad := range []string{"[", "a[", "x/[]a]", "!", "[z-a]", "!["} {
		dir := folder(t, map[string]string{".dockerignore": "# one\n\nok\n" + bad + "\n", "a": ""})
		_, err := tryPack(t, dir)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, ".dockerignore")+", line 4") {
			t.Errorf("pattern %q: error %v; want one that names file and line 4", bad, err)
		}
	}
}

func TestDockerfileIgnore(t *testing.T) {
	dir := folder(t, map[string]string{
		"Dockerfile": "FROM a", "prod/Dockerfile": "FROM b",
		".dockerignore": "*", "prod/Dockerfile.dockerignore": "secret",
		"secret": "", "public": "",
	})
	tests := []struct {
		dockerfile string
		want       []string
	}{
		{"", []string{".dockerignore", "Dockerfile"}},
		{"prod/Dockerfile", []string{".dockerignore", "Dockerfile", "prod", "prod/Dockerfile", "prod/Dockerfile.dockerignore", "public"}},
	}
	for _, tt := range tests {
		p := pack(t, dir, func(o *PackOptions) {
			if tt.dockerfile != "" {
				o.Dockerfile = filepath.Join(dir, tt.dockerfile)
			}
		})
		if diff := cmp.Diff(tt.want, paths(p.Manifest)); diff != "" {
			t.Errorf("with Dockerfile %q (-want +got):\n%s", tt.dockerfile, diff)
		}
	}
}
