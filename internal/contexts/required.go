package contexts

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// required is what travels whatever the ignore file says, and the ignore file.
type required struct {
	dockerfile string            // its name in the context
	ignoreFile string            // its path on this host
	ignore     *ignorer          // what it says
	names      map[string]bool   // paths in the folder, and the folders above them
	outside    map[string]string // names in the context of files that are elsewhere
}

const (
	ignoreName   = ".dockerignore"
	maxIgnore    = 1 << 20
	maxDocker    = 16 << 20 // a Dockerfile is read whole to name it
	maxLinksHops = 40
)

// errLeadsOut never says where to: that is nobody's business but the link's.
var errLeadsOut = errors.New("is a link that leads out of the folder")

// A NoFileError says that a file that must travel is not in the folder. It is
// an fs.ErrNotExist.
type NoFileError struct{ Name string }

func (e *NoFileError) Error() string { return "unable to find '" + e.Name + "'" }
func (e *NoFileError) Unwrap() error { return fs.ErrNotExist }

func findRequired(root *os.Root, dir string, opts PackOptions) (*required, error) {
	r := &required{names: map[string]bool{}, outside: map[string]string{}}
	for _, name := range opts.Keep {
		if err := r.keep(root, path.Clean(filepath.ToSlash(name))); err != nil {
			return nil, err
		}
	}
	ignores, err := r.findDockerfile(root, dir, opts.Dockerfile)
	if err != nil {
		return nil, err
	}
	for _, candidate := range append(ignores, candidate{inside: ignoreName}) {
		content, err := r.readIgnore(root, candidate)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.ignore == nil { // the first decides, all travel
			r.ignoreFile = candidate.hostPath(dir)
			if r.ignore, err = parseIgnore(r.ignoreFile, content); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// A candidate is an ignore file that may exist.
type candidate struct {
	inside  string // its path in the folder, or
	outside string // its path on this host,
	as      string // and its name in the context
}

func (c candidate) hostPath(dir string) string {
	if c.outside != "" {
		return c.outside
	}
	return filepath.Join(dir, filepath.FromSlash(c.inside))
}

// findDockerfile returns where the Dockerfile's own ignore file would be.
func (r *required) findDockerfile(root *os.Root, dir, file string) ([]candidate, error) {
	optional := file == ""
	if optional {
		file = filepath.Join(dir, "Dockerfile")
	}
	name, inside, err := nameIn(dir, file)
	if err != nil {
		return nil, fmt.Errorf("find Dockerfile %s: %w", file, err)
	}
	if !inside {
		return r.addDockerfile(file)
	}
	if err := r.keep(root, name); err != nil {
		if optional && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	r.dockerfile = name
	return []candidate{{inside: name + ignoreName}}, nil
}

// addDockerfile lets a Dockerfile from elsewhere travel under a name that the
// folder does not have. The name is made from the content, so that the same
// pack has the same digest.
func (r *required) addDockerfile(file string) ([]candidate, error) {
	content, err := readRegular(os.Open, file, maxDocker)
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	sum := sha256.Sum256(content)
	r.dockerfile = hex.EncodeToString(sum[:16]) + "_" + filepath.Base(file)
	if r.outside[r.dockerfile], err = filepath.Abs(file); err != nil {
		return nil, fmt.Errorf("find Dockerfile %s: %w", file, err)
	}
	beside := r.outside[r.dockerfile] + ignoreName
	return []candidate{{outside: beside, as: r.dockerfile + ignoreName}}, nil
}

func (r *required) readIgnore(root *os.Root, c candidate) ([]byte, error) {
	if c.outside != "" {
		content, err := readRegular(os.Open, c.outside, maxIgnore)
		if err == nil {
			r.outside[c.as] = c.outside
		}
		return content, err
	}
	if err := r.keep(root, c.inside); err != nil {
		return nil, err
	}
	return readRegular(root.Open, c.inside, maxIgnore)
}

// keep marks a file of the folder, every link on its way and every folder
// above them as required. It refuses what leads out.
func (r *required) keep(root *os.Root, name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("%q is not the path of a file in the folder", name)
	}
	found, err := follow(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return &NoFileError{name}
	}
	if err != nil {
		return fmt.Errorf("%q %w", name, err)
	}
	info, err := root.Lstat(found[len(found)-1])
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a file", name)
	}
	for _, at := range found {
		for ; at != "."; at = path.Dir(at) {
			r.names[at] = true
		}
	}
	return nil
}

// follow returns the links that name goes through and, last, what it is then.
func follow(root *os.Root, name string) ([]string, error) {
	var found []string
	at, rest := ".", strings.Split(name, "/")
	for len(rest) > 0 {
		step := rest[0]
		rest = rest[1:]
		if step == "" || step == "." {
			continue
		}
		if step == ".." {
			if at == "." {
				return nil, errLeadsOut
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, step)
		info, err := root.Lstat(next)
		if err != nil {
			return nil, fmt.Errorf("cannot be read: %w", err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if len(found) == maxLinksHops {
			return nil, errors.New("goes through too many links")
		}
		target, err := root.Readlink(next)
		if err != nil {
			return nil, fmt.Errorf("cannot be read: %w", err)
		}
		if filepath.IsAbs(target) {
			return nil, errLeadsOut
		}
		found = append(found, next)
		rest = append(strings.Split(filepath.ToSlash(target), "/"), rest...)
	}
	return append(found, at), nil
}

// nameIn returns the path of file within dir, if it is in there. It asks the
// file system too, since a user may name one folder in two ways.
func nameIn(dir, file string) (string, bool, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", false, err
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), true, nil
	}
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false, err
	}
	realParent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", false, err
	}
	rel, err := filepath.Rel(realDir, filepath.Join(realParent, filepath.Base(abs)))
	if err != nil || !filepath.IsLocal(rel) {
		return "", false, nil
	}
	return filepath.ToSlash(rel), true, nil
}

func readRegular(open func(string) (*os.File, error), file string, limit int64) ([]byte, error) {
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", file)
	}
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil || n > limit {
		return nil, errors.Join(err, fmt.Errorf("%s has more than %d bytes", file, limit))
	}
	return b.Bytes(), nil
}
