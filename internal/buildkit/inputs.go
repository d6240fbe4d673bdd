package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"acrd/internal/dockerfile"
	"acrd/steps"

	"github.com/tonistiigi/fsutil"
)

// dockerfileMax and secretMax bound what is read into memory.
const (
	dockerfileMax = 1 << 20
	secretMax     = 512 << 10 // BuildKit takes no larger secret
)

// inputs are the files that a build may see. All of them are opened below the
// workspace, by roots that no link leads out of: while the build reads them,
// another step of the run may be turning folders into links.
type inputs struct {
	mounts     map[string]fsutil.FS
	key        string
	dockerfile string // its name in the mount "dockerfile"
	scan       *dockerfile.Scan
	secrets    map[string][]byte
	roots      []*os.Root
	workspace  *os.Root
}

func (in *inputs) close() {
	for _, r := range in.roots {
		r.Close()
	}
}

// Scan is what a build would start from, as its Dockerfile says. It reads
// nothing but that, and asks nobody.
func Scan(op *steps.BuildOp) (*steps.Image, error) {
	in, err := openInputs(op)
	if err != nil {
		return nil, &steps.BuildError{Err: err}
	}
	defer in.close()
	image := &steps.Image{Tags: op.Tags, Platforms: op.Platforms}
	if in.scan.Runtime != "" {
		image.Runtime = &steps.Dependency{Ref: in.scan.Runtime}
	}
	for _, ref := range in.scan.BuildTime {
		image.BuildTime = append(image.BuildTime, steps.Dependency{Ref: ref})
	}
	return image, nil
}

func openInputs(op *steps.BuildOp) (*inputs, error) {
	in := &inputs{mounts: map[string]fsutil.FS{}, secrets: map[string][]byte{}, key: folderKey(op, op.Context)}
	if err := in.open(op); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func (in *inputs) open(op *steps.BuildOp) error {
	var err error
	if in.workspace, err = os.OpenRoot(op.Workspace); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	in.roots = append(in.roots, in.workspace)
	folder, name, err := in.findDockerfile(op)
	if err != nil {
		return err
	}
	in.dockerfile = name
	if err := in.readDockerfile(op, folder, name); err != nil {
		return err
	}
	in.mounts["dockerfile"] = newFolderFS(folder)
	in.mounts["context"] = noFiles{}
	if op.Context != "" {
		if err := in.addFolder("context", op, op.Context); err != nil {
			return fmt.Errorf("context: %w", err)
		}
	}
	return in.readSecrets(op)
}

// addFolder opens a folder that is named as in the build line, or absolutely
// as on the host.
func (in *inputs) addFolder(mount string, op *steps.BuildOp, path string) error {
	root, err := in.folder(op, path)
	if err != nil {
		return err
	}
	in.mounts[mount] = newFolderFS(root)
	if mount == "context" {
		return checkIgnoreFile(root, ".dockerignore")
	}
	return nil
}

func (in *inputs) folder(op *steps.BuildOp, path string) (*os.Root, error) {
	rel, err := in.relative(op, path)
	if err != nil {
		return nil, err
	}
	root, err := in.workspace.OpenRoot(rel)
	if err != nil {
		return nil, outward(path, err)
	}
	in.roots = append(in.roots, root)
	return root, nil
}

// relative is path as seen from the workspace.
func (in *inputs) relative(op *steps.BuildOp, path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(op.Root, path)
	}
	rel, err := filepath.Rel(op.Workspace, path)
	if err != nil || !filepath.IsLocal(rel) || strings.ContainsRune(rel, 0) {
		return "", fmt.Errorf("%s is outside of %s", filepath.Base(path), steps.WorkspaceDir)
	}
	return rel, nil
}

// findDockerfile opens the folder that the Dockerfile is in. Without -f it is
// in the context.
func (in *inputs) findDockerfile(op *steps.BuildOp) (*os.Root, string, error) {
	path := op.File
	switch {
	case path == "":
		path = filepath.Join(cmp.Or(op.Context, op.Root), "Dockerfile")
	case strings.HasPrefix(path, steps.WorkspaceDir+"/"):
		path = filepath.Join(op.Workspace, strings.TrimPrefix(path, steps.WorkspaceDir))
	case filepath.IsAbs(path):
		return nil, "", fmt.Errorf("unable to find %q: a Dockerfile is below %s", path, steps.WorkspaceDir)
	}
	root, err := in.folder(op, filepath.Dir(cmp.Or(path, ".")))
	if errors.Is(err, iofs.ErrNotExist) {
		err = fmt.Errorf("unable to find %q", cmp.Or(op.File, "Dockerfile"))
	}
	return root, filepath.Base(path), err
}

// readDockerfile judges what BuildKit will read, and learns what it is built
// from.
func (in *inputs) readDockerfile(op *steps.BuildOp, folder *os.Root, name string) error {
	b, err := readLimited(folder, name, dockerfileMax)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("unable to find %q", cmp.Or(op.File, "Dockerfile"))
	case err != nil:
		return outward(name, err)
	}
	if err := checkIgnoreFile(folder, name+".dockerignore"); err != nil {
		return err
	}
	in.scan, err = dockerfile.Read(b, dockerfile.Options{
		Name: cmp.Or(op.File, name), Target: op.Target, BuildArgs: op.BuildArgs, Platforms: op.Platforms, Contexts: op.Contexts,
	})
	return err
}

// checkIgnoreFile refuses one that leads out of the context. BuildKit would
// not follow it, and silently build with everything.
func checkIgnoreFile(root *os.Root, name string) error {
	f, err := openFile(root, name)
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, iofs.ErrNotExist) {
		if _, e := root.Lstat(name); e != nil {
			return nil
		}
	}
	return outward(name, err)
}

// outward words the error of a path that a link leads out of its root.
func outward(name string, err error) error {
	var p *iofs.PathError
	if errors.As(err, &p) && strings.Contains(p.Err.Error(), "escapes") {
		return fmt.Errorf("%s is a link that leads out of the context: put the file itself there", filepath.Base(name))
	}
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", filepath.Base(name), p.Err)
	}
	return err
}

// readSecrets collects the build's secrets: given values, and files of the
// workspace.
func (in *inputs) readSecrets(op *steps.BuildOp) error {
	for _, s := range op.Secrets {
		if value, ok := op.SecretValues[s.ID]; ok {
			in.secrets[s.ID] = value
			continue
		}
		rel, err := in.relative(op, s.File)
		if err != nil {
			return fmt.Errorf("secret %s: %w", s.ID, err)
		}
		b, err := readLimited(in.workspace, rel, secretMax)
		if err != nil {
			return fmt.Errorf("secret %s: %w", s.ID, outward(s.File, err))
		}
		in.secrets[s.ID] = b
	}
	return nil
}

// noFiles is the context of a build that has none.
type noFiles struct{}

func (noFiles) Walk(context.Context, string, iofs.WalkDirFunc) error { return nil }
func (noFiles) Open(name string) (io.ReadCloser, error) {
	return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
}
