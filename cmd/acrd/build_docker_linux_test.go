package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// TestDockerBuild: what docker build takes acrd build takes, and does it, does
// without it, or refuses it by name before anything is sent.
func TestDockerBuild(t *testing.T) {
	dir := folder(t, map[string]string{"src/Dockerfile": "FROM scratch\n", "src/lib/f": "f\n", "other/f": "f\n", "file-secret": "of the file"})
	t.Chdir(dir)
	for _, tt := range []struct {
		name string
		args []string
		want func(op *steps.BuildOp) (got, want any)
		says string // if it is refused
	}{
		{"limits", strings.Fields("-m 64m --memory-swap -1 -c 512 --cpu-period 100000 --cpu-quota 50000 --cpuset-cpus 0-1 --cpuset-mems 0"), func(op *steps.BuildOp) (any, any) {
			return op.Limits, steps.BuildLimits{Memory: 64 << 20, MemorySwap: -1, CPUShares: 512, CPUPeriod: 100000, CPUQuota: 50000, CPUSetCPUs: "0-1", CPUSetMems: "0"}
		}, ""},
		{"without effect", strings.Fields("--rm --force-rm=false --compress -D --disable-content-trust true --load"), nil, ""},
		{"a folder of the source", []string{"--build-context", "lib=src/lib"}, func(op *steps.BuildOp) (any, any) { return op.Contexts, []string{"lib=lib"} }, ""},
		{"the source itself", []string{"--build-context", "all=" + filepath.Join(dir, "src")}, func(op *steps.BuildOp) (any, any) { return op.Contexts, []string{"all=."} }, ""},
		{"an image", []string{"--build-context", "lib=docker-image://a/b:1"}, func(op *steps.BuildOp) (any, any) { return op.Contexts, []string{"lib=docker-image://a/b:1"} }, ""},
		{"secret by variable", []string{"--secret", "id=VARIABLE"}, func(op *steps.BuildOp) (any, any) { return string(op.SecretValues["VARIABLE"]), "of the variable" }, ""},
		{"secret by file", []string{"--secret", "id=file-secret"}, func(op *steps.BuildOp) (any, any) { return string(op.SecretValues["file-secret"]), "of the file" }, ""},

		{"a folder elsewhere", []string{"--build-context", "lib=other"}, nil, "--build-context lib=other: only what is in src is sent"},
		{"secret of nothing", []string{"--secret", "id=nothing"}, nil, "secret nothing: there is neither a variable nor a file of that name"},
		{"output", []string{"--output", "type=local,dest=out"}, nil, "which only a build step of a task has"},
		{"squash", []string{"--squash"}, nil, "--squash is not supported: BuildKit has no squash"},
		{"check", []string{"--check"}, nil, "--check is not supported"},
		{"call", []string{"--call", "outline"}, nil, "--call outline"},
		{"cgroup", []string{"--cgroup-parent", "x"}, nil, "--cgroup-parent is not supported"},
		{"security", []string{"--security-opt", "x"}, nil, "--security-opt is not supported"},
		{"builder", []string{"--builder", "x"}, nil, "--builder is not supported"},
		{"policy", []string{"--policy", "x"}, nil, "--policy is not supported"},
		{"wrong value", []string{"--memory", "much"}, nil, "--memory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			d.env["VARIABLE"] = "of the variable"
			code, out, errs := d.acrd(append(append([]string{"build", "--no-push"}, tt.args...), "src")...)
			if tt.says != "" {
				if code != exitUsage || !strings.Contains(errs, tt.says) || strings.Contains(errs+out, "Sending") || strings.Contains(out, "Queued") {
					t.Errorf("exit code %d, want %d and %q:\n%s", code, exitUsage, tt.says, out+errs)
				}
				return
			}
			if code != exitOK || len(d.built) != 1 {
				t.Fatalf("exit code %d, %d builds:\n%s", code, len(d.built), out+errs)
			}
			if tt.want != nil {
				got, want := tt.want(d.built[0])
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestStandardInput: docker build - and -f -.
func TestStandardInput(t *testing.T) {
	const dockerfile = "FROM scratch\n# from standard input\n"
	var archive bytes.Buffer
	z := gzip.NewWriter(&archive)
	w := tar.NewWriter(z)
	for name, text := range map[string]string{"Dockerfile": dockerfile, "other/D": dockerfile, "f": "f"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
	}
	if w.Close() != nil || z.Close() != nil {
		t.Fatal("archive")
	}
	dir := folder(t, map[string]string{"src/Dockerfile": "FROM scratch\n", "src/s": "s\n"})
	t.Chdir(dir)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for _, tt := range []struct {
		name, stdin string
		args        []string
		files       string // that are there, the Dockerfile apart
		says        string
	}{
		{"a Dockerfile", dockerfile, []string{"-"}, "", ""},
		{"an archive", archive.String(), []string{"-"}, "f other/D", ""},
		{"an archive, with -f", archive.String(), []string{"-f", "other/D", "-"}, "Dockerfile f", ""},
		{"the Dockerfile of a folder", dockerfile, []string{"-f", "-", "src"}, "Dockerfile s", ""},
		{"nothing", "", []string{"-"}, "", "there is nothing in standard input"},
		{"both", dockerfile, []string{"-f", "-", "-"}, "", "not both"},
		{"of a repository", dockerfile, []string{"-f", "-", "https://git.invalid/x.git"}, "", "has to be in there"},
		{"much", strings.Repeat("#", 2<<20), []string{"-"}, "", "larger than 1024 KiB"},
		{"a broken archive", archive.String()[:100], []string{"-"}, "", "cut short or damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(t)
			d.stdin = tt.stdin
			found := map[string]bool{}
			text := ""
			build := d.engine.BuildFunc
			d.engine.BuildFunc = func(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
				text = read(t, filepath.Join(op.Root, op.File))
				err := fs.WalkDir(os.DirFS(op.Context), ".", func(name string, e fs.DirEntry, err error) error {
					if err == nil && !e.IsDir() && name != op.File {
						found[name] = true
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				return build(ctx, op, out)
			}
			code, out, errs := d.acrd(append([]string{"build", "--no-push"}, tt.args...)...)
			if left, _ := filepath.Glob(filepath.Join(tmp, "acrd-build-*")); len(left) > 0 {
				t.Errorf("%v is left in the folder for temporary files", left)
			}
			if tt.says != "" {
				if code == exitOK || !strings.Contains(errs, tt.says) {
					t.Errorf("exit code %d, want %q:\n%s", code, tt.says, out+errs)
				}
				return
			}
			if code != exitOK || text != dockerfile {
				t.Errorf("exit code %d, and the Dockerfile %q:\n%s", code, text, out+errs)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(found)), " "); got != tt.files {
				t.Errorf("got the files %q, want %q", got, tt.files)
			}
		})
	}
}
