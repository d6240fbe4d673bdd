package logs

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"acrd/runner"
)

// LinkPrefix is where Handler is to be mounted.
const LinkPrefix = "/logs/"

// Link is the path and query by which a run's log can be read over HTTP
// without a token until it expires, as ACR's listLogSasUrl gives them. Who has
// the link can read that log, and no other.
func (d *Dir) Link(run string, expires time.Time) string {
	until := expires.UTC().Format(time.RFC3339)
	q := url.Values{"se": {until}, "sp": {"r"}, "sr": {"b"}, "sig": {d.sign(run, until)}}
	return LinkPrefix + run + "/rawtext.log?" + q.Encode()
}

func (d *Dir) sign(run, until string) string {
	h := hmac.New(sha256.New, d.Key)
	fmt.Fprintf(h, "log\n%s\n%s", run, until)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Handler serves what links name, as Azure's storage serves an append blob
// that is being written: by ranges, with metadata that says when it is
// complete, and then what the run has ended as. It asks for no token.
func (d *Dir) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+LinkPrefix+"{run}/rawtext.log", d.serveLink)
	return mux
}

func (d *Dir) serveLink(w http.ResponseWriter, r *http.Request) {
	run, q := r.PathValue("run"), r.URL.Query()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	expires, err := time.Parse(time.RFC3339, q.Get("se"))
	if err != nil || len(d.Key) == 0 || !hmac.Equal([]byte(q.Get("sig")), []byte(d.sign(run, q.Get("se")))) || time.Now().After(expires) {
		blobError(w, http.StatusForbidden, "AuthenticationFailed", "this link is wrong, or has expired: ask for another")
		return
	}
	s, err := d.open(r.Context(), run, textFile)
	if errors.Is(err, ErrNone) {
		blobError(w, http.StatusNotFound, "BlobNotFound", ErrNone.Error())
		return
	}
	if err != nil {
		blobError(w, http.StatusInternalServerError, "InternalError", "the log cannot be read")
		return
	}
	defer func() { _ = s.Close() }()
	size, more, err := s.state()
	if err != nil {
		blobError(w, http.StatusInternalServerError, "InternalError", "the log cannot be read")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Ms-Blob-Type", "AppendBlob")
	tag := strconv.FormatInt(size, 10)
	if !more && (s.await.dir == nil || !d.goesOn(r.Context(), run)) {
		tag += "-complete"
		h.Set("X-Ms-Meta-Complete", d.outcome(r.Context(), run))
	}
	h.Set("ETag", `"`+tag+`"`)
	if x := r.Header.Get("X-Ms-Range"); x != "" { // what Azure's own clients send
		r.Header.Set("Range", x)
	}
	if size == 0 && r.Header.Get("Range") != "" {
		blobError(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "there is nothing yet")
		return
	}
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(s.parts[0], 0, size))
}

func blobError(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("X-Ms-Error-Code", code)
	http.Error(w, text, status)
}

// outcome is what a run has ended as, in the words of ACR's log metadata.
func (d *Dir) outcome(ctx context.Context, run string) string {
	if d.Outcome == nil {
		return "successful"
	}
	status, err := d.Outcome(ctx, run)
	switch {
	case err != nil: // it is not known any more
		return "successful"
	case status == runner.Failed:
		return "failed"
	case status == runner.Canceled:
		return "canceled"
	case status == runner.Timeout:
		return "timedout"
	case status == runner.Error:
		return "internalerror"
	}
	return "successful"
}

const keySize = 32

// LinkKey is the key in a file, which is made if there is none.
func LinkKey(file string) ([]byte, error) {
	k, err := os.ReadFile(file)
	if err == nil && len(k) >= keySize {
		return k, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key of log links: %w", err)
	}
	k = make([]byte, keySize)
	_, _ = rand.Read(k) // never fails
	if err := os.WriteFile(file, k, 0o600); err != nil {
		return nil, fmt.Errorf("key of log links: %w", err)
	}
	return k, nil
}
