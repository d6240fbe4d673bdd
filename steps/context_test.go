package steps

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func git(remote, ref, dir string) Context {
	return Context{Kind: ContextGit, URL: remote, Ref: ref, Dir: dir}
}

func TestParseContext(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	for s, want := range map[string]Context{
		".":              {Kind: ContextLocal, Path: "."},
		"baseimages/foo": {Kind: ContextLocal, Path: "baseimages/foo"},
		"/srv/app":       {Kind: ContextLocal, Path: "/srv/app"},
		"./repo.git":     {Kind: ContextLocal, Path: "./repo.git"},
		"a b/ünï":        {Kind: ContextLocal, Path: "a b/ünï"},
		"./-x":           {Kind: ContextLocal, Path: "./-x"},
		"/dev/null":      {Kind: ContextNone},

		"https://github.com/Azure/acr-builder.git":            git("https://github.com/Azure/acr-builder.git", "", ""),
		"https://github.com/Azure/acr-builder.git#":           git("https://github.com/Azure/acr-builder.git", "", ""),
		"https://github.com/Azure/acr-builder.git#master":     git("https://github.com/Azure/acr-builder.git", "master", ""),
		"https://github.com/Azure/acr-builder.git#master:src": git("https://github.com/Azure/acr-builder.git", "master", "src"),
		"https://github.com/Azure/acr-builder.git#:src":       git("https://github.com/Azure/acr-builder.git", "", "src"),
		"http://127.0.0.1:3000/a/b.git#v1:a/b/":               git("http://127.0.0.1:3000/a/b.git", "v1", "a/b"),
		"http://[::1]:3000/a/b.git":                           git("http://[::1]:3000/a/b.git", "", ""),
		"HTTPS://GitHub.com/a/B.git":                          git("https://github.com/a/B.git", "", ""),
		"https://h/x.git#a%2Fb:c%20d":                         git("https://h/x.git", "a/b", "c d"),
		"https://h/x.git#a:b:c":                               git("https://h/x.git", "a", "b:c"),
		"https://h/x.git#a:./b//c/../d/.":                     git("https://h/x.git", "a", "b/d"),
		"https://h/x.git#:.":                                  git("https://h/x.git", "", ""),
		"https://h/x.git#" + sha:                              git("https://h/x.git", sha, ""),
		"https://h/x.git#pull/7/head":                         git("https://h/x.git", "pull/7/head", ""),
		"https://h/x.git#pull/7/merge:d":                      git("https://h/x.git", "pull/7/merge", "d"),
		"https://h/x.git#refs/pull/7/head":                    git("https://h/x.git", "refs/pull/7/head", ""),
		"https://h/x.git#refs/heads/-x":                       git("https://h/x.git", "refs/heads/-x", ""),
		"https://h/x.git#feature/$(id)`{{.}}\";":              git("https://h/x.git", "feature/$(id)`{{.}}\";", ""),
		"git://github.com/user/repo#mybranch:mydir/mysubdir/": git("git://github.com/user/repo", "mybranch", "mydir/mysubdir"),
		"git@github.com:user/repo":                            git("git@github.com:user/repo", "", ""),
		"git@github.com:user/repo.git#mybranch:mydir":         git("git@github.com:user/repo.git", "mybranch", "mydir"),
		"git@ssh.dev.azure.com:v3/org/project/repo":           git("git@ssh.dev.azure.com:v3/org/project/repo", "", ""),
		"ssh://git@host:2222/a/b#main":                        git("ssh://git@host:2222/a/b", "main", ""),
		"ssh://host/a/b":                                      git("ssh://host/a/b", "", ""),
		"github.com/docker/docker":                            git("https://github.com/docker/docker", "", ""),
		"github.com/docker/docker.git#v1:d":                   git("https://github.com/docker/docker.git", "v1", "d"),

		"https://dev.azure.com/foo/dockerfiles/_git/dockerfiles":         git("https://dev.azure.com/foo/dockerfiles/_git/dockerfiles", "", ""),
		"https://foo@dev.azure.com/foo/dockerfiles/_git/dockerfiles#m:d": git("https://dev.azure.com/foo/dockerfiles/_git/dockerfiles", "m", "d"),
		"https://azure@azure.visualstudio.com/ACR/_git/Build/":           git("https://azure.visualstudio.com/ACR/_git/Build/", "", ""),
		"https://azure.visualstudio.com/ACR/_GIT/Build":                  git("https://azure.visualstudio.com/ACR/_GIT/Build", "", ""),
		"https://dev.azure.com/a/b/_git/c?version=GBmain":                {Kind: ContextTarball, URL: "https://dev.azure.com/a/b/_git/c?version=GBmain"},
		"http://dev.azure.com/a/b/_git/c":                                {Kind: ContextTarball, URL: "http://dev.azure.com/a/b/_git/c"},
		"https://h/x.git?ref=main&subdir=/a/b":                           git("https://h/x.git", "main", "a/b"),
		"https://h/x.git?branch=main":                                    git("https://h/x.git", "refs/heads/main", ""),
		"https://h/x.git?tag=v1":                                         git("https://h/x.git", "refs/tags/v1", ""),
		"https://h/x.git?ref=main&checksum=" + sha:                       git("https://h/x.git", sha, ""),
		"https://h/x.git?format=tar":                                     {Kind: ContextTarball, URL: "https://h/x.git?format=tar"},
		"https://h/x.git/":                                               {Kind: ContextTarball, URL: "https://h/x.git/"},
		"https://github.com/Azure/acr-builder":                           {Kind: ContextTarball, URL: "https://github.com/Azure/acr-builder"},
		"https://example.com/a%20b.tar.gz?sv=1&sig=abc":                  {Kind: ContextTarball, URL: "https://example.com/a%20b.tar.gz?sv=1&sig=abc"},
		"https://dev.azure.com.example.com/a/_git/b":                     {Kind: ContextTarball, URL: "https://dev.azure.com.example.com/a/_git/b"},
		"oci://registry.example.com/repo:tag":                            {Kind: ContextOCI, Image: "registry.example.com/repo:tag"},
		"OCI://localhost:5000/r@sha256:" + strings.Repeat("ab", 32):      {Kind: ContextOCI, Image: "localhost:5000/r@sha256:" + strings.Repeat("ab", 32)},
	} {
		t.Run(s, func(t *testing.T) {
			got, err := ParseContext(s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ParseContext(%q) (-want +got):\n%s", s, diff)
			}
		})
	}
}

// TestParseContextRefuses holds each refusal to a word of what is wrong and to
// a word of what to write instead.
func TestParseContextRefuses(t *testing.T) {
	for s, want := range map[string][2]string{
		"":                                     {"empty", "write a folder"},
		"-rf":                                  {"dash", "write ./"},
		"--upload-pack=touch /tmp/x":           {"dash", "write ./"},
		"a\nb":                                 {"control", "without line breaks"},
		"https://h/x.git#a\x00b":               {"control", "without"},
		"https://h/x.git#a%0ab":                {"ref", "write a branch"},
		"https://h/x%0a.git":                   {"control", "plain path"},
		"https://h/x.git#m:a%0ab":              {"control", "plain path"},
		"a\xffb":                               {"UTF-8", "write"},
		strings.Repeat("a", 5000):              {"longer", "shorter"},
		`https://h\@evil/x.git`:                {"backslash", "write /"},
		`https://h/x.git#m:a\b`:                {"backslash", "plain path"},
		"https://h/x%5cy.git":                  {"backslash", "plain path"},
		"https:///x.git":                       {"host", "scheme://host/path"},
		"https://-oProxyCommand=x/y.git":       {"host", "scheme://host/path"},
		"https://[fe80::1%25eth0]/x.git":       {"host", "scheme://host/path"},
		"https://h/":                           {"", ""}, // a tarball: the positive control of this table
		"https://exämple.com/x.git":            {"host", "xn--"},
		"https://h:port/x.git":                 {"not a URL", "scheme://host/path"},
		"https://h/x.git#%zz":                  {"bad %", "%25"},
		"https://h.git":                        {"", ""},
		"ssh://h/":                             {"no repository", "host/path"},
		"ext::sh -c touch% /tmp/x":             {"helper program", "https://"},
		"fd::17/foo":                           {"helper program", "https://"},
		"file:///srv/repo.git":                 {"on this machine", "the folder itself"},
		"FILE:///srv/repo.git#main":            {"on this machine", "the folder itself"},
		"/srv/repo.git#main":                   {"on this machine", "the folder itself"},
		"./repo.git#main:dir":                  {"on this machine", "the folder itself"},
		"ftp://h/x.tar.gz":                     {`scheme "ftp"`, "https://"},
		"git+ssh://h/x.git":                    {`scheme "git+ssh"`, "ssh://"},
		"javascript://x":                       {`scheme "javascript"`, "https://"},
		"git@host":                             {"no path", "git@host:path"},
		"git@host:":                            {"not a repository", "git@host:path"},
		"git@-oProxyCommand=x:y":               {"not a repository", "git@host:path"},
		"git@host:-x":                          {"not a repository", "git@host:path"},
		`git@host:a\b`:                         {"not a repository", "git@host:path"},
		"git@host:x#-f":                        {"option", "refs/heads/-f"},
		"ssh://-oProxyCommand=x/y":             {"host", "scheme://host/path"},
		"ssh://-l@h/y":                         {"password", "key"},
		"ssh://u:pw@h/y":                       {"password", "key"},
		"git://u:pw@h/y":                       {"credential", "https://"},
		"https://h/x.git#--upload-pack=x":      {"option", "refs/heads/"},
		"https://h/x.git#a..b":                 {"ref", "write a branch"},
		"https://h/x.git#a b":                  {"ref", "write a branch"},
		"https://h/x.git#a~1":                  {"ref", "write a branch"},
		"https://h/x.git#a^{tree}":             {"ref", "write a branch"},
		"https://h/x.git#a@{1}":                {"ref", "write a branch"},
		"https://h/x.git#@":                    {"ref", "write a branch"},
		"https://h/x.git#a.lock":               {"ref", "write a branch"},
		"https://h/x.git#a.lock/b":             {"ref", "write a branch"},
		"https://h/x.git#.a":                   {"ref", "write a branch"},
		"https://h/x.git#a/.b":                 {"ref", "write a branch"},
		"https://h/x.git#a.":                   {"ref", "write a branch"},
		"https://h/x.git#/a":                   {"ref", "write a branch"},
		"https://h/x.git#a//b":                 {"ref", "write a branch"},
		"https://h/x.git#a/":                   {"ref", "write a branch"},
		"https://h/x.git#a*":                   {"ref", "write a branch"},
		"https://h/x.git#a[b":                  {"ref", "write a branch"},
		`https://h/x.git#a\b`:                  {"ref", "write a branch"},
		"https://h/x.git#+refs/heads/*":        {"ref", "write a branch"},
		"https://h/x.git#m:/etc":               {"absolute", "relative"},
		"https://h/x.git#m:./-rf":              {"dash", "#ref:folder"},
		"https://h/x.git#m:..":                 {"outside", "inside"},
		"https://h/x.git#m:a/../../b":          {"outside", "inside"},
		"https://h/x.git?ref=a#b":              {"both", "#ref:folder alone"},
		"https://h/x.git?submodules=false":     {`"submodules"`, "#ref:folder"},
		"https://h/x.git?ref=a&ref=b":          {`"ref"`, "#ref:folder"},
		"https://h/x.git?checksum=main":        {"hexadecimal", "full hash"},
		"https://h/x.git?ref=--upload-pack=x":  {"option", "refs/heads/"},
		"https://h/x.git?ref=a&subdir=../../b": {"outside", "inside"},
		"https://h/x.tar.gz#main":              {"#", ".git"},
		"oci://":                               {"not an artifact", "oci://registry"},
		"oci:///x":                             {"not an artifact", "oci://registry"},
		"oci://-x/y":                           {"not an artifact", "oci://registry"},
		"oci://u:p@h/y:1":                      {"credential", "registry's credentials"},
	} {
		t.Run(s, func(t *testing.T) {
			_, err := ParseContext(s)
			if want[0] == "" {
				if err != nil {
					t.Errorf("ParseContext(%q): %v; want it accepted", s, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("ParseContext(%q) is accepted; want an error", s)
			}
			for _, word := range want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("ParseContext(%q): %v; want %q in it", s, err, word)
				}
			}
		})
	}
}

func TestParseGit(t *testing.T) {
	for s, want := range map[string]Context{
		"https://github.com/a/b":        git("https://github.com/a/b", "", ""),
		"https://github.com/a/b.git/#m": git("https://github.com/a/b.git/", "m", ""),
		"gitea@host:a/b":                git("gitea@host:a/b", "", ""),
		"host:a/b":                      git("host:a/b", "", ""),
		"ssh://h/a":                     git("ssh://h/a", "", ""),
	} {
		if got, err := ParseGit(s); err != nil || got != want {
			t.Errorf("ParseGit(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ".", "/srv/x", "../x", "./a:b", "oci://h/x:1", "file:///x", "ext::sh", "-x", "C:\\x", "/dev/null", "https://h/x?token=a"} {
		if got, err := ParseGit(s); err == nil {
			t.Errorf("ParseGit(%q) = %+v; want an error", s, got)
		}
	}
}

func TestContextCredential(t *testing.T) {
	for s, want := range map[string]string{
		"https://h/x.git":                           "",
		"https://@h/x.git":                          "",
		"https://:@h/x.git":                         "",
		"https://PAT@h/x.git":                       "dummy PAT",
		"https://alice:s3cret@h/x.git":              "alice s3cret",
		"https://PAT:@h/x.git":                      "PAT ",
		"https://PAT:x-oauth-basic@h/x.git":         "PAT x-oauth-basic",
		"https://a%40b:p%2Fw@h/x.git":               "a@b p/w",
		"https://PAT@azure.visualstudio.com/_git/B": "dummy PAT",
		"https://foo:bar@dev.azure.com/foo/_git/B":  "foo bar",
		"https://foo@dev.azure.com/foo/_git/B":      "",
		"https://me@h/x.tgz":                        "me ",
		"git@h:x":                                   "",
	} {
		c, err := ParseContext(s)
		if err != nil {
			t.Errorf("ParseContext(%q): %v", s, err)
			continue
		}
		got := ""
		if user, password, ok := c.Credential(); ok {
			got = user + " " + password
		}
		if got != want {
			t.Errorf("credential of %q = %q; want %q", s, got, want)
		}
	}
}

// TestContextHidesCredential drives a canary through every way in which a
// context, or the error about one, comes to be printed.
func TestContextHidesCredential(t *testing.T) {
	const canary = "c4n4ry"
	for _, s := range []string{
		"https://c4n4ry@h/x.git#main:dir",
		"https://u:c4n4ry@h/x.git",
		"https://u:c4n4ry@h/x.tar.gz?sig=c4n4ry&se=1",
		"https://h/x.tar.gz?c4n4ry",
		"https://u:c4n4ry@h/x.git#a..b",
		"https://u:c4n4ry@h/x.tar.gz#a",
		"https://u:c4n4ry@h\\x.git",
		"https://u:c4n4ry@h:port/x.git",
		"https://u:c4n4ry/c4n4ry@h/x.git",
		"https://u:c4n4ry#c4n4ry@h/x.git",
		"https://u:c4n4ry?c4n4ry@h/x.git",
		"https://u:c4n4ry%0a@h/x.git",
		"https://u:c4n4ry%zz@h/x.git",
		"https://u:c4n4ry@@h/x.git#-a",
		"https://h/x.tar.gz?sig=c4n4ry#a",
		"ssh://u:c4n4ry@h/x",
		"git://u:c4n4ry@h/x",
		"ftp://u:c4n4ry@h/x",
		"oci://u:c4n4ry@h/x:1",
		"u:c4n4ry@h/x.git#main",
		"https://u:c4n4ry@h/\nx.git",
	} {
		c, err := ParseContext(s)
		shown := fmt.Sprintf("%v %+v %s %q %v", c, c, c, c, err)
		if strings.Contains(shown, canary) {
			t.Errorf("ParseContext(%q) shows the credential: %s", s, shown)
		}
		if err != nil && errors.As(err, new(*url.Error)) {
			t.Errorf("ParseContext(%q): %v wraps an error that quotes its input", s, err)
		}
	}
	c, err := ParseContext("https://u:c4n4ry@h/x.git#main:dir")
	if got, want := c.String(), "https://xxxxx@h/x.git#main:dir"; err != nil || got != want {
		t.Errorf("String() = %q, %v; want %q", got, err, want)
	}
}

// FuzzParseContext holds whatever is accepted to what fetchers rely on.
func FuzzParseContext(f *testing.F) {
	for _, s := range []string{
		".", "/dev/null", "oci://r/x:1", "https://PAT@h/x.git#main:dir", "git@h:p#a:b", "ssh://g@h:22/p",
		"github.com/a/b#c", "https://h/x.git?ref=a&subdir=b", "https://h/a.tgz?sig=x", "ext::sh", "https://h/x.git#%25:%25", "git@h:p?q",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseContext(s)
		if err != nil {
			return
		}
		for _, part := range []string{c.URL, c.Ref, c.Dir, c.Image, c.Path} {
			if strings.HasPrefix(part, "-") || strings.ContainsFunc(part, unicode.IsControl) {
				t.Errorf("%q: %q is an option or has a control character", s, part)
			}
		}
		if c.Dir != "" && !filepath.IsLocal(c.Dir) {
			t.Errorf("%q: the folder %q is not local", s, c.Dir)
		}
		switch c.Kind {
		case ContextGit:
			scheme, _ := splitScheme(c.URL)
			if scheme == "" && parsesAsURL(c.URL) || strings.Contains(c.URL, "#") {
				t.Errorf("%q: odd URL %q", s, c.URL)
			}
			if c.User != nil || len(c.String()) > maxContext {
				return
			}
			if again, err := ParseGit(c.String()); err != nil || again != c {
				t.Errorf("%q: %q parses as %+v, %v; want %+v", s, c, again, err, c)
			}
		case ContextTarball:
			u, err := url.Parse(c.URL)
			if err != nil || u.User != nil || u.Fragment != "" || u.Hostname() == "" {
				t.Errorf("%q: tarball at %q, %v", s, c.URL, err)
			}
		}
	})
}

func parsesAsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != ""
}
