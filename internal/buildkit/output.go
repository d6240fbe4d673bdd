package buildkit

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"acrd/steps"

	"github.com/moby/buildkit/client"
)

// exports are what the build hands out: the image for the engine's store, and
// copies for the workspace. The image comes last, so that its digest is the one
// that BuildKit answers with.
func (s *workshop) exports(op *steps.BuildOp, in *inputs) []client.ExportEntry {
	var all []client.ExportEntry
	for _, o := range op.Outputs {
		e := client.ExportEntry{Type: o.Type, Attrs: map[string]string{}}
		switch o.Type {
		case "local": // as an archive, that we unpack where no link leads out
			e.Type = client.ExporterTar
			e.Output = func(map[string]string) (io.WriteCloser, error) { return in.unpackTo(op, o.Dest) }
		default:
			e.Output = func(map[string]string) (io.WriteCloser, error) { return in.create(op, o.Dest) }
			if o.Type != client.ExporterTar && len(op.Tags) > 0 {
				e.Attrs["name"] = strings.Join(op.Tags, ",")
			}
		}
		all = append(all, e)
	}
	if op.Image() {
		attrs := exportAttributes(op)
		maps.Copy(attrs, s.baseAnnotations(op, in))
		attrs["name"] = s.storeName(first(op.Tags))
		all = append(all, client.ExportEntry{Type: client.ExporterImage, Attrs: attrs})
	}
	return all
}

// baseAnnotations say what the image is based on, where that is known before
// the build: where it is pinned.
func (s *workshop) baseAnnotations(op *steps.BuildOp, in *inputs) map[string]string {
	base := familiar(in.scan.Runtime)
	if _, own := s.own(in.scan.Runtime); own {
		return nil
	}
	for ref, digest := range op.Pins {
		if familiar(ref) == base {
			return map[string]string{"annotation.org.opencontainers.image.base.name": ref, "annotation.org.opencontainers.image.base.digest": digest}
		}
	}
	return nil
}

// create makes a file of the workspace, in place of what is there.
func (in *inputs) create(op *steps.BuildOp, path string) (io.WriteCloser, error) {
	rel, err := in.relative(op, path)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	f, err := createIn(in.workspace, rel, 0o644)
	if err != nil {
		return nil, fmt.Errorf("output: %w", outward(path, err))
	}
	return f, nil
}

// createIn makes a new file: nothing is written through a link or into a pipe
// that has its name.
func createIn(root *os.Root, name string, mode os.FileMode) (*os.File, error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, err
	}
	return root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
}

// unpackTo takes an archive and puts its files into a folder of the workspace.
func (in *inputs) unpackTo(op *steps.BuildOp, path string) (io.WriteCloser, error) {
	rel, err := in.relative(op, path)
	if err == nil {
		err = in.workspace.MkdirAll(rel, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("output: %w", outward(path, err))
	}
	root, err := in.workspace.OpenRoot(rel)
	if err != nil {
		return nil, fmt.Errorf("output: %w", outward(path, err))
	}
	r, w := io.Pipe()
	u := &unpacking{PipeWriter: w, done: make(chan error, 1)}
	go func() {
		err := unpack(r, root)
		_ = r.CloseWithError(err) // nil: what follows the archive is not wanted
		u.done <- errors.Join(err, root.Close())
	}()
	return u, nil
}

// unpacking is an archive on its way. Close waits for the last of its files.
type unpacking struct {
	*io.PipeWriter
	done chan error
}

func (u *unpacking) Close() error {
	_ = u.PipeWriter.Close()
	return <-u.done
}

// unpack puts folders, files and links of an archive into root. Owners, and
// what is none of these, are left out, as docker's local output does.
func unpack(r io.Reader, root *os.Root) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		if err := unpackEntry(h, archive, root); err != nil {
			return fmt.Errorf("output: %s: %w", h.Name, outward(h.Name, err))
		}
	}
}

func unpackEntry(h *tar.Header, r io.Reader, root *os.Root) error {
	name := filepath.Clean(strings.TrimPrefix(h.Name, "/"))
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, mode|0o700)
	case tar.TypeReg:
		f, err := createIn(root, name, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Chmod(mode), f.Close())
	case tar.TypeSymlink, tar.TypeLink:
		if err := root.Remove(name); err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
		if h.Typeflag == tar.TypeLink {
			return root.Link(filepath.Clean(strings.TrimPrefix(h.Linkname, "/")), name)
		}
		return root.Symlink(h.Linkname, name)
	}
	return nil
}
