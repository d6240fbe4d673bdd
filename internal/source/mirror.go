package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acrd/steps"
)

// A mirror is the bare repository in which the commits of one remote, fetched
// with one credential, are kept. Each fetched object has a ref of its own,
// refs/acrd/<hash>: it says that all of the object's files are there, and it
// is what the next fetch tells the server it has.
//
// A mirror is a cache. It is thrown away when it has grown over the limit, and
// when a run of git in it was killed.
type mirror struct {
	f   *Fetcher
	dir string
}

// mirrors is the folder of Fetcher.Dir that they are in.
const mirrors = "git"

// withMirror calls use while it holds the mirror of c alone. Two credentials
// have two mirrors, so that nobody is served what only another may read.
func (f *Fetcher) withMirror(ctx context.Context, c steps.Context, cred credential, use func(*mirror) error) error {
	sum := sha256.Sum256([]byte(strings.TrimRight(c.URL, "/") + "\x00" + cred.user + "\x00" + cred.password))
	key := hex.EncodeToString(sum[:16])
	unlock, err := f.mirrors.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()

	scratch, err := filepath.Abs(f.Dir)
	if err != nil {
		return err
	}
	m := &mirror{f: f, dir: filepath.Join(scratch, mirrors, key)}
	if err := os.MkdirAll(filepath.Dir(m.dir), 0o700); err != nil {
		return fmt.Errorf("make mirror: %w", cause(err))
	}
	unfinished, err := m.mark()
	if err != nil {
		return err
	}
	if unfinished || m.size() > f.Limits.withDefaults().Bytes {
		if err := os.RemoveAll(m.dir); err != nil {
			return fmt.Errorf("remove mirror: %w", cause(err))
		}
	}
	err = use(m)
	if err != nil {
		err = errors.Join(err, m.sweep(ctx))
	}
	return errors.Join(err, m.touch(), m.unmark())
}

// mark says that the mirror is being written to or removed. If it said so
// before, a process has ended in the middle.
func (m *mirror) mark() (unfinished bool, err error) {
	_, err = os.Lstat(m.busy())
	unfinished = err == nil
	if err := os.WriteFile(m.busy(), nil, 0o600); err != nil {
		return false, fmt.Errorf("mark mirror: %w", cause(err))
	}
	return unfinished, nil
}

func (m *mirror) unmark() error { return os.Remove(m.busy()) }

func (m *mirror) busy() string { return m.dir + ".busy" }

// touch notes that the mirror was used, for Prune.
func (m *mirror) touch() error {
	now := time.Now()
	if err := os.Chtimes(m.dir, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Prune removes the mirrors of repositories that have not been fetched for
// that long. It may be called while others are being fetched.
func (f *Fetcher) Prune(ctx context.Context, unused time.Duration) error {
	dir := filepath.Join(f.Dir, mirrors)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		err = errors.Join(err, f.pruneMirror(ctx, filepath.Join(dir, entry.Name()), unused))
	}
	return err
}

func (f *Fetcher) pruneMirror(ctx context.Context, dir string, unused time.Duration) error {
	unlock, err := f.mirrors.lock(ctx, filepath.Base(dir))
	if err != nil {
		return err
	}
	defer unlock()
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < unused {
		return nil // it has gone, or is no mirror
	}
	f.log().Info("mirror removed", "mirror", info.Name(), "used", info.ModTime())
	m := &mirror{f: f, dir: dir}
	if _, err := m.mark(); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return m.unmark()
}

// suspect removes the mirror if git could not read it, so that it is not in the
// way of the next fetch.
func (m *mirror) suspect(err error) error {
	if unread := (*gitError)(nil); errors.As(err, &unread) {
		return errors.Join(err, os.RemoveAll(m.dir))
	}
	return err
}

// sweep removes what a failed run of git has left behind.
func (m *mirror) sweep(ctx context.Context) error {
	if ctx.Err() != nil {
		return os.RemoveAll(m.dir)
	}
	left, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "tmp_*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (m *mirror) size() int64 {
	var total int64
	_ = filepath.WalkDir(m.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // what cannot be read is not counted
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

func (m *mirror) exists() bool {
	_, err := os.Lstat(filepath.Join(m.dir, "HEAD"))
	return err == nil
}

// init makes the repository unless it is there.
func (m *mirror) init(ctx context.Context, hash string) error {
	if m.exists() {
		return nil
	}
	return m.f.git(ctx, gitCommand{args: []string{
		"init", "--quiet", "--bare", "--template=", "--object-format=" + objectFormat(hash), "--", m.dir,
	}})
}

// objectFormat is the algorithm that made hash.
func objectFormat(hash string) string {
	if len(hash) == sha256.Size*2 {
		return "sha256"
	}
	return "sha1"
}

func keptRef(hash string) string { return "refs/acrd/" + hash }

// has tells whether all of the object is in the mirror.
func (m *mirror) has(ctx context.Context, hash string) bool {
	return m.exists() && m.f.git(ctx, gitCommand{gitDir: m.dir, args: []string{"rev-parse", "--quiet", "--verify", "--end-of-options", keptRef(hash)}}) == nil
}

// renewing calls fill, which fetches. If git cannot do that with what is kept
// from earlier fetches, whatever has become of it or of the server's repository
// since, fill is called again with nothing there.
func (m *mirror) renewing(ctx context.Context, fill func() error) error {
	_, absent := os.Lstat(m.dir)
	err := fill()
	if refused := (*gitError)(nil); absent != nil || !errors.As(err, &refused) || ctx.Err() != nil {
		return err
	}
	m.f.log().Warn("mirror made anew", "mirror", filepath.Base(m.dir), "err", err)
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("remove mirror: %w", cause(err))
	}
	return fill()
}

// fetch brings the object into the mirror.
func (m *mirror) fetch(ctx context.Context, from *peer, hash string) error {
	return m.renewing(ctx, func() error { return m.fetchObject(ctx, from, hash) })
}

// fetchObject fetches the object alone if the server gives it out by its hash,
// or else with all that the server has.
func (m *mirror) fetchObject(ctx context.Context, from *peer, hash string) error {
	if err := m.init(ctx, hash); err != nil {
		return err
	}
	err := m.run(ctx, from, []string{"--depth=1"}, "+"+hash+":"+keptRef(hash))
	if refused := (*gitError)(nil); !errors.As(err, &refused) || ctx.Err() != nil {
		return err
	} else if strings.Contains(refused.said, "not our ref") {
		return fmt.Errorf("commit %s is not in the repository", hash)
	}
	if err := m.fetchAll(ctx, from); err != nil {
		return err
	}
	return m.keep(ctx, hash)
}

// fetchAll brings every branch and tag, with their history.
func (m *mirror) fetchAll(ctx context.Context, from *peer) error {
	everything := []string{"+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"}
	options := []string{"--prune"} // a branch may have become a folder of branches
	if _, err := os.Lstat(filepath.Join(m.dir, "shallow")); err == nil {
		options = append(options, "--unshallow")
	}
	return m.run(ctx, from, options, everything...)
}

func (m *mirror) run(ctx context.Context, from *peer, options []string, refspecs ...string) error {
	args := slices.Concat([]string{"fetch"}, options, []string{
		"--progress", "--no-tags", "--no-write-fetch-head",
		"--no-recurse-submodules", "--no-auto-maintenance", "--end-of-options", from.url,
	}, refspecs)
	return m.f.git(ctx, gitCommand{gitDir: m.dir, peer: from, args: args})
}

// keep gives the object, which has come with others, its ref.
func (m *mirror) keep(ctx context.Context, hash string) error {
	err := m.f.git(ctx, gitCommand{gitDir: m.dir, args: []string{"update-ref", keptRef(hash), hash}})
	if refused := (*gitError)(nil); errors.As(err, &refused) {
		return fmt.Errorf("commit %s is not in the repository", hash)
	}
	return err
}

// tidy merges packs, of which each fetch makes one.
func (m *mirror) tidy(ctx context.Context) error {
	const most = 40
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= most {
		return err
	}
	return m.f.git(ctx, gitCommand{gitDir: m.dir, args: []string{"repack", "--geometric=2", "-d", "--quiet"}})
}
