package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Key seals values that rest on a disk or in a database. It is safe for
// concurrent use.
type Key struct{ aead cipher.AEAD }

// ErrSealed says that a sealed value cannot be opened: it was sealed with
// another key or for another name, or it has been changed.
var ErrSealed = errors.New("the value was sealed with another key, or has been changed")

const (
	keySize = 32 // AES-256
	// sealed1 is the first byte of a value sealed with AES-256-GCM: then come
	// the nonce and what the cipher makes.
	sealed1 = 1
)

// OpenKeyFile reads the key in path, and makes one when there is none. A file
// that others can read or that belongs to another user is refused: what is
// sealed with it would be no secret.
func OpenKeyFile(path string) (*Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeyFile(path); err != nil {
			return nil, fmt.Errorf("make key file: %w", err)
		}
		f, err = os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	if err := checkKeyFile(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if len(b) != keySize {
		return nil, fmt.Errorf("the key file %s does not hold %d bytes: restore it from a backup; without it what was sealed is lost", path, keySize)
	}
	return newKey(b)
}

func newKey(b []byte) (*Key, error) {
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead}, nil
}

// checkKeyFile looks at the file that is open, not at a name that may come to
// mean another.
func checkKeyFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("the key file %s is not a regular file", f.Name())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("the key file %s has mode %04o, so that others can read it: chmod 600 it, and replace the secrets that it seals", f.Name(), mode)
	}
	if uid, ok := owner(info); ok && uid != os.Geteuid() {
		return fmt.Errorf("the key file %s belongs to user %d, and this process is user %d: chown it, or run as its owner", f.Name(), uid, os.Geteuid())
	}
	return nil
}

// makeKeyFile writes a new key. Of two processes that do, one wins, and both
// go on with its key; a crash leaves a whole file or none.
func makeKeyFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Seal encrypts plain so that only Open with the same key reads it.
func (k *Key) Seal(plain []byte) ([]byte, error) { return k.SealFor("", plain) }

// Open decrypts what Seal made. It is ErrSealed if that cannot be.
func (k *Key) Open(sealed []byte) ([]byte, error) { return k.OpenFor("", sealed) }

// SealFor seals a value that opens under this name only, so that whoever can
// write the database cannot pass one secret off as another.
func (k *Key) SealFor(name string, plain []byte) ([]byte, error) {
	out := make([]byte, 1+k.aead.NonceSize(), 1+k.aead.NonceSize()+len(plain)+k.aead.Overhead())
	out[0] = sealed1
	_, _ = rand.Read(out[1:]) // never fails
	return k.aead.Seal(out, out[1:], plain, []byte(name)), nil
}

// OpenFor opens what SealFor made for the same name.
func (k *Key) OpenFor(name string, sealed []byte) ([]byte, error) {
	head := 1 + k.aead.NonceSize()
	if len(sealed) < head+k.aead.Overhead() {
		return nil, ErrSealed
	}
	if sealed[0] != sealed1 {
		return nil, fmt.Errorf("the value is sealed in form %d, which this version of acrd does not know", sealed[0])
	}
	plain, err := k.aead.Open(nil, sealed[1:head], sealed[head:], []byte(name))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
