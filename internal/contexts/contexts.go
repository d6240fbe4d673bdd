// Package contexts carries a local folder to the daemon, file by file, and
// keeps it there as a tree that a build reads.
//
// Words. A context is a folder as a build sees it. Its Manifest lists what is
// in it, each file by the sha256 of its content; the digest of the list names
// the context. A blob is the content of a file. A Tree is a context laid out
// on the daemon's disk.
//
//	client                            daemon
//	Pack: walk, hash  --manifest-->   Store.Plan: which blobs are not here?
//	                  <--missing---
//	Client.Upload     --blobs----->   Store.Receive: verify, keep
//	                                  Store.Open: lay out, hold; Tree.Close
//
// A file that is already there never travels again, whatever its name or time
// is now, and Pack reads no file that it hashed before and that has not been
// touched since. Both ends are in this package, so that they are read
// together; the client's half builds on every OS.
//
// Trust. All who may plan are one trust domain: whoever can name the sha256 of
// a content may use it without having sent it, and learns from the answer
// whether it is here. A daemon that serves parties who must not know of each
// other needs one Store for each.
package contexts

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// What callers test for. ErrInvalid and ErrTooLarge are the sender's fault
// and their text is for the sender.
var (
	ErrInvalid  = errors.New("invalid context")
	ErrTooLarge = errors.New("context too large")
	ErrNotFound = errors.New("context not found")
)

// A Digest is a sha256: of a file's content, or of a manifest.
type Digest [sha256.Size]byte

const digestPrefix = "sha256:"

// ParseDigest is the inverse of String.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(d)) || strings.ToLower(digits) != digits {
		return Digest{}, fmt.Errorf("%w: digest %.80q is not sha256: and 64 hex digits", ErrInvalid, s)
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return Digest{}, fmt.Errorf("%w: digest %.80q: %w", ErrInvalid, s, err)
	}
	return d, nil
}

// String is "sha256:" and 64 hex digits.
func (d Digest) String() string { return digestPrefix + d.hex() }

func (d Digest) hex() string { return hex.EncodeToString(d[:]) }

// MarshalText makes a Digest a string in JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText refuses everything that MarshalText does not write.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// emptyDigest is the digest of a file without content. It never travels.
var emptyDigest = Digest(sha256.Sum256(nil))
