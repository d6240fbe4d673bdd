// Package logs keeps what runs print.
//
// While a run goes on, its log is a folder of files: the text as a user reads
// it, an index of which step wrote which part, and the progress messages of
// builds. When the run has ended for good, the folder becomes one compressed
// object in a bucket, which is a folder too unless somebody wants it
// elsewhere. Both are read from any byte and by step. Never SQL: logs are
// large, written once, and read from any offset.
package logs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/gcerrors"

	"acrd/internal/pattern"
	"acrd/runner"
)

// ErrNone says that there is no log of that run; another daemon on the same
// store may have it.
var ErrNone = errors.New("no log of that run on this daemon")

// ErrLive says that the log is being written.
var ErrLive = errors.New("the log is being written")

// A Dir keeps logs. It is safe for concurrent use by one process, which must
// be the only one that writes to Path.
type Dir struct {
	// Path is the folder of the logs that are not archived.
	Path string
	// Bucket is where the logs of ended runs are. Without one they stay in
	// Path.
	Bucket *Bucket
	// StepLimit is how many bytes of a step's output are kept; 0 means 64 MiB.
	StepLimit int64
	// Key signs links, see Link. Who has it can read every log.
	Key []byte
	// Outcome is what a run has ended as, for those who follow its log by a
	// link. If it is nil, they learn only that it has ended.
	Outcome func(ctx context.Context, run string) (runner.Status, error)

	mu   sync.Mutex // guards live
	live map[string]*log

	// Whoever makes or removes the files of a run holds one of these, by the
	// run's id.
	turns [64]sync.Mutex

	unpackOnce sync.Once
	unpack     *zstd.Decoder
	unpackErr  error
}

// The files of a run's folder.
const (
	textFile     = "log"
	indexFile    = "index"
	progressFile = "progress"
)

// leaving begins the name of a folder that is being removed.
const leaving = ".leaving-"

var validRun = pattern.New(`^[a-z0-9]+$`)

func (d *Dir) folder(run string) string { return filepath.Join(d.Path, run) }

// turn waits until nobody else makes or removes files of the run.
func (d *Dir) turn(run string) (done func()) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(run))
	m := &d.turns[h.Sum32()%uint32(len(d.turns))]
	m.Lock()
	return m.Unlock
}

func (d *Dir) isLive(run string) *log {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.live[run]
}

// Latest is the run whose log was begun last; empty if there is none.
func (d *Dir) Latest(ctx context.Context) (string, error) {
	latest := ""
	err := d.each(ctx, func(run string) {
		if len(run) > len(latest) || len(run) == len(latest) && run > latest { // ids grow in length, then in the alphabet
			latest = run
		}
	})
	return latest, err
}

// each visits the runs that have a log. Some may be visited twice.
func (d *Dir) each(ctx context.Context, visit func(run string)) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list logs: %w", err)
	}
	for _, e := range entries {
		if validRun().MatchString(e.Name()) {
			visit(e.Name())
		}
	}
	if d.Bucket == nil {
		return nil
	}
	return d.Bucket.each(ctx, visit)
}

// Size is how many bytes the log of a run takes where it is kept. No log is 0
// bytes.
func (d *Dir) Size(ctx context.Context, run string) (int64, error) {
	if !validRun().MatchString(run) {
		return 0, ErrNone
	}
	var size int64
	for _, name := range []string{textFile, indexFile, progressFile} {
		info, err := os.Stat(filepath.Join(d.folder(run), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("size of log: %w", err)
		}
		if err == nil {
			size += info.Size()
		}
	}
	if d.Bucket == nil {
		return size, nil
	}
	a, err := d.Bucket.blobs.Attributes(ctx, key(run))
	if gcerrors.Code(err) == gcerrors.NotFound {
		return size, nil
	}
	if err != nil {
		return 0, fmt.Errorf("size of log: %w", err)
	}
	return size + a.Size, nil
}

// Remove removes a log, archived or not. One that is not there is no error;
// one that is being written is ErrLive.
func (d *Dir) Remove(ctx context.Context, run string) error {
	defer d.turn(run)()
	if err := d.removeHere(run); err != nil {
		return err
	}
	if d.Bucket == nil {
		return nil
	}
	if err := d.Bucket.blobs.Delete(ctx, key(run)); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove log of run %s: %w", run, err)
	}
	return nil
}

// Yield removes the files of a log, and not what is archived: another daemon
// writes it. One that is being written here is ErrLive.
func (d *Dir) Yield(run string) error {
	defer d.turn(run)()
	return d.removeHere(run)
}

// removeHere removes what is not archived. The caller has the turn.
func (d *Dir) removeHere(run string) error {
	if !validRun().MatchString(run) {
		return ErrNone
	}
	if d.isLive(run) != nil {
		return fmt.Errorf("remove log of run %s: %w", run, ErrLive)
	}
	return d.removeFolder(run)
}

// removeFolder removes a run's folder at one stroke: half of one would look
// like a log.
func (d *Dir) removeFolder(run string) error {
	aside := filepath.Join(d.Path, leaving+run)
	err := os.RemoveAll(aside)
	if err == nil {
		err = os.Rename(d.folder(run), aside)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.RemoveAll(aside)
	}
	if err != nil {
		return fmt.Errorf("remove log of run %s: %w", run, err)
	}
	return nil
}

// Recover looks after what an earlier daemon has left. Call it before runs
// start. The logs of runs that have ended are finished, and archived; ended
// must know for each run whether it has, and a run that nobody knows has. The
// logs of other runs are left to Reopen.
func (d *Dir) Recover(ctx context.Context, ended func(ctx context.Context, run string) (bool, error)) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		run := e.Name()
		if strings.HasPrefix(run, leaving) {
			errs = append(errs, os.RemoveAll(filepath.Join(d.Path, run)))
		}
		if !validRun().MatchString(run) || d.isLive(run) != nil {
			continue
		}
		switch over, err := ended(ctx, run); {
		case err != nil:
			errs = append(errs, fmt.Errorf("log of run %s: %w", run, err))
		case over:
			errs = append(errs, d.finish(ctx, run))
		}
	}
	return errors.Join(errs...)
}

// finish ends and archives the log of a run. If another daemon that archives
// in the same place has had more of it, that stays.
func (d *Dir) finish(ctx context.Context, run string) error {
	longer, err := d.isArchivedLonger(ctx, run)
	if err != nil {
		return err
	}
	if longer {
		return d.Yield(run)
	}
	l, err := d.Reopen(run)
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return err
	}
	return d.Archive(ctx, run)
}

// isArchivedLonger says that there is more in the archive than here.
func (d *Dir) isArchivedLonger(ctx context.Context, run string) (bool, error) {
	if d.Bucket == nil {
		return false, nil
	}
	a, err := d.openArchive(ctx, run, []string{textFile})
	if errors.Is(err, ErrNone) || errors.Is(err, errArchive) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = a.Close() }()
	size, err := a.parts[0].Size()
	if err != nil {
		return false, err
	}
	info, err := os.Stat(filepath.Join(d.folder(run), textFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && size > info.Size(), err
}
