// Command base makes the base images that the examples start from, out of what
// this machine has, and pushes them to a registry: nothing is downloaded.
//
//	go run ./examples/base                          # to localhost:5000
//	go run ./examples/base -registry localhost:5900
//
// It pushes
//
//	base/busybox:1   Debian's static busybox: sh, httpd, wget and 260 more
//	base/empty:1     one folder, /tmp, for amd64 and arm64; for static binaries
//
// With -program NAME=FILE it pushes base/NAME:1 as well: busybox, and FILE, a
// static program, as /usr/local/bin/NAME. That is how helm gets into the
// helm-release example.
//
// The same machine always makes the same images, so that a cache built on one
// of them holds.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	registry := flag.String("registry", "localhost:5000", "where to push to")
	busybox := flag.String("busybox", "/bin/busybox", "a static busybox")
	var programs programFlags
	flag.Var(&programs, "program", "NAME=FILE: push base/NAME:1 too (repeat)")
	flag.Parse()
	if err := run(*registry, *busybox, programs); err != nil {
		fmt.Fprintln(os.Stderr, "base:", err)
		os.Exit(1)
	}
}

type programFlags []string

func (p *programFlags) String() string { return strings.Join(*p, " ") }
func (p *programFlags) Set(v string) error {
	if !strings.Contains(v, "=") {
		return errors.New("want NAME=FILE")
	}
	*p = append(*p, v)
	return nil
}

func run(registry, busybox string, programs []string) error {
	if err := pushEmpty(registry); err != nil {
		return err
	}
	files, err := busyboxFiles(busybox)
	if err != nil {
		return err
	}
	shell, err := layer(files)
	if err != nil {
		return err
	}
	if err := pushShell(registry, "busybox", shell); err != nil {
		return err
	}
	for _, p := range programs {
		name, file, _ := strings.Cut(p, "=")
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		own, err := layer(append(folders("usr", "usr/local", "usr/local/bin"), entry{name: "usr/local/bin/" + name, content: content, mode: 0o755}))
		if err != nil {
			return err
		}
		if err := pushShell(registry, name, shell, own); err != nil {
			return err
		}
	}
	return nil
}

// pushEmpty pushes the image that has nothing, and so suits any processor.
func pushEmpty(registry string) error {
	bare, err := layer(folders("tmp"))
	if err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := assemble(arch, v1.Config{}, bare)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return push(registry, "empty", index, func(ref name.Reference) error { return remote.WriteIndex(ref, index) })
}

// pushShell pushes an image of this machine's processor, with busybox in it.
func pushShell(registry, repository string, layers ...v1.Layer) error {
	config := v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/usr/local/bin:/bin"}}
	image, err := assemble(runtime.GOARCH, config, layers...)
	if err != nil {
		return err
	}
	return push(registry, repository, image, func(ref name.Reference) error { return remote.Write(ref, image) })
}

// assemble makes an image of layers.
func assemble(arch string, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	image, err := mutate.AppendLayers(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	return mutate.ConfigFile(image, file)
}

// push sends an image or index and says what it is called now.
func push(registry, repository string, what interface{ Digest() (v1.Hash, error) }, write func(name.Reference) error) error {
	ref, err := name.ParseReference(registry + "/base/" + repository + ":1")
	if err != nil {
		return err
	}
	if err := write(ref); err != nil {
		return fmt.Errorf("push %s: %w\nIs a daemon running there? Start one with: acrd serve", ref, err)
	}
	digest, err := what.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s@%s\n", ref, digest)
	return nil
}

// An entry is a file, folder (no content, no link) or link of a layer.
type entry struct {
	name, link string
	content    []byte
	mode       int64
}

func folders(names ...string) []entry {
	var all []entry
	for _, n := range names {
		mode := int64(0o755)
		if n == "tmp" {
			mode = 0o1777
		}
		all = append(all, entry{name: n + "/", mode: mode})
	}
	return all
}

// busyboxFiles are a root folder in which every applet of busybox has a name.
func busyboxFiles(program string) ([]entry, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's busybox-static, or name one with -busybox", err)
	}
	out, err := exec.Command(program, "--list").Output() //nolint:noctx,gosec // the user's own busybox
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", program, err)
	}
	applets := strings.Fields(string(out))
	slices.Sort(applets)
	files := append(folders("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "www"),
		entry{name: "bin/busybox", content: content, mode: 0o755},
		entry{name: "etc/passwd", content: []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\n"), mode: 0o644},
		entry{name: "etc/group", content: []byte("root:x:0:\napp:x:1000:\nextra:x:2000:app\n"), mode: 0o644},
	)
	for _, a := range applets {
		if a = path.Base(a); a != "busybox" {
			files = append(files, entry{name: "bin/" + a, link: "busybox"})
		}
	}
	return files, nil
}

// layer packs entries the same way each time.
func layer(entries []entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
}
