package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"acrd/internal/pattern"
	"acrd/runner"
)

// Archives keeps the sources that clients upload as archives, the way az does
// it: they ask for an address, put a block blob there, and name its path as
// the source of a run. Whoever has the address may write there until it
// expires. It is safe for concurrent use.
//
// What is inside an archive is looked at when a run takes it apart.
type Archives struct {
	Dir string
	// MaxBytes bounds one archive; 0 means 2 GiB, which is also the most
	// that a run unpacks.
	MaxBytes int64

	once sync.Once
	key  [32]byte // of this process: addresses do not outlive it
}

const (
	archiveLimit = 2 << 30
	// uploadLinkLife is how long an address to upload to is good.
	uploadLinkLife = time.Hour
	// uploadRoot is where those addresses are.
	uploadRoot = "/uploads/"
	maxBlocks  = 50_000 // Azure's
)

// errLink says that an address is not from us, or too old.
var errLink = errors.New("this address is not valid, or not any more: ask for another")

// archivePath is the path of an archive, as listBuildSourceUploadUrl makes it.
var archivePath = pattern.New(`^source/\d{12}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tar\.gz$`)

// newPath is the path of an archive to come.
func newPath(now time.Time) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	h := hex.EncodeToString(b[:])
	return runner.ArchivePrefix + now.UTC().Format("200601021504") + "/" + strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-") + ".tar.gz"
}

// link signs the address of a path.
func (a *Archives) link(path string, expires time.Time) string {
	at := strconv.FormatInt(expires.Unix(), 10)
	return uploadRoot + path + "?" + url.Values{"se": {at}, "sig": {a.sign(path, at)}}.Encode()
}

func (a *Archives) sign(path, expires string) string {
	a.once.Do(func() { _, _ = rand.Read(a.key[:]) })
	mac := hmac.New(sha256.New, a.key[:])
	fmt.Fprintf(mac, "%s\n%s", path, expires)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (a *Archives) checkLink(path string, q url.Values) error {
	expires, err := strconv.ParseInt(q.Get("se"), 10, 64)
	if err != nil || !hmac.Equal([]byte(q.Get("sig")), []byte(a.sign(path, q.Get("se")))) || time.Now().Unix() > expires {
		return errLink
	}
	return nil
}

// file is where an archive is, for its path in a request.
func (a *Archives) file(path string) (string, error) {
	if !archivePath().MatchString(path) {
		return "", fs.ErrNotExist
	}
	return filepath.Join(a.Dir, filepath.FromSlash(path)), nil
}

// Open opens an archive by its path. It is fs.ErrNotExist if there is none.
func (a *Archives) Open(path string) (*os.File, error) {
	name, err := a.file(path)
	if err != nil {
		return nil, err
	}
	return os.Open(name)
}

// check refuses a source that is an archive which has not been uploaded.
func (a *Archives) check(source string) error {
	path, ok := strings.CutPrefix(source, runner.UploadScheme+runner.ArchivePrefix)
	if !ok || a == nil {
		return nil
	}
	f, err := a.Open(runner.ArchivePrefix + path)
	if errors.Is(err, fs.ErrNotExist) {
		return runner.Faults{{Code: "InvalidSourceLocation", Target: "sourceLocation", Message: "There is no upload '" + runner.ArchivePrefix + path + "': put the archive to the address that listBuildSourceUploadUrl gives, first."}}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Sweep removes archives that were uploaded before.
func (a *Archives) Sweep(before time.Time) (freed int64, err error) {
	minutes, err := os.ReadDir(filepath.Join(a.Dir, "source"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, m := range minutes {
		at, e := time.Parse("200601021504", m.Name())
		if e != nil || at.After(before) {
			continue
		}
		dir := filepath.Join(a.Dir, "source", m.Name())
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					freed += info.Size()
				}
			}
			return nil
		})
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return freed, err
}

func (s *Server) uploadURL(w http.ResponseWriter, r *http.Request) error {
	path := newPath(time.Now())
	return reply(w, http.StatusOK, struct {
		UploadURL    string `json:"uploadUrl"`
		RelativePath string `json:"relativePath"`
	}{scheme(r) + "://" + s.address(r) + s.Archives.link(path, time.Now().Add(uploadLinkLife)), path})
}

// Uploads serves the addresses to upload to. They are good without a token.
func (s *Server) Uploads() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Request-Id", rand.Text())
		w.Header().Set("X-Ms-Version", r.Header.Get("X-Ms-Version"))
		if err := s.Archives.serve(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

// serve is the part of Azure's blob service that uploads a block blob: whole
// (Put Blob), or in blocks (Put Block, Put Block List).
func (a *Archives) serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, uploadRoot)
	q := r.URL.Query()
	if err := a.checkLink(path, q); err != nil {
		return err
	}
	name, err := a.file(path)
	if err != nil {
		return errLink
	}
	if r.Method != http.MethodPut {
		return runner.Faults{{Code: "UnsupportedHttpVerb", Target: "method", Message: "An archive is uploaded with PUT."}}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	switch q.Get("comp") {
	case "":
		err = a.put(w, r, name)
	case "block":
		err = a.putBlock(w, r, name, q.Get("blockid"))
	case "blocklist":
		err = a.putBlockList(w, r, name)
	default:
		err = runner.Faults{{Code: "InvalidQueryParameterValue", Target: "comp", Message: "It is none, block or blocklist."}}
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+rand.Text()+`"`)
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (a *Archives) limit() int64 {
	if a.MaxBytes > 0 {
		return a.MaxBytes
	}
	return archiveLimit
}

func (a *Archives) put(w http.ResponseWriter, r *http.Request, name string) error {
	if kind := r.Header.Get("X-Ms-Blob-Type"); kind != "" && !strings.EqualFold(kind, "BlockBlob") {
		return runner.Faults{{Code: "InvalidHeaderValue", Target: "x-ms-blob-type", Message: "Archives are block blobs."}}
	}
	return write(name, http.MaxBytesReader(w, r.Body, a.limit()))
}

// blocks is the folder of a blob's blocks until their list is there.
func blocks(name string) string { return name + ".blocks" }

func blockFile(name, id string) string {
	return filepath.Join(blocks(name), hex.EncodeToString([]byte(id)))
}

func (a *Archives) putBlock(w http.ResponseWriter, r *http.Request, name, id string) error {
	if id == "" || len(id) > 100 {
		return runner.Faults{{Code: "InvalidQueryParameterValue", Target: "blockid", Message: "A block has an id of 1 to 100 characters."}}
	}
	if err := os.MkdirAll(blocks(name), 0o700); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	left, err := a.room(name)
	if err != nil {
		return err
	}
	return write(blockFile(name, id), http.MaxBytesReader(w, r.Body, left))
}

// room is how many more bytes of blocks there may be.
func (a *Archives) room(name string) (int64, error) {
	entries, err := os.ReadDir(blocks(name))
	if err != nil {
		return 0, fmt.Errorf("upload: %w", err)
	}
	left := a.limit()
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			left -= info.Size()
		}
	}
	if left < 0 || len(entries) > maxBlocks {
		return 0, &http.MaxBytesError{Limit: a.limit()}
	}
	return left, nil
}

func (a *Archives) putBlockList(w http.ResponseWriter, r *http.Request, name string) error {
	var list struct {
		IDs []string `xml:",any"`
	}
	if err := xml.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&list); err != nil {
		return runner.Faults{{Code: "InvalidXmlDocument", Target: "body", Message: "The list of blocks is not XML: " + err.Error() + "."}}
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(join(pw, name, list.IDs, a.limit())) }()
	err := write(name, pr)
	pr.Close()
	if err != nil {
		return err
	}
	return os.RemoveAll(blocks(name))
}

// join writes blocks in the order of their ids.
func join(w io.Writer, name string, ids []string, limit int64) error {
	for _, id := range ids {
		f, err := os.Open(blockFile(name, id))
		if errors.Is(err, fs.ErrNotExist) {
			return runner.Faults{{Code: "InvalidBlockList", Target: id, Message: "There is no such block."}}
		}
		if err != nil {
			return err
		}
		n, err := io.Copy(w, f)
		err = errors.Join(err, f.Close())
		if err != nil {
			return err
		}
		if limit -= n; limit < 0 { // the same block again and again
			return &http.MaxBytesError{Limit: limit}
		}
	}
	return nil
}

// write puts what r has in a file, whole or not at all.
func write(name string, r io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".upload-*")
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Close())
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("upload: %w", runner.ErrNoSpace)
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return os.Rename(f.Name(), name)
}
