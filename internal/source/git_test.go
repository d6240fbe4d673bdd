package source

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acrd/steps"
)

func TestGit(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"Dockerfile": "FROM scratch\n", "old": "x"})
	first := r.git("rev-parse", "main")
	second := r.commit("main", map[string]string{"Dockerfile": "FROM alpine\n", "run.sh": script + "/bin/sh\n", "sub/x": "1", "link": symlinkTo + "sub/x", "dirlink": symlinkTo + "sub"})
	dev := r.commit("feature/dev", map[string]string{"dev": "1"})
	pull := r.commitOn("refs/pull/7/head", map[string]string{"pull": "7"})
	r.git("tag", "-a", "-m", "one", "v1", first)
	r.git("tag", "light", second)
	r.git("tag", "both", first)
	r.git("branch", "both", second)

	for ref, want := range map[string]struct{ commit, branch, file string }{
		"":                         {second, "main", "run.sh"},
		"#main":                    {second, "main", "run.sh"},
		"#HEAD":                    {second, "main", "run.sh"},
		"#refs/heads/main":         {second, "main", "run.sh"},
		"#feature/dev":             {dev, "feature/dev", "dev"},
		"#v1":                      {first, "", "old"},
		"#refs/tags/v1":            {first, "", "old"},
		"#light":                   {second, "", "run.sh"},
		"#both":                    {first, "", "old"},
		"#" + first:                {first, "", "old"},
		"#" + second:               {second, "", "run.sh"},
		"#" + first[:9]:            {first, "", "old"},
		"#pull/7/head":             {pull, "", "pull"},
		"#refs/pull/7/head":        {pull, "", "pull"},
		"?branch=feature/dev":      {dev, "feature/dev", "dev"},
		"#main:sub":                {second, "main", "x"},
		"#:dirlink":                {second, "main", "x"},
		"?ref=main&subdir=/sub":    {second, "main", "x"},
		"#" + strings.ToUpper(dev): {dev, "", "dev"},
	} {
		t.Run(ref, func(t *testing.T) {
			got := mustFetch(t, &Fetcher{}, r.url+ref)
			if got.Commit != want.commit || got.Branch != want.branch {
				t.Errorf("commit %s of branch %q; want %s of %q", got.Commit, got.Branch, want.commit, want.branch)
			}
			if _, err := os.Lstat(filepath.Join(got.Dir, want.file)); err != nil {
				t.Error(err)
			}
			if both := strings.Contains(got.out, "WARNING"); both != (ref == "#both") {
				t.Errorf("said:\n%s", got.out)
			}
		})
	}
	for ref, word := range map[string]string{
		"#nope":                        "neither a branch nor a tag",
		"#deadbeef":                    "beginning of one commit",
		"#" + strings.Repeat("ab", 20): "is not in the repository",
		"#main:nope":                   `folder "nope"`,
		"#main:Dockerfile":             `folder "Dockerfile"`,
		"#refs/heads/nope":             "neither",
	} {
		t.Run(ref, func(t *testing.T) {
			fetchInto(t, &Fetcher{}, r.url+ref).wantError(t, word)
		})
	}
}

// TestGitInSteps looks at a checkout as a step of a run does.
func TestGitInSteps(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	commit := r.commit("main", map[string]string{"b": "2", "run.sh": script + "/bin/sh\n"})
	r.git("tag", "-a", "-m", "one", "v1")
	f := &Fetcher{}
	got := mustFetch(t, f, r.url+"#v1")
	git := func(args ...string) string { return runGit(t, "", append([]string{"-C", got.Dir}, args...)...) }
	for want, args := range map[string][]string{
		commit:          {"rev-parse", "HEAD"},
		"v1":            {"describe"},
		r.url:           {"remote", "get-url", "origin"},
		"true":          {"rev-parse", "--is-shallow-repository"},
		"1":             {"rev-list", "--count", "HEAD"},
		"100755 run.sh": {"ls-files", "--format=%(objectmode) %(path)", "run.sh"},
	} {
		if got := git(args...); got != want {
			t.Errorf("git %q = %q; want %q", args, got, want)
		}
	}
	if dirty := git("status", "--porcelain"); dirty != "" {
		t.Errorf("the checkout is not clean:\n%s", dirty)
	}
	git("fsck", "--strict")
	for _, path := range []string{"hooks", "objects/info/alternates", "FETCH_HEAD"} {
		if _, err := os.Lstat(filepath.Join(got.Dir, ".git", path)); err == nil {
			t.Errorf(".git/%s is there", path)
		}
	}
	for _, needle := range []string{f.Dir, "127.0.0.1:"} {
		for _, file := range filesWith(t, filepath.Join(got.Dir, ".git"), needle) {
			if text, _ := os.ReadFile(file); !strings.Contains(string(text), r.url) {
				t.Errorf("%s has %s in it", file, needle)
			}
		}
	}
	if err := os.RemoveAll(f.Dir); err != nil {
		t.Fatal(err)
	}
	git("log", "-p") // needs no mirror

	got = mustFetch(t, &Fetcher{}, r.url+"#main")
	if head := git("symbolic-ref", "HEAD"); head != "refs/heads/main" {
		t.Errorf("HEAD is %s; want refs/heads/main", head)
	}
	if out, err := exec.Command("git", "-C", got.Dir, "rev-parse", "origin/main").Output(); err != nil || strings.TrimSpace(string(out)) != commit {
		t.Errorf("origin/main is %s, %v; want %s", out, err, commit)
	}
}

// TestGitHandMade fetches contexts that no parser has seen.
func TestGitHandMade(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	touched := filepath.Join(t.TempDir(), "touched")
	f := &Fetcher{Dir: t.TempDir()}
	for _, c := range []steps.Context{
		{URL: r.url, Ref: "--upload-pack=touch " + touched},
		{URL: r.url, Ref: "main:refs/heads/x"},
		{URL: r.url, Ref: "+refs/heads/*"},
		{URL: "--upload-pack=touch " + touched},
		{URL: "ext::touch " + touched},
		{URL: r.dir},
		{URL: "file://" + r.dir},
		{URL: ""},
		{URL: strings.Replace(r.url, "://", "://u:c4n4ry@", 1)},
	} {
		c.Kind = steps.ContextGit
		_, err := f.Fetch(t.Context(), c, filepath.Join(t.TempDir(), "x"), t.Output())
		if err == nil || strings.Contains(err.Error(), "c4n4ry: ") {
			t.Errorf("%+v is fetched: %v", c, err)
		}
	}
	if _, err := os.Lstat(touched); err == nil {
		t.Error("a command was run")
	}
	for _, kind := range []steps.ContextKind{steps.ContextLocal, steps.ContextNone} {
		if _, err := f.Fetch(t.Context(), steps.Context{Kind: kind}, filepath.Join(t.TempDir(), "x"), t.Output()); err == nil {
			t.Errorf("a %v context is fetched", kind)
		}
	}
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "mine"), nil, 0o600)
	if _, err := f.Fetch(t.Context(), steps.Context{Kind: steps.ContextGit, URL: r.url}, full, t.Output()); err == nil {
		t.Error("fetched into a folder that is not empty")
	} else if _, err := os.Lstat(filepath.Join(full, "mine")); err != nil {
		t.Error("what was in the folder has gone")
	}
}

// TestGitInsideRepository has the scratch folder in a repository whose
// configuration would redirect git, and the daemon's user have one as well.
func TestGitInsideRepository(t *testing.T) {
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a": "1"})
	outer := t.TempDir()
	runGit(t, "", "init", "--quiet", outer)
	config := "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://\n[core]\n\tfsmonitor = touch " + outer + "/touched\n"
	for _, name := range []string{".git/config", ".gitconfig", "config"} {
		if err := os.WriteFile(filepath.Join(outer, name), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", outer)
	t.Setenv("XDG_CONFIG_HOME", outer)
	t.Setenv("GIT_CONFIG_GLOBAL", outer+"/config")
	t.Setenv("GIT_CONFIG_SYSTEM", outer+"/config")
	f := &Fetcher{Dir: filepath.Join(outer, "state")}
	mustFetch(t, f, r.url).wantFile(t, "a", "1")
	got := fetchInto(t, f, s.URL+"/nope.git")
	got.wantError(t, "404 Not Found")
	os.Chmod(filepath.Join(f.Dir, mirrors), 0o500)
	defer os.Chmod(filepath.Join(f.Dir, mirrors), 0o700)
	if got := fetchInto(t, f, s.URL+"/other.git"); strings.Contains(got.out, outer) {
		t.Errorf("a path of this machine is shown:\n%s", got.out)
	}
	if _, err := os.Lstat(outer + "/touched"); err == nil {
		t.Error("a command of another repository was run")
	}
}
