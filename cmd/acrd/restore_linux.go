package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"acrd/internal/store"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

func restore(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "restore [FLAGS] FILE", `Put what 'acrd backup' has written into a state folder that no daemon uses. The
key that was there at the backup must be there already. What is in the way is
kept, with .replaced behind its name.`)
	var state string
	fs.StringVar(&state, "state", s.getenv("ACRD_STATE"), "the state folder ($ACRD_STATE; default /var/lib/acrd for root)")
	verify := fs.Bool("verify", false, "only say whether the file could be restored")
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	if state, err = stateDir(state); err != nil {
		return err
	}
	r := &restorer{state: state, file: rest[0]}
	defer r.close()
	m, err := r.unpack(ctx)
	if err != nil {
		return fmt.Errorf("restore from %s: %w", rest[0], err)
	}
	if !*verify {
		if err := r.replace(ctx); err != nil {
			return fmt.Errorf("restore from %s: %w", rest[0], err)
		}
	}
	fmt.Fprintf(s.stdout, "%s: backup of %s by acrd %s. ", rest[0], m.Created.Format(time.DateTime), m.Version)
	if *verify {
		fmt.Fprintln(s.stdout, "It is whole, and the key fits.")
		return nil
	}
	fmt.Fprintf(s.stdout, "Restored to %s.\n", state)
	return nil
}

// A restorer unpacks a backup beside the state folder's files, looks at it,
// and only then puts it in their place.
type restorer struct {
	state, file string
	scratch     string
	lock        *os.File
}

func (r *restorer) close() {
	if r.scratch != "" {
		os.RemoveAll(r.scratch)
	}
	if r.lock != nil {
		r.lock.Close()
	}
}

func (r *restorer) unpack(ctx context.Context) (*manifest, error) {
	f, err := os.Open(r.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	archive := tar.NewReader(z)
	m, err := r.readManifest(archive)
	if err != nil {
		return nil, err
	}
	if r.scratch, err = os.MkdirTemp(r.state, ".restore-*"); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(r.scratch)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return m, store.Check(ctx, filepath.Join(r.scratch, storeFile))
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = unpackOne(root, h, archive)
		}
		if err != nil {
			return nil, err
		}
	}
}

// readManifest checks that this daemon can use the backup.
func (r *restorer) readManifest(archive *tar.Reader) (*manifest, error) {
	h, err := archive.Next()
	if err != nil || h.Name != manifestFile {
		return nil, &usageError{"this is no backup of acrd's, or only a part of one"}
	}
	m := &manifest{}
	if err := json.NewDecoder(io.LimitReader(archive, 1<<20)).Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	if m.Format > backupFormat {
		return nil, &usageError{fmt.Sprintf("the backup was made by acrd %s, which is later than this one: restore with that version", m.Version)}
	}
	key, err := keyID(r.state)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("the key %s of the backup is not in %s: put the file %q of the old state folder there first", m.Key, r.state, keyFile)}
	}
	if key != m.Key {
		return nil, &hostError{fmt.Errorf("the backup was sealed with key %s, and the one in %s is %s: put the right one there first", m.Key, r.state, key)}
	}
	return m, nil
}

func unpackOne(root *os.Root, h *tar.Header, from io.Reader) error {
	name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
	if !filepath.IsLocal(name) {
		return fmt.Errorf("the backup has a file %q", h.Name)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, h.FileInfo().Mode().Perm()|0o700)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, from)
		return errors.Join(err, f.Sync(), f.Close())
	}
	return nil
}

// replace puts what was unpacked in the place of what is there.
func (r *restorer) replace(ctx context.Context) error {
	var err error
	if r.lock, err = os.OpenFile(filepath.Join(r.state, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(r.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &usageError{fmt.Sprintf("a daemon is using %s: stop it first", r.state)}
	}
	if err := store.Restore(ctx, filepath.Join(r.scratch, storeFile), filepath.Join(r.state, storeFile)); err != nil {
		return err
	}
	for _, name := range append([]string{imagesFolder}, backedUp...) {
		if err := r.replaceOne(name); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) replaceOne(name string) error {
	from, to := filepath.Join(r.scratch, name), filepath.Join(r.state, name)
	if _, err := os.Lstat(from); err != nil {
		return nil //nolint:nilerr // the backup does not have it
	}
	if err := os.RemoveAll(to + ".replaced"); err != nil {
		return err
	}
	if err := os.Rename(to, to+".replaced"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(from, to)
}
