package logs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// An archived log is one object, a zstd file whose content is the text: zstd
// -d shows it. The text is in frames of blockSize each, so that it can be read
// from anywhere. The frames behind it are skippable ones, which zstd does not
// show: the index, the progress messages, and last the table of where all of
// it is, which ends in its length and a magic word.
const (
	blockSize = 128 << 10
	magic     = "acrdlog1"
	ending    = 4 + len(magic)

	skippable  = 0x184D2A50
	skipHeader = 8 // that number, and the length of what follows
)

// archiveParts are in the order in which they stand in an archive.
var archiveParts = []string{textFile, indexFile, progressFile}

// A table says where the parts of an archive are.
type table map[string]extent

// An extent is a part of an archive: how long it was, where its blocks begin,
// and how long each is.
type extent struct {
	Size   int64   `json:"size"`
	Begin  int64   `json:"begin"`
	Blocks []int64 `json:"blocks"`
}

func key(run string) string { return run + archiveEnd }

const archiveEnd = ".log.zst"

// Archive puts the log of a run that has ended for good into the bucket, and
// removes its files. Who is reading it reads on. To archive one again does
// nothing; one that is being written is ErrLive.
func (d *Dir) Archive(ctx context.Context, run string) error {
	if !validRun().MatchString(run) {
		return ErrNone
	}
	if d.Bucket == nil {
		return nil
	}
	defer d.turn(run)()
	if d.isLive(run) != nil {
		return fmt.Errorf("archive log of run %s: %w", run, ErrLive)
	}
	if _, err := os.Stat(filepath.Join(d.folder(run), textFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.store(ctx, run); err != nil {
		return fmt.Errorf("archive log of run %s: %w", run, err)
	}
	return d.removeFolder(run)
}

// store writes the object. It is there as a whole, or not at all.
func (d *Dir) store(ctx context.Context, run string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w, err := d.Bucket.blobs.NewWriter(ctx, key(run), &blob.WriterOptions{ContentType: "application/zstd", DisableContentTypeDetection: true})
	if err != nil {
		return err
	}
	if err := d.writeArchive(w, run); err != nil {
		cancel(err) // nothing is stored then
		_ = w.Close()
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return d.Bucket.sync(key(run))
}

func (d *Dir) writeArchive(w io.Writer, run string) error {
	pack, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(blockSize), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	defer pack.Close()
	a := &archiver{w: w, pack: pack, table: table{}}
	for _, name := range archiveParts {
		if err := a.addFile(filepath.Join(d.folder(run), name), name); err != nil {
			return err
		}
	}
	return a.end()
}

// An archiver writes an archive.
type archiver struct {
	w     io.Writer
	pack  *zstd.Encoder
	pos   int64
	table table
}

func (a *archiver) addFile(path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // then it is empty
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e := extent{Begin: a.pos}
	buf := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(f, buf)
		if n > 0 {
			block := a.pack.EncodeAll(buf[:n], nil)
			if name != textFile {
				block = skippableFrame(block)
			}
			e.Size += int64(n)
			e.Blocks = append(e.Blocks, int64(len(block)))
			if err := a.write(block); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			a.table[name] = e
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (a *archiver) write(b []byte) error {
	n, err := a.w.Write(b)
	a.pos += int64(n)
	return err
}

func (a *archiver) end() error {
	b, err := json.Marshal(a.table)
	if err != nil {
		return err
	}
	b = a.pack.EncodeAll(b, nil)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b))) //nolint:gosec // it is small
	return a.write(skippableFrame(append(b, magic...)))
}

func skippableFrame(b []byte) []byte {
	frame := binary.LittleEndian.AppendUint32(nil, skippable)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(b))) //nolint:gosec // it is small
	return append(frame, b...)
}

// notArchived is an error if the log of a run is archived.
func (d *Dir) notArchived(run string) error {
	if d.Bucket == nil {
		return nil
	}
	is, err := d.Bucket.blobs.Exists(context.Background(), key(run))
	if is {
		err = errors.New("it is archived already")
	}
	return err
}

// openArchive opens parts of an archived log.
func (d *Dir) openArchive(ctx context.Context, run string, names []string) (*stored, error) {
	d.unpackOnce.Do(func() {
		d.unpack, d.unpackErr = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(mostTable))
	})
	if d.unpackErr != nil {
		return nil, fmt.Errorf("open log: %w", d.unpackErr)
	}
	t, err := d.readTable(ctx, key(run))
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("open archived log of run %s: %w", run, err)
	}
	s := &stored{}
	for _, name := range names {
		p := &archived{ctx: ctx, dir: d, key: key(run), extent: t[name], block: -1, streamed: -1}
		if name != textFile {
			p.header = skipHeader
		}
		s.parts = append(s.parts, p)
	}
	return s, nil
}

var errArchive = errors.New("this is not an archived log, or it is damaged")

// mostTable bounds what a table may unpack to: the table of 60 GiB of text.
const mostTable = 8 << 20

func (d *Dir) readTable(ctx context.Context, key string) (table, error) {
	a, err := d.Bucket.blobs.Attributes(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := d.readEnd(ctx, key, a.Size, 4<<10) // most tables are shorter
	if err != nil {
		return nil, err
	}
	at := len(b) - ending
	if at < 0 || string(b[at+4:]) != magic {
		return nil, errArchive
	}
	size := int64(binary.LittleEndian.Uint32(b[at:]))
	if size > a.Size || size > mostTable {
		return nil, errArchive
	}
	if size > int64(at) {
		if b, err = d.readEnd(ctx, key, a.Size, size+int64(ending)); err != nil {
			return nil, err
		}
		at = len(b) - ending
	}
	if b, err = d.unpack.DecodeAll(b[at-int(size):at], nil); err != nil {
		return nil, errors.Join(errArchive, err)
	}
	var t table
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, errors.Join(errArchive, err)
	}
	return t, nil
}

func (d *Dir) readEnd(ctx context.Context, key string, size, n int64) ([]byte, error) {
	n = min(n, size)
	r, err := d.Bucket.blobs.NewRangeReader(ctx, key, size-n, n, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// archived is a part of an archived log. Blocks that are read one after the
// other come as one stream. It is not safe for concurrent use.
type archived struct {
	ctx    context.Context //nolint:containedctx // io.ReaderAt has no other place for one
	dir    *Dir
	key    string
	extent extent
	header int // of each block

	block    int // whose content is this
	content  []byte
	packed   []byte
	stream   io.ReadCloser // at the beginning of the block streamed
	streamed int
}

func (p *archived) Size() (int64, error) { return p.extent.Size, nil }

func (p *archived) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		if off >= p.extent.Size {
			return n, io.EOF
		}
		if err := p.load(int(off / blockSize)); err != nil {
			return n, fmt.Errorf("read archived log: %w", err)
		}
		within := off % blockSize
		if within >= int64(len(p.content)) {
			return n, errArchive
		}
		c := copy(b[n:], p.content[within:])
		n += c
		off += int64(c)
	}
	return n, nil
}

// load makes a block the one whose content is there.
func (p *archived) load(block int) error {
	if block == p.block {
		return nil
	}
	if block >= len(p.extent.Blocks) || slices.Max(p.extent.Blocks) > 2*blockSize || slices.Min(p.extent.Blocks) <= int64(p.header) {
		return errArchive
	}
	if err := p.seek(block); err != nil {
		return err
	}
	p.packed = slices.Grow(p.packed[:0], int(p.extent.Blocks[block]))[:p.extent.Blocks[block]]
	if _, err := io.ReadFull(p.stream, p.packed); err != nil {
		p.block, p.streamed = -1, -1
		return err
	}
	p.streamed++
	p.block = -1
	var err error
	if p.content, err = p.dir.unpack.DecodeAll(p.packed[p.header:], p.content[:0]); err != nil {
		return errors.Join(errArchive, err)
	}
	p.block = block
	return nil
}

// seek puts the stream at the beginning of a block.
func (p *archived) seek(block int) error {
	if p.stream != nil && p.streamed == block {
		return nil
	}
	_ = p.Close()
	begin, length := p.extent.Begin, int64(0)
	for i, n := range p.extent.Blocks {
		if i < block {
			begin += n
		} else {
			length += n
		}
	}
	r, err := p.dir.Bucket.blobs.NewRangeReader(p.ctx, p.key, begin, length, nil)
	if err != nil {
		return err
	}
	p.stream, p.streamed = r, block
	return nil
}

func (p *archived) Close() error {
	if p.stream == nil {
		return nil
	}
	err := p.stream.Close()
	p.stream = nil
	return err
}
