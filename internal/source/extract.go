package source

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// An Extractor unpacks archives that nobody vouches for.
type Extractor struct {
	Limits Limits
	Out    io.Writer // is told of what is left out, a line each; nil: nobody is
}

// Extract is an Extractor's, for who does not want to know what is left out.
func Extract(ctx context.Context, r io.Reader, root *os.Root, limits Limits) error {
	return Extractor{Limits: limits}.Extract(ctx, r, root)
}

// Extract unpacks the tar in r, which may be compressed with gzip, zstd or
// bzip2, into root. It reads r to its end, and checks all that is there to
// check. On an error all that root holds is removed.
//
// Files, folders and links keep their mode bits (0777; the owner can always
// use a folder) and files their time. Owners, extended attributes, setuid,
// setgid and sticky bits are dropped, and so are devices, pipes and sockets,
// with a line to Out. A name that leads out of root, a link that does, and a
// name behind a link are ErrArchive, and too much of anything is ErrLimit;
// both name the entry.
func (x Extractor) Extract(ctx context.Context, r io.Reader, root *os.Root) error {
	e := x.begin(ctx, root)
	err := e.archive(r)
	return e.end(err)
}

// An extraction is one or more archives that are unpacked over each other.
type extraction struct {
	ctx    context.Context // of the one call it lives in
	root   *os.Root
	limits Limits
	out    io.Writer
	at     cursor

	entries int
	written int64 // bytes of files
}

func (x Extractor) begin(ctx context.Context, root *os.Root) *extraction {
	out := x.Out
	if out == nil {
		out = io.Discard
	}
	return &extraction{ctx: ctx, root: root, limits: x.Limits.withDefaults(), out: out, at: cursor{root: root}}
}

// end checks the whole if err is nil, and removes it otherwise.
func (e *extraction) end(err error) error {
	err = errors.Join(err, e.at.close())
	if err == nil {
		err = checkLinks(e.root)
	}
	if err != nil {
		err = errors.Join(err, clearRoot(e.root))
	}
	return err
}

func (e *extraction) archive(r io.Reader) error {
	packed := &counter{r: r}
	unpacked, err := unpack(bufio.NewReaderSize(packed, 64<<10))
	if err != nil {
		return broken(err)
	}
	defer unpacked.Close()
	stream := &bounded{ctx: e.ctx, r: unpacked, packed: packed, limits: e.limits}
	tr := tar.NewReader(stream)
	for {
		stream.describing(true)
		h, err := tr.Next()
		stream.describing(false)
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
		if err := e.entry(h, tr); err != nil {
			return fmt.Errorf("entry %s: %w", quoted(h.Name), unfit(err))
		}
	}
	// What follows the tar is read for its checksums, and against a body
	// without end.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return broken(err)
	}
	_, err = io.Copy(io.Discard, packed)
	return err
}

// broken makes ErrArchive of what a decoder says, unless it is ours already or
// stems from where the bytes come from.
func broken(err error) error {
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return fmt.Errorf("%w: it takes a window of more than %s to unpack: compress it with a lower level", ErrLimit, byteSize(zstdWindow))
	}
	if errors.Is(err, ErrArchive) || errors.Is(err, ErrLimit) || errors.Is(err, ErrNoProgress) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: it is cut short or damaged: %w", ErrArchive, err)
}

// unfit makes ErrArchive of what the file system has against a name or a time.
func unfit(err error) error {
	if errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%w: %w", ErrArchive, cause(err))
	}
	return err
}

func (e *extraction) entry(h *tar.Header, r io.Reader) error {
	name, err := e.admit(h)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeDir:
		return e.at.mkdir(name, h.FileInfo().Mode().Perm(), h.ModTime)
	case tar.TypeReg, tar.TypeGNUSparse:
		if name == "." {
			break
		}
		return e.file(name, h, r)
	case tar.TypeSymlink:
		if name == "." {
			break
		}
		return e.symlink(name, h.Linkname)
	case tar.TypeLink:
		if name == "." {
			break
		}
		return e.link(name, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		fmt.Fprintf(e.out, "WARNING: %s is a device or a pipe: it is left out\n", quoted(h.Name))
		return nil
	default:
		fmt.Fprintf(e.out, "WARNING: %s is of the unknown kind %q: it is left out\n", quoted(h.Name), h.Typeflag)
		return nil
	}
	return fmt.Errorf("%w: it would replace the folder it is unpacked into", ErrArchive)
}

// admit returns the clean name of an entry that is within the limits.
func (e *extraction) admit(h *tar.Header) (string, error) {
	if e.entries++; e.entries > e.limits.Entries {
		return "", fmt.Errorf("%w: more than %d entries", ErrLimit, e.limits.Entries)
	}
	if len(h.Name) > e.limits.Path || len(h.Linkname) > e.limits.Path {
		return "", fmt.Errorf("%w: its path is longer than %d bytes", ErrLimit, e.limits.Path)
	}
	if strings.Count(h.Name, "/") > e.limits.Depth {
		return "", fmt.Errorf("%w: it is more than %d folders deep", ErrLimit, e.limits.Depth)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return "", nil
	}
	return inside(h.Name)
}

// inside returns name clean, if it is one inside the tree.
func inside(name string) (string, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("%w: it has no name", ErrArchive)
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("%w: its name is absolute", ErrArchive)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%w: its name has a .. in it", ErrArchive)
		}
	}
	return path.Clean(name), nil
}

func (e *extraction) file(name string, h *tar.Header, r io.Reader) error {
	if h.Size > e.limits.Bytes-e.written {
		return fmt.Errorf("%w: files of more than %s", ErrLimit, byteSize(e.limits.Bytes))
	}
	return e.create(name, h.FileInfo().Mode().Perm(), r, func(dir *os.Root, base string) error {
		return dir.Chtimes(base, h.ModTime, h.ModTime)
	})
}

// create writes a new file, in the place of an old one if need be, and calls
// finish with where it is.
func (e *extraction) create(name string, mode fs.FileMode, r io.Reader, finish func(dir *os.Root, base string) error) error {
	dir, err := e.at.folder(path.Dir(name))
	if err != nil {
		return err
	}
	base := path.Base(name)
	open := func() (*os.File, error) { return dir.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) }
	file, err := open()
	if errors.Is(err, fs.ErrExist) {
		if err := replace(dir, base); err != nil {
			return err
		}
		file, err = open()
	}
	if err != nil {
		return cause(err)
	}
	n, err := io.Copy(file, io.LimitReader(r, e.limits.Bytes-e.written+1))
	e.written += n
	switch {
	case err != nil:
		err = broken(err)
	case e.written > e.limits.Bytes:
		err = fmt.Errorf("%w: files of more than %s", ErrLimit, byteSize(e.limits.Bytes))
	default:
		err = file.Chmod(mode)
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil || finish == nil {
		return err
	}
	return finish(dir, base)
}

// replace makes room for an entry. A folder is not replaced: what is in it
// came from the archive, too.
func replace(dir *os.Root, base string) error {
	info, err := dir.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cause(err)
	}
	if info.IsDir() {
		return fmt.Errorf("%w: a folder of that name was there before", ErrArchive)
	}
	return dir.Remove(base)
}

// quoted is a name as it may be shown.
func quoted(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "..."
	}
	return fmt.Sprintf("%q", name)
}
