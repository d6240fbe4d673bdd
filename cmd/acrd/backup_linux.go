package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"acrd/internal/store"

	"github.com/klauspost/compress/zstd"
)

// A backup is a tar archive, compressed with zstd. Its first file says what it
// is; then come the store as it was at one moment, and files of the state
// folder under their own names. The key is not in it: who finds the backup
// must not be able to read the secrets in it.

// manifestFile is the first file of a backup.
const manifestFile = "manifest.json"

// A manifest says what a backup is.
type manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	// Key tells the key that opens what is sealed, without giving it away.
	Key    string `json:"key"`
	Images bool   `json:"images"`
}

// backupFormat is what this version writes, and the latest that it reads.
const backupFormat = 1

// backedUp are the files and folders of the state folder that a backup has
// beside the store. The rest is cache, or belongs to one process. The owner's
// token is made anew.
var backedUp = []string{nameFile, "logs", "log-archive", "uploads"}

// imagesFolder is in a backup if that is asked for.
const imagesFolder = "registry"

func backup(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "backup [FLAGS] FILE", `Write runs, tasks, tokens, secrets and logs to a file, as they are now. The
daemon may go on meanwhile. Secrets stay sealed: keep the file "key" of the
state folder as well, somewhere else.`)
	var state string
	fs.StringVar(&state, "state", s.getenv("ACRD_STATE"), "the daemon's state folder ($ACRD_STATE; default /var/lib/acrd for root)")
	images := fs.Bool("images", false, "also the images in the registry")
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if state, err = stateDir(state); err != nil {
		return err
	}
	b := &backupWriter{state: state, images: *images}
	if err := b.write(ctx, rest[0]); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	info, err := os.Stat(rest[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(s.stdout, "%s: %d bytes. Restoring it needs %s, which is not in it.\n", rest[0], info.Size(), filepath.Join(state, keyFile))
	return nil
}

type backupWriter struct {
	state  string
	images bool
	tar    *tar.Writer
}

// write leaves a whole file or none.
func (b *backupWriter) write(ctx context.Context, path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".acrd-backup-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		os.Remove(f.Name()) // fails if it has got its name
	}()
	z, err := zstd.NewWriter(f)
	if err != nil {
		return err
	}
	b.tar = tar.NewWriter(z)
	if err := b.fill(ctx, filepath.Dir(path)); err != nil {
		return err
	}
	if err := errors.Join(b.tar.Close(), z.Close(), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (b *backupWriter) fill(ctx context.Context, scratch string) error {
	key, err := keyID(b.state)
	if err != nil {
		return err
	}
	text, err := json.Marshal(manifest{backupFormat, version, time.Now().UTC(), key, b.images})
	if err != nil {
		return err
	}
	if err := b.header(manifestFile, int64(len(text)), 0o600, tar.TypeReg); err != nil {
		return err
	}
	if _, err := b.tar.Write(text); err != nil {
		return err
	}
	// The store first: what it knows of is in the folders already.
	if err := b.addStore(ctx, scratch); err != nil {
		return err
	}
	names := backedUp
	if b.images {
		names = append(slices.Clip(names), imagesFolder)
	}
	for _, name := range names {
		if err := b.addTree(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (b *backupWriter) addStore(ctx context.Context, scratch string) error {
	dir, err := os.MkdirTemp(scratch, ".acrd-backup-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, storeFile)
	err = store.BackupFile(ctx, filepath.Join(b.state, storeFile), copied)
	if errors.Is(err, fs.ErrNotExist) {
		return &usageError{fmt.Sprintf("there is no %s in %s: is it the state folder? Records on PostgreSQL are backed up with pg_dump", storeFile, b.state)}
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(copied)
	if err != nil {
		return err
	}
	return b.addFile(copied, storeFile, info)
}

// addTree adds a file or folder. What goes away meanwhile is left out, and
// what grows is cut: logs do both.
func (b *backupWriter) addTree(ctx context.Context, name string) error {
	return filepath.WalkDir(filepath.Join(b.state, name), func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.state, path)
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			return b.header(rel, 0, info.Mode().Perm(), tar.TypeDir)
		case info.Mode().IsRegular():
			return b.addFile(path, rel, info)
		}
		return nil
	})
}

func (b *backupWriter) addFile(path, name string, info fs.FileInfo) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.header(name, info.Size(), info.Mode().Perm(), tar.TypeReg); err != nil {
		return err
	}
	_, err = io.CopyN(b.tar, f, info.Size())
	return err
}

func (b *backupWriter) header(name string, size int64, mode fs.FileMode, kind byte) error {
	return b.tar.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Size: size, Mode: int64(mode), Typeflag: kind})
}

// keyID tells keys apart.
func keyID(state string) (string, error) {
	key, err := os.ReadFile(filepath.Join(state, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", &usageError{fmt.Sprintf("there is no key in %s: is it the state folder of a daemon?", state)}
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte("acrd key "), key...))
	return hex.EncodeToString(sum[:8]), nil
}
