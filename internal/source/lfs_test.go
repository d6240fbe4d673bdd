package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const lfsAttributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"

// pointer is what git keeps of a file that git-lfs keeps.
func pointer(content string) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sha256Hex(content), len(content))
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestLFSNotInstalled(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err == nil {
		git, _ := exec.LookPath("git")
		dir := t.TempDir()
		os.Symlink(git, filepath.Join(dir, "git"))
		t.Setenv("PATH", dir)
	}
	s := newGitServer(t)
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{"a.bin": pointer("large")})
	if got := mustFetch(t, &Fetcher{}, r.url); strings.Contains(got.out, "git-lfs") {
		t.Errorf("a repository without attributes is said to use git-lfs:\n%s", got.out)
	}
	r.commit("main", map[string]string{"sub/.gitattributes": lfsAttributes})
	got := mustFetch(t, &Fetcher{}, r.url)
	if !strings.Contains(got.out, "WARNING: git-lfs is not installed\n") {
		t.Errorf("nothing is said of git-lfs:\n%s", got.out)
	}
	got.wantFile(t, "a.bin", pointer("large"))
}

// TestLFS runs the real git-lfs against a server of its protocol.
func TestLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Skip("git-lfs is not installed")
	}
	const secret = "c4n4ry"
	objects := map[string]string{}
	for _, content := range []string{"large", "other"} {
		objects[sha256Hex(content)] = content
	}
	var other *httptest.Server
	s := newGitServer(t)
	s.wrap = func(w http.ResponseWriter, r *http.Request, git http.Handler) {
		object, isObject := strings.CutPrefix(r.URL.Path, "/storage/")
		if u, p, _ := r.BasicAuth(); !isObject && (u != "dummy" || p != secret) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch {
		case r.URL.Path == "/app.git/info/lfs/objects/batch":
			serveLFSBatch(w, r, func(oid string) string {
				if oid == sha256Hex("other") && other != nil {
					return other.URL + "/storage/" + oid
				}
				return s.URL + "/storage/" + oid + "?x=y"
			})
		case isObject && r.Header.Get("Authorization") == "RemoteAuth x":
			fmt.Fprint(w, objects[object])
		default:
			git.ServeHTTP(w, r)
		}
	}
	r := s.repo(t, "app.git")
	r.commit("main", map[string]string{
		".gitattributes": lfsAttributes, "a.bin": pointer("large"), "sub/b.bin": pointer("other"), "c": "plain",
		".lfsconfig": "[lfs]\nurl = http://127.0.0.1:1/evil\n",
	})
	address := strings.Replace(r.url, "://", "://"+secret+"@", 1)
	f := &Fetcher{}
	for range 2 {
		got := mustFetch(t, f, address, secret)
		got.wantFile(t, "a.bin", "large")
		got.wantFile(t, "sub/b.bin", "other")
		if left := filesWith(t, filepath.Join(got.Dir, ".git"), tokenHeader); len(left) > 0 {
			t.Errorf("the gateway is left in %q", left)
		}
	}
	// Objects that are kept elsewhere come from there, without the credential
	// of the repository and with what their server is promised.
	var seen []string
	elsewhere := func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if oid, ok := strings.CutPrefix(r.URL.Path, "/storage/"); ok {
			http.Redirect(w, r, "/moved/"+oid, http.StatusFound)
			return
		}
		fmt.Fprint(w, objects[strings.TrimPrefix(r.URL.Path, "/moved/")])
	}
	other = httptest.NewServer(http.HandlerFunc(elsewhere))
	defer other.Close()
	mustFetch(t, f, address, secret).wantFile(t, "sub/b.bin", "other")
	if diff := cmp.Diff([]string{"RemoteAuth x", ""}, seen); diff != "" {
		t.Errorf("the other host saw (-want +got):\n%s", diff)
	}
	objects[sha256Hex("other")] = "forged"
	fetchInto(t, f, address, secret).wantError(t, "git-lfs")
	other.URL = "http://169.254.169.254"
	fetchInto(t, f, address, secret).wantError(t, "metadata")
	other.URL = "file:///etc"
	fetchInto(t, f, address, secret).wantError(t, "git-lfs")
}

func serveLFSBatch(w http.ResponseWriter, r *http.Request, href func(oid string) string) {
	var batch struct {
		Objects []struct {
			OID  string `json:"oid"`
			Size int    `json:"size"`
		} `json:"objects"`
	}
	json.NewDecoder(r.Body).Decode(&batch)
	answer := []any{}
	for _, o := range batch.Objects {
		answer = append(answer, map[string]any{"oid": o.OID, "size": o.Size, "authenticated": true, "actions": map[string]any{
			"download": map[string]any{"href": href(o.OID), "header": map[string]string{"Authorization": "RemoteAuth x"}}, "verify": map[string]any{"href": "http://127.0.0.1:1/"},
		}})
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": answer})
}
