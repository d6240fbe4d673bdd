package buildkit

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/steps"
)

// TestOutputs holds what a build writes to the workspace.
func TestOutputs(t *testing.T) {
	for name, tt := range map[string]struct {
		dest string
		prep func(workspace string) error
		want string // error; empty is none
	}{
		"new folder":  {dest: "out/a"},
		"absolute":    {dest: "$W/out"},
		"over a file": {dest: "out", prep: func(w string) error { return os.MkdirAll(filepath.Join(w, "out/f/g"), 0o755) }, want: "f: "},
		"over a link": {dest: "out", prep: func(w string) error {
			os.Mkdir(filepath.Join(w, "out"), 0o755)
			return os.Symlink("../../victim", filepath.Join(w, "out/f"))
		}},
		"above":          {dest: "../x", want: "outside of /workspace"},
		"folder is link": {dest: "out", prep: func(w string) error { return os.Symlink("../victims", filepath.Join(w, "out")) }, want: "out"},
		"on the host":    {dest: "/etc", want: "outside of /workspace"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			workspace, victim := filepath.Join(dir, "w"), filepath.Join(dir, "victim")
			for _, d := range []string{workspace, filepath.Join(dir, "victims")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
			if tt.prep != nil {
				if err := tt.prep(workspace); err != nil {
					t.Fatal(err)
				}
			}
			dest := strings.Replace(tt.dest, "$W", workspace, 1)
			err := unpackTest(t, workspace, dest)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if b, _ := os.ReadFile(victim); string(b) != "mine" {
				t.Errorf("a file outside has %q", b)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, "victims")); len(left) > 0 {
				t.Errorf("a folder outside has %v", left)
			}
			if tt.want != "" {
				return
			}
			dest = filepath.Join(workspace, strings.TrimPrefix(dest, workspace))
			if b, err := os.ReadFile(filepath.Join(dest, "f")); err != nil || string(b) != "hello" {
				t.Errorf("f has %q, %v", b, err)
			}
			if link, err := os.Readlink(filepath.Join(dest, "d/l")); err != nil || link != "/etc/passwd" {
				t.Errorf("l is %q, %v", link, err)
			}
		})
	}
}

// unpackTest writes a folder, files and links, one of them out of the folder.
func unpackTest(t *testing.T, workspace, dest string) error {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	in := &inputs{workspace: root}
	w, err := in.unpackTo(&steps.BuildOp{Workspace: workspace, Root: workspace}, dest)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, h := range []*tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "f", Typeflag: tar.TypeReg, Mode: 0o640, Size: 5},
		{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "d/h", Typeflag: tar.TypeLink, Linkname: "f"},
		{Name: "dev", Typeflag: tar.TypeChar},
	} {
		if err := archive.WriteHeader(h); err != nil {
			break // the reader has given up, and Close says why
		}
		if h.Size > 0 {
			_, _ = io.WriteString(archive, "hello")
		}
	}
	_ = archive.Close()
	return w.Close()
}

func TestUnpackRefuses(t *testing.T) {
	for name, headers := range map[string][]*tar.Header{
		"above":          {{Name: "../f", Typeflag: tar.TypeReg}},
		"through a link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/f", Typeflag: tar.TypeReg}},
		"link above":     {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../victim"}},
	} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "victim"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(out)
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		go func() {
			archive := tar.NewWriter(w)
			for _, h := range headers {
				_ = archive.WriteHeader(h)
			}
			_ = archive.Close()
			w.Close()
		}()
		if err := unpack(r, root); err == nil {
			t.Errorf("%s: unpacked", name)
		}
		r.Close()
		root.Close()
	}
}

func TestAnnotations(t *testing.T) {
	got := exportAttributes(&steps.BuildOp{BuildOptions: steps.BuildOptions{Annotations: []string{"a=b", "index:c=d", "manifest[linux/arm64]:e=f", "com.x:y=z"}}})
	for key, want := range map[string]string{
		"annotation.a": "b", "annotation-index.c": "d", "annotation-manifest[linux/arm64].e": "f", "annotation.com.x:y": "z",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
}

func TestLimits(t *testing.T) {
	got := map[string]string{}
	limits(got, steps.BuildLimits{Memory: 5, MemorySwap: -1, CPUShares: 2, CPUSetCPUs: "0-1"})
	want := map[string]string{"memory": "5", "memswap": "-1", "cpushares": "2", "cpusetcpus": "0-1"}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for key, v := range want {
		if got[key] != v {
			t.Errorf("%s is %q, want %q", key, got[key], v)
		}
	}
}
