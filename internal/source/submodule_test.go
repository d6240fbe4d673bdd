package source

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// modules writes a .gitmodules: path and URL in turn.
func modules(pathsAndURLs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pathsAndURLs); i += 2 {
		fmt.Fprintf(&b, "[submodule %q]\n\tpath = %s\n\turl = %s\n", pathsAndURLs[i], pathsAndURLs[i], pathsAndURLs[i+1])
	}
	return b.String()
}

func TestSubmodules(t *testing.T) {
	s := newGitServer(t)
	deep := s.repo(t, "libs/deep.git")
	deepCommit := deep.commit("main", map[string]string{"d": "deep"})
	deep.commit("main", map[string]string{"d": "newer"})
	lib := s.repo(t, "libs/lib.git")
	libCommit := lib.commit("main", map[string]string{"l": "lib", ".gitmodules": modules("x/deep", "./../deep.git"), "x/deep": commitOf + deepCommit})
	app := s.repo(t, "app.git")
	app.commit("main", map[string]string{
		"a": "app",
		".gitmodules": modules("vendor/lib", "../libs/lib.git", "again", lib.url, "gone", "https://127.0.0.1:1/x.git") +
			"[submodule \"gone\"]\nupdate = none\n",
		"vendor/lib": commitOf + libCommit,
		"again":      commitOf + libCommit,
		"gone":       commitOf + libCommit,
		"stray":      commitOf + libCommit,
	})
	got := mustFetch(t, &Fetcher{}, app.url)
	for name, content := range map[string]string{
		"a": "app", "vendor/lib/l": "lib", "vendor/lib/x/deep/d": "deep", "again/x/deep/d": "deep",
	} {
		got.wantFile(t, name, content)
	}
	if !strings.Contains(got.out, `WARNING: submodule "stray" is not in .gitmodules`) {
		t.Errorf("nothing is said of the stray submodule:\n%s", got.out)
	}
	for _, dir := range []string{"", "vendor/lib", "vendor/lib/x/deep"} {
		if dirty := runGit(t, "", "-C", filepath.Join(got.Dir, dir), "status", "--porcelain"); dirty != "" {
			t.Errorf("%q is not clean:\n%s", dir, dirty)
		}
	}
}

// TestSubmoduleRefused drives every address that must never be followed
// through .gitmodules, beside a file of this host that it could reach.
func TestSubmoduleRefused(t *testing.T) {
	s := newGitServer(t)
	secret := newTestRepo(t, filepath.Join(t.TempDir(), "secret.git"))
	commit := secret.commit("main", map[string]string{"secret": "s3cr3t"})
	touched := filepath.Join(t.TempDir(), "touched")
	for address, words := range map[string][]string{
		secret.dir:                                     {"path on this machine"},
		"file://" + secret.dir:                         {"on this machine"},
		"FILE://" + secret.dir:                         {"on this machine"},
		"ext::sh -c touch% " + touched:                 {"helper program"},
		"ext::sh -c 'touch " + touched + "'":           {"helper program"},
		"fd::3/x":                                      {"helper program"},
		"-uexec":                                       {"dash"},
		"--upload-pack=touch " + touched + ";x":        {"dash"},
		"ssh://-oProxyCommand=touch " + touched + "/x": {"host"},
		"git@-oProxyCommand=x:y":                       {"not a repository"},
		"ftp://127.0.0.1/x":                            {`scheme "ftp"`},
		"../../../../../../" + secret.dir:              {"leads out"},
		"./../../secret.git":                           {"leads out"},
		"git@127.0.0.1:secret.git":                     {"needs a key"},
		"ssh://127.0.0.1/secret.git":                   {"needs a key"},
		"http://169.254.169.254/latest":                {"169.254.169.254", "metadata"},
		"http://127.0.0.1/x.git#main":                  {"no #"},
	} {
		t.Run(address, func(t *testing.T) {
			r := s.repo(t, "app.git")
			defer os.RemoveAll(r.dir)
			r.commit("main", map[string]string{".gitmodules": modules("sub/x", "\""+address+"\""), "sub/x": commitOf + commit})
			got := fetchInto(t, &Fetcher{}, r.url, "s3cr3t")
			got.wantError(t, append(words, `submodule "sub/x"`)...)
		})
	}
	if _, err := os.Lstat(touched); err == nil {
		t.Error("a command of the repository was run")
	}
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	mustFetch(t, &Fetcher{}, r.url).wantFile(t, "a", "1")
}

func newTestRepo(t *testing.T, dir string) *testRepo {
	t.Helper()
	runGit(t, "", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	return &testRepo{t: t, dir: dir}
}

// TestSubmodulePaths has submodules where they could be written somewhere else.
func TestSubmodulePaths(t *testing.T) {
	s := newGitServer(t)
	lib := s.repo(t, "lib.git")
	commit := lib.commit("main", map[string]string{"config": "evil", "hooks/post-checkout": script + "/bin/sh\ntouch /tmp/evil\n"})
	outside := t.TempDir()
	for name, files := range map[string]map[string]string{
		".git/modules": {".gitmodules": modules(".git/modules", lib.url)},
		"../x":         {".gitmodules": modules("../x", lib.url)},
		"/x":           {".gitmodules": modules("/x", lib.url)},
		"link/x":       {".gitmodules": modules("link/x", lib.url), "link": symlinkTo + outside},
		".GIT/x":       {".gitmodules": modules(".GIT/x", lib.url)},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.repo(t, "app.git")
			defer os.RemoveAll(r.dir)
			// fast-import holds names to git's rules; a hostile server does not.
			r.commit("main", files)
			tree := hostileTree(t, r, name, "160000", commit)
			r.git("update-ref", "refs/heads/main", r.git("commit-tree", "-m", "x", tree))
			got := fetchInto(t, &Fetcher{}, r.url)
			// The last is a folder beside a link of the same name: git lets one
			// of them win.
			if got.err == nil && name != "link/x" {
				t.Errorf("accepted:\n%s", got.out)
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
			if text, _ := os.ReadFile(filepath.Join(got.dir, ".git", "config")); strings.Contains(string(text), "evil") {
				t.Error(".git/config is the submodule's")
			}
		})
	}
}

// hostileTree writes the tree of main with one more entry, whose name no git
// would write.
func hostileTree(t *testing.T, r *testRepo, name, mode, hash string) string {
	t.Helper()
	parts := strings.Split(name, "/")
	kind := map[string]string{"160000": "commit", "40000": "tree", "100644": "blob", "120000": "blob"}[mode]
	for i := len(parts) - 1; i > 0; i-- {
		hash = runGit(t, fmt.Sprintf("%s %s %s\t%s\n", mode, kind, hash, parts[i]), "--git-dir="+r.dir, "mktree", "--missing")
		mode, kind = "40000", "tree"
	}
	top := r.git("ls-tree", "main") + fmt.Sprintf("\n%s %s %s\t%s\n", mode, kind, hash, parts[0])
	return runGit(t, top, "--git-dir="+r.dir, "mktree", "--missing")
}

// TestSubmoduleCredential makes sure that a commit cannot send a credential to
// where its author likes, nor ask for one that was given for elsewhere.
func TestSubmoduleCredential(t *testing.T) {
	const secret = "c4n4ry"
	s, other := newGitServer(t), newGitServer(t)
	s.private("alice", secret)
	other.private("bob", secret)
	foreign := other.repo(t, "lib.git")
	foreignCommit := foreign.commit("main", map[string]string{"l": "foreign"})
	own := s.repo(t, "lib.git")
	ownCommit := own.commit("main", map[string]string{"l": "own"})
	f := &Fetcher{Credential: func(_ context.Context, scheme, host string) (string, string, bool) {
		return map[string]string{s.URL: "alice", other.URL: "bob"}[scheme+"://"+host], secret, true
	}}
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{".gitmodules": modules("l", own.url), "l": commitOf + ownCommit})
	mustFetch(t, f, r.url, secret).wantFile(t, "l/l", "own")

	r.commit("main", map[string]string{".gitmodules": modules("l", foreign.url), "l": commitOf + foreignCommit})
	fetchInto(t, f, r.url, secret).wantError(t, `submodule "l"`, "401")
	withUser := strings.Replace(foreign.url, "://", "://bob:"+secret+"@", 1)
	r.commit("main", map[string]string{".gitmodules": modules("l", withUser), "l": commitOf + foreignCommit})
	got := fetchInto(t, &Fetcher{Credential: f.Credential}, r.url)
	got.wantError(t, "401")
	if strings.Contains(got.out, secret) {
		t.Errorf("the credential in .gitmodules is shown:\n%s", got.out)
	}
	for _, asked := range other.asked() {
		if asked.authorization != "" {
			t.Errorf("the other host saw %s at %s", asked.authorization, asked.path)
		}
	}
}

func TestSubmoduleLimits(t *testing.T) {
	s := newGitServer(t)
	lib := s.repo(t, "lib.git")
	commit := lib.commit("main", map[string]string{"l": "1"})
	files, list := map[string]string{}, []string{}
	for i := range 5 {
		name := fmt.Sprint("s", i)
		files[name] = commitOf + commit
		list = append(list, name, "../lib.git")
	}
	files[".gitmodules"] = modules(list...)
	r := s.repo(t, "app.git")
	r.commit("main", files)
	mustFetch(t, &Fetcher{Limits: Limits{Submodules: 5}}, r.url)
	fetchInto(t, &Fetcher{Limits: Limits{Submodules: 4}}, r.url).wantError(t, "more than 4 submodules")
	fetchInto(t, &Fetcher{Limits: Limits{Entries: 10}}, r.url).wantError(t, "more than 10 files")
}

func TestResolveURL(t *testing.T) {
	for _, c := range []struct{ parent, relative, want string }{
		{"https://h/a/b.git", "../c.git", "https://h/a/c.git"},
		{"https://h/a/b.git/", "../c.git", "https://h/a/c.git"},
		{"https://h/a/b", "./c", "https://h/a/b/c"},
		{"https://h/a/b", "../../c", "https://h/c"},
		{"https://h/a/b", "../../../c", ""},
		{"https://h", "../c", ""},
		{"https://h:1/a", "../c", "https://h:1/c"},
		{"git@h:a/b.git", "../c.git", "git@h:a/c.git"},
		{"git@h:b.git", "../c.git", "git@h:c.git"},
		{"git@h:b.git", "../../c.git", ""},
		{"ssh://git@h/a/b", ".././../c", "ssh://git@h/c"},
	} {
		if got, err := resolveURL(c.parent, c.relative); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s from %s = %q, %v; want %q", c.relative, c.parent, got, err, c.want)
		}
	}
}

// TestHostileRepositories fetches what would fool a careless fetcher, and
// something harmless from the same server after each.
func TestHostileRepositories(t *testing.T) {
	s := newGitServer(t)
	plain := s.repo(t, "plain.git")
	plain.commit("main", map[string]string{"a": "1"})
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s3cr3t"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &Fetcher{}
	hostile := func(name string, test func(t *testing.T, r *testRepo)) {
		t.Run(name, func(t *testing.T) {
			test(t, s.repo(t, strings.ReplaceAll(name, " ", "-")+".git"))
			mustFetch(t, f, plain.url).wantFile(t, "a", "1")
		})
	}
	hostile("symlinks", func(t *testing.T, r *testRepo) {
		r.commit("main", map[string]string{
			"Dockerfile": symlinkTo + outside + "/secret", "out": symlinkTo + outside,
			"up": symlinkTo + "../..", "chain": symlinkTo + "out/../x", "in": symlinkTo + "sub", "sub/a": "1",
		})
		got := mustFetch(t, f, r.url, "s3cr3t")
		if target, err := os.Readlink(filepath.Join(got.Dir, "Dockerfile")); err != nil || target != outside+"/secret" {
			t.Errorf("Dockerfile is not the link it was: %q, %v", target, err)
		}
		for _, dir := range []string{"out", "up", "chain"} {
			fetchInto(t, f, r.url+"#main:"+dir, "s3cr3t", outside).wantError(t, "folder", dir)
		}
		got = mustFetch(t, f, r.url+"#main:in")
		if filepath.Base(got.Dir) != "sub" {
			t.Errorf("the folder in is %s; want it resolved to sub", got.Dir)
		}
	})
	hostile("branch names", func(t *testing.T, r *testRepo) {
		touched := filepath.Join(outside, "touched")
		for _, branch := range []string{
			"--upload-pack=touch${IFS}" + strings.ReplaceAll(touched, "/", "@"), "-x", "$(touch,x)", "`id`", "a;b", "{{.Run.ID}}", "a'b", "a\"b", "ü",
		} {
			commit := r.commit(branch, map[string]string{"a": branch})
			got := mustFetch(t, f, r.url+"#refs/heads/"+branch)
			got.wantFile(t, "a", branch)
			if got.Commit != commit || got.Branch != branch {
				t.Errorf("%s of %q; want %s of %q", got.Commit, got.Branch, commit, branch)
			}
		}
		r.git("symbolic-ref", "HEAD", "refs/heads/-x")
		mustFetch(t, f, r.url).wantFile(t, "a", "-x")
	})
	hostile("git tricks", func(t *testing.T, r *testRepo) {
		evil := script + "/bin/sh\ntouch " + outside + "/touched\n"
		r.commit("main", map[string]string{
			"hooks/post-checkout": evil, ".gitattributes": "* filter=evil diff=evil merge=evil export-subst ident\n",
			".gitconfig": "[filter \"evil\"]\nsmudge = touch " + outside + "/touched\n", ".lfsconfig": "[lfs]\nurl=file:///\n",
			"a": "$Id$",
		})
		mustFetch(t, f, r.url)
		for _, name := range []string{".git/config", ".GIT/config", ".git", ".Git/hooks/post-checkout", "git~1/config", "..", "."} {
			blob := runGit(t, evil, "--git-dir="+r.dir, "hash-object", "-w", "--stdin")
			tree := hostileTree(t, r, name, "100644", blob)
			r.git("update-ref", "refs/heads/evil", r.git("commit-tree", "-m", "x", tree))
			fetchInto(t, f, r.url+"#evil").wantError(t, "git reset: ")
		}
	})
	hostile("HEAD", func(t *testing.T, r *testRepo) {
		fetchInto(t, f, r.url).wantError(t, "no commit on its default branch")
		r.commit("main", map[string]string{"a": "1"})
		// A name that git itself would not write.
		if err := os.WriteFile(filepath.Join(r.dir, "HEAD"), []byte("ref: refs/heads/../../x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		fetchInto(t, f, r.url).wantError(t, "no commit on its default branch")
	})
	hostile("bomb", func(t *testing.T, r *testRepo) {
		r.commit("main", map[string]string{"a": "1"})
		hash := runGit(t, "x", "--git-dir="+r.dir, "hash-object", "-w", "--stdin")
		mode, kind := "100644", "blob"
		for range 10 { // ten to the tenth files in ten trees
			var tree strings.Builder
			for i := range 10 {
				fmt.Fprintf(&tree, "%s %s %s\tf%d\n", mode, kind, hash, i)
			}
			hash, mode, kind = runGit(t, tree.String(), "--git-dir="+r.dir, "mktree"), "40000", "tree"
		}
		r.git("update-ref", "refs/heads/bomb", r.git("commit-tree", "-m", "x", hash))
		fetchInto(t, f, r.url+"#bomb").wantError(t, "more than 100000 files")
		r.commit("large", map[string]string{"zeros": strings.Repeat("\x00", 3<<20)})
		fetchInto(t, &Fetcher{Limits: Limits{Bytes: 2 << 20}}, r.url+"#large").wantError(t, "files of more than 2.0 MiB")
	})
	hostile("garbage", func(t *testing.T, r *testRepo) {
		s.wrap = func(w http.ResponseWriter, r *http.Request, git http.Handler) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			w.Write([]byte("001e# service=git-upload-pack\n0000" + noise(4<<10)))
		}
		got := fetchInto(t, &Fetcher{}, r.url)
		got.wantError(t, "git ls-remote: ")
		if strings.ContainsFunc(got.err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("the error has control characters: %q", got.err)
		}
		s.wrap = nil
	})
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("written outside: %v", left)
	}
}
