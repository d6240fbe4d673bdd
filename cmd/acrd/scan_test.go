package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/runner"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// scanDeviations are the vectors in which acrd scan says something else than
// acb scan did, why, and what it says.
var scanDeviations = map[string]struct{ reason, says string }{
	"arg-default-expansion": {"acb does not know ${NAME:-DEFAULT}", `"reference": "alpine:3.20"`},
	"arg-multi":             {"acb reads the first word of an ARG only", `"reference": "alpine:3.20"`},
	"arg-undefined":         {"both refuse; ours has the line", "arg-undefined.Dockerfile:1:6: FROM $NOPE: base name is blank"},
	"continuation":          {"acb does not know continuation lines", `"reference": "alpine:latest"`},
	"platform-flag":         {"acb does not know FROM --platform; the stage is not needed for the last one", `"reference": "alpine:3.20"`},
	"dup-buildtime":         {"stages that nothing copies from are not built, and no dependency", `"buildtime-dependency": null`},
	"mcr":                   {"stages that nothing copies from are not built, and no dependency", `"buildtime-dependency": null`},
	"target":                {"scratch is no image, and the stage is not built", `"buildtime-dependency": null`},
	"target-case":           {"names of stages have no case: acb falls back to the last stage", `"reference": "node:lts"`},
	"stage-alias-case":      {"names of stages have no case: acb takes the stage for an image", `"reference": "alpine:latest"`},
	"extra-tokens":          {"docker build refuses what stands behind the stage's name, so there is no image to scan", "extra-tokens.Dockerfile:1: FROM requires either one or three arguments"},
	"onbuild":               {"docker build refuses ONBUILD FROM, so there is no image to scan", "onbuild.Dockerfile:2: FROM isn't allowed as an ONBUILD trigger"},
}

// vectors returns the names of the goldens of a folder, with the text of each.
func vectors(t *testing.T, kind string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", kind, "*.golden"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	all := map[string]string{}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".golden")] = read(t, file)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone runs a command that needs no daemon.
func alone(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	s := &session{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(k string) string { return env[k] }}
	code = run(t.Context(), s, args)
	return code, out.String(), errs.String()
}

// TestScanVectors holds acrd scan to what acb scan has said.
func TestScanVectors(t *testing.T) {
	dir := t.TempDir()
	goldens := vectors(t, "scan")
	for name, golden := range goldens {
		t.Run(name, func(t *testing.T) {
			source := filepath.Join("testdata", "vectors", "scan", name)
			file := filepath.Join(dir, name+".Dockerfile")
			if err := os.WriteFile(file, []byte(read(t, source+".Dockerfile")), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"scan", "-f", file}
			if words, err := os.ReadFile(source + ".args"); err == nil {
				args = append(args, strings.Fields(string(words))...)
			}
			code, out, errs := alone(t, nil, append(args, dir)...)
			differs := scanDifference(t, golden, code, out)
			row, deviates := scanDeviations[name]
			switch {
			case !deviates && differs != "":
				t.Errorf("golden (-), ours (+):\n%s%s", differs, errs)
			case deviates && differs == "":
				t.Errorf("does not deviate any more, although %s", row.reason)
			case deviates && !strings.Contains(out+errs, row.says):
				t.Errorf("says %s%s, want %s", out, errs, row.says)
			}
		})
	}
	for name := range scanDeviations {
		if _, ok := goldens[name]; !ok {
			t.Errorf("no vector %s", name)
		}
	}
}

// scanDifference compares outcome and dependencies. A refusal is compared by
// its text too, which acb's never has a line in.
func scanDifference(t *testing.T, golden string, code int, out string) string {
	t.Helper()
	var want, got []runner.Dependency
	for line := range strings.Lines(golden) {
		if strings.HasPrefix(line, "[{") {
			decode(t, line, &want)
		}
	}
	if code == exitOK {
		decode(t, out, &got)
	}
	if want == nil && got == nil {
		return "refused in other words"
	}
	return cmp.Diff(want, got, cmpopts.SortSlices(func(a, b runner.Reference) bool { return a.Reference < b.Reference }))
}

func decode(t *testing.T, text string, into *[]runner.Dependency) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// TestScanShape: the very bytes, for one of each kind of field.
func TestScanShape(t *testing.T) {
	dir := folder(t, map[string]string{"Dockerfile": "FROM golang:1 AS b\nFROM localhost:5000/base@sha256:" + strings.Repeat("a", 64) + "\nCOPY --from=b / /\n"})
	code, out, errs := alone(t, nil, "scan", "-t", "docker.io/me/app", dir)
	want := `[
  {
    "image": {
      "registry": "registry.hub.docker.com",
      "repository": "me/app",
      "tag": "latest",
      "digest": "",
      "reference": "me/app:latest"
    },
    "runtime-dependency": {
      "registry": "localhost:5000",
      "repository": "base",
      "digest": "sha256:` + strings.Repeat("a", 64) + `",
      "reference": "localhost:5000/base@sha256:` + strings.Repeat("a", 64) + `"
    },
    "buildtime-dependency": [
      {
        "registry": "registry.hub.docker.com",
        "repository": "library/golang",
        "tag": "1",
        "digest": "",
        "reference": "golang:1"
      }
    ],
    "git": {
      "git-head-revision": ""
    }
  }
]
`
	if diff := cmp.Diff(want, out); code != exitOK || diff != "" {
		t.Errorf("exit code %d %s\nwant (-), got (+):\n%s", code, errs, diff)
	}
	_, out, _ = alone(t, nil, "scan", "-o", "table", "--platform", "linux/amd64", dir)
	if want := "ROLE       REGISTRY                 REPOSITORY      TAG  DIGEST\nruntime    localhost:5000           base                 sha256:"; !strings.HasPrefix(out, want) {
		t.Errorf("table:\n%s", out)
	}
	_, out, _ = alone(t, nil, "scan", "-o", "text", dir)
	if !strings.Contains(out, "  buildtime-dependency:\n  - registry: registry.hub.docker.com\n    repository: library/golang\n") {
		t.Errorf("text:\n%s", out)
	}
}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestScan is the rest of the command: where the Dockerfile is, what is
// refused, and what it says.
func TestScan(t *testing.T) {
	dir := folder(t, map[string]string{
		"Dockerfile":                    "FROM here\n",
		"My Projects/Dockerfile":        "FROM spaces\n",
		"args.Dockerfile":               "# syntax=docker/dockerfile:1\nARG V W\nFROM a:$V-$W\nCOPY --from=assets / /\n",
		"arch.Dockerfile":               "FROM a-$TARGETARCH\n",
		"deep/Dockerfile":               "FROM deep\n",
		"elsewhere/x.Dockerfile":        "FROM elsewhere\n",
		"big.Dockerfile":                strings.Repeat("# x\n", 300_000),
		"wrong.Dockerfile":              "FROM a\nRUN true\nFRMO b\n",
		".git/HEAD":                     "ref: refs/heads/main\n",
		".git/packed-refs":              "# pack-refs\n" + strings.Repeat("b", 40) + " refs/heads/main\n",
		"loose/.git/HEAD":               "ref: refs/heads/x\n",
		"loose/.git/refs/heads/x":       strings.Repeat("c", 40) + "\n",
		"loose/Dockerfile":              "FROM loose\n",
		"liar/.git/HEAD":                "ref: ../../Dockerfile\n",
		"liar/Dockerfile":               "FROM liar\n",
		"folder/Dockerfile/not a file ": "",
	})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out.Dockerfile")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("Dockerfile", filepath.Join(dir, "in.Dockerfile")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	env := map[string]string{"W": "from-here"}
	for _, row := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"the folder's", []string{"."}, exitOK, `"reference": "here:latest"`},
		{"commit", []string{"deep"}, exitOK, `"git-head-revision": "` + strings.Repeat("b", 40)},
		{"loose commit", []string{"loose"}, exitOK, `"git-head-revision": "` + strings.Repeat("c", 40)},
		{"no commit", []string{"liar"}, exitOK, `"git-head-revision": ""`},
		{"spaces", []string{"--file", "My Projects/Dockerfile", "."}, exitOK, `"reference": "spaces:latest"`},
		{"outside of the context", []string{"-f", "elsewhere/x.Dockerfile", "deep"}, exitOK, `"reference": "elsewhere:latest"`},
		{"link inside", []string{"-f", "in.Dockerfile", "."}, exitOK, `"reference": "here:latest"`},
		{"build args", []string{"-f", "args.Dockerfile", "--build-arg", "V=1", "--build-arg", "W", "."}, exitOK, `"reference": "a:1-from-here"`},
		{"contexts", []string{"-f", "args.Dockerfile", "--build-arg=V=1", "--build-context", "assets=docker-image://r.io/assets:2", "."}, exitOK, `"reference": "r.io/assets:2"`},
		{"frontend", []string{"-f", "args.Dockerfile", "--build-arg=V=1", "-o", "table", "."}, exitOK, "frontend   registry.hub.docker.com  docker/dockerfile  1"},
		{"platforms", []string{"-f", "arch.Dockerfile", "--platform", "linux/amd64,linux/arm64", "-o", "table", "."}, exitOK, "a-arm64"},
		{"acb's flags", []string{"--destination", "/x", "--timeout", "5", "."}, exitOK, `"reference": "here:latest"`},
		{"link outside", []string{"-f", "out.Dockerfile", "."}, exitFailed, "read out.Dockerfile: it is a link that leads out of the source"},
		{"too big", []string{"-f", "big.Dockerfile", "."}, exitFailed, "read big.Dockerfile: larger than 1024 KiB"},
		{"no file", []string{"folder"}, exitFailed, "it is not a file"},
		{"fault", []string{"-f", "wrong.Dockerfile", "."}, exitUsage, "wrong.Dockerfile:3: unknown instruction: FRMO (did you mean FROM?)\n    3 | FRMO b"},
		{"target", []string{"--target", "x", "."}, exitUsage, `target stage "x" could not be found`},
		{"missing", []string{"-f", "none", "."}, exitUsage, "Unable to find 'none': name the Dockerfile with -f"},
		{"no folder", []string{"none"}, exitUsage, "should be a local directory path or remote URL"},
		{"nothing", []string{"/dev/null"}, exitUsage, "there is no Dockerfile in /dev/null"},
		{"no context", nil, exitUsage, "an argument is missing: acrd scan"},
		{"timeout", []string{"--timeout", "0", "."}, exitUsage, "--timeout is in seconds"},
		{"windows", []string{"--platform", "windows", "."}, exitUsage, "on Linux, for Linux"},
		{"unreachable", []string{"http://127.0.0.1:1/x.tar.gz"}, exitFailed, "fetch http://127.0.0.1:1/x.tar.gz"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := alone(t, env, append([]string{"scan"}, row.args...)...)
			if code != row.code || !strings.Contains(out+errs, row.says) {
				t.Errorf("exit code %d, want %d and %s:\n%s%s", code, row.code, row.says, out, errs)
			}
		})
	}
}

// TestScanRemote: an archive is fetched, and nothing of it stays.
func TestScanRemote(t *testing.T) {
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	w := tar.NewWriter(zipped)
	text := "FROM far\n"
	if err := w.WriteHeader(&tar.Header{Name: "sub/Dockerfile", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive.Bytes()) }))
	defer server.Close()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	code, out, errs := alone(t, nil, "scan", "-f", "sub/Dockerfile", server.URL+"/x.tar.gz")
	if code != exitOK || !strings.Contains(out, `"reference": "far:latest"`) {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, _, errs := alone(t, nil, "scan", server.URL+"/x.tar.gz"); code != exitUsage || !strings.Contains(errs, "Unable to find 'Dockerfile'") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, _, errs := alone(t, nil, "scan", "-f", "../x", server.URL+"/x.tar.gz"); code != exitFailed || !strings.Contains(errs, "leads out of the source") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestVectorsAreCurrent holds the copies in testdata to the shared vectors,
// where there are any.
func TestVectorsAreCurrent(t *testing.T) {
	shared := filepath.Join("..", "..", "..", "shared", "vectors")
	if _, err := os.Stat(shared); err != nil {
		t.Skip("no shared vectors")
	}
	for _, kind := range []string{"scan", "cli-build"} {
		want, err := filepath.Glob(filepath.Join(shared, kind, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range want {
			if ours := filepath.Join("testdata", "vectors", kind, filepath.Base(file)); read(t, ours) != read(t, file) {
				t.Errorf("%s is not %s", ours, file)
			}
		}
	}
}
