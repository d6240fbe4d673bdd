package contexts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The messages between Client and Handler. Paths are below a prefix of the
// daemon's choice.
//
//	POST /contexts             a manifest   200 planAnswer
//	PUT  /contexts/{digest}    a blob stream, as it is or with
//	                           Content-Encoding: zstd      204
//
// Anything else is an errorAnswer: 400 for a sender that is wrong, 404 for a
// context that is not planned (any more), 409 with the list of what is
// missing (still), 413 for what is over the limits, 507 for a full disk.
type planAnswer struct {
	Digest  Digest   `json:"digest"`
	Missing []Digest `json:"missing"`
}

type errorAnswer struct {
	Error struct {
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Digest  *Digest `json:"digest,omitempty"` // the content that is wrong
	} `json:"error"`
	Missing []Digest `json:"missing,omitempty"`
}

// The codes of an errorAnswer.
const (
	codeInvalid  = "InvalidContext"
	codeMismatch = "ContentMismatch"
	codeNotFound = "ContextNotFound"
	codeMissing  = "ContentMissing"
	codeTooLarge = "ContextTooLarge"
	codeNoSpace  = "InsufficientStorage"
	codeInternal = "InternalError"

	codeInterrupted = "TransferInterrupted"
)

// idleLimit is how long a sender may send nothing.
const idleLimit = time.Minute

// Handler serves s at /contexts. Who may send is for a handler in front of it
// to decide, and a prefix for http.StripPrefix to remove.
func Handler(s *Store) http.Handler {
	mux := http.NewServeMux()
	for operation, serve := range (&handler{store: s}).operations() {
		mux.HandleFunc(operation, serve)
	}
	return mux
}

// Operations are what Handler serves, as docs/openapi.yaml names them but for
// the prefix.
func Operations() []string { return slices.Collect(maps.Keys(new(handler).operations())) }

type handler struct{ store *Store }

func (h *handler) operations() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST /contexts":         h.plan,
		"PUT /contexts/{digest}": h.receive,
	}
}

func (h *handler) plan(w http.ResponseWriter, r *http.Request) {
	m, err := ReadManifest(body(w, r), h.store.Limits)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	missing, err := h.store.Plan(r.Context(), m)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	answer := planAnswer{Digest: m.Digest(), Missing: append([]Digest{}, missing...)} // never null
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (h *handler) receive(w http.ResponseWriter, r *http.Request) {
	d, err := ParseDigest(r.PathValue("digest"))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	stream, err := decoded(body(w, r), r.Header.Get("Content-Encoding"))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer stream.Close()
	if err := h.store.Receive(r.Context(), d, stream); err != nil {
		h.refuse(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// decoded undoes the encoding. What a small body may become needs no limit of
// its own, since Receive takes no more than the manifest lists.
func decoded(r io.Reader, encoding string) (io.ReadCloser, error) {
	switch encoding {
	case "", "identity":
		return io.NopCloser(r), nil
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, fmt.Errorf("read zstd: %w", err)
		}
		return &zstdStream{z: z}, nil
	}
	return nil, fmt.Errorf("%w: Content-Encoding %.40q; send zstd or none", ErrInvalid, encoding)
}

// A zstdStream blames the sender for what is no zstd.
type zstdStream struct{ z *zstd.Decoder }

func (s *zstdStream) Read(p []byte) (int, error) {
	n, err := s.z.Read(p)
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, errInterrupted) {
		return n, err
	}
	return n, fmt.Errorf("%w: %w", ErrInvalid, err)
}

func (s *zstdStream) Close() error {
	s.z.Close()
	return nil
}

// errInterrupted marks what went wrong with the connection.
var errInterrupted = errors.New("transfer interrupted")

// body reads the request and cuts off a sender that stalls.
func body(w http.ResponseWriter, r *http.Request) io.Reader {
	return &bodyReader{r: r.Body, control: http.NewResponseController(w)}
}

type bodyReader struct {
	r       io.Reader
	control *http.ResponseController
	until   time.Time
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if now := time.Now(); b.until.Sub(now) < idleLimit/2 { // not on every read
		b.until = now.Add(idleLimit)
		_ = b.control.SetReadDeadline(b.until) // where there is none, the server's own limits have to do
	}
	n, err := b.r.Read(p)
	if err == nil {
		return n, nil
	}
	_ = b.control.SetReadDeadline(time.Time{}) // what is left to do takes as long as it takes
	if err == io.EOF {
		return n, err
	}
	return n, fmt.Errorf("%w: %w", errInterrupted, err)
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if status, _ := answerTo(err); status == http.StatusInternalServerError && context.Cause(r.Context()) == nil {
		h.store.log().Error("serve context", "method", r.Method, "err", err)
	}
	WriteError(w, err)
}

// WriteError answers with an error of this package as Handler does. It is for
// handlers that call Store.Open themselves: their client uploads again on 404
// and 409.
func WriteError(w http.ResponseWriter, err error) {
	status, answer := answerTo(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if not
}

func answerTo(err error) (int, *errorAnswer) {
	answer := &errorAnswer{}
	answer.Error.Message = err.Error()
	status := 0
	var missing *MissingError
	var mismatch *MismatchError
	switch {
	case errors.As(err, &missing):
		status, answer.Error.Code, answer.Missing = http.StatusConflict, codeMissing, missing.Digests
	case errors.As(err, &mismatch):
		status, answer.Error.Code, answer.Error.Digest = http.StatusBadRequest, codeMismatch, &mismatch.Digest
	case errors.Is(err, ErrInvalid):
		status, answer.Error.Code = http.StatusBadRequest, codeInvalid
	case errors.Is(err, errInterrupted):
		status, answer.Error.Code = http.StatusBadRequest, codeInterrupted
	case errors.Is(err, ErrTooLarge):
		status, answer.Error.Code = http.StatusRequestEntityTooLarge, codeTooLarge
	case errors.Is(err, ErrNotFound):
		status, answer.Error.Code = http.StatusNotFound, codeNotFound
	case errors.Is(err, syscall.ENOSPC):
		status, answer.Error.Code = http.StatusInsufficientStorage, codeNoSpace
		answer.Error.Message = "no space left for the context on the daemon's disk"
	default: // its text may name paths of the host
		status, answer.Error.Code = http.StatusInternalServerError, codeInternal
		answer.Error.Message = "the context could not be stored; the daemon's log says why"
	}
	return status, answer
}
