package contexts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A Client sends packed folders to a daemon. It may be used concurrently if
// Progress may.
type Client struct {
	// HTTP sends the requests; it knows about sockets and tokens. If nil, a
	// plain one does.
	HTTP *http.Client

	// URL is where Handler is mounted, without /contexts.
	URL string

	// Compress sends contents with zstd. That pays over a network; over a
	// local socket it is a waste.
	Compress bool

	// Progress is told, before the first byte and then often, how many bytes
	// of content went and how many there are to send; not at all if there are
	// none. It starts over if files have to be sent again. The calls of one
	// Upload come one after another. If nil, nobody is told.
	Progress func(sent, total int64)
}

// A ResponseError is a refusal by the daemon.
type ResponseError struct {
	Status  int
	Code    string
	Message string // for the user
	Missing []Digest

	mismatch *Digest
}

func (e *ResponseError) Error() string { return e.Message }

// rounds is how often Upload starts over for contents that the daemon
// collected in between.
const rounds = 4

// Upload makes p's context known to the daemon and sends what it lacks. An
// interrupted Upload is resumed by another one.
//
// If a file changed since it was packed, p is brought up to date and the
// Upload goes on, once; after that it is a *ChangedError. A refusal is a
// *ResponseError.
func (c *Client) Upload(ctx context.Context, p *Packed) (Digest, error) {
	refreshed := false
	for round := 1; ; round++ {
		d, err := c.upload(ctx, p)
		var changed *ChangedError
		switch {
		case err == nil:
			return d, nil
		case errors.As(err, &changed) && !refreshed:
			refreshed = true
			if err := p.refresh(ctx, changed.Path); err != nil {
				return Digest{}, fmt.Errorf("upload context: %w", err)
			}
		case !collected(err) || round == rounds:
			return Digest{}, fmt.Errorf("upload context: %w", err)
		}
	}
}

// collected reports that the daemon made room between planning and sending.
func collected(err error) bool {
	var refused *ResponseError
	return errors.As(err, &refused) && (refused.Code == codeMissing || refused.Code == codeNotFound)
}

func (c *Client) upload(ctx context.Context, p *Packed) (Digest, error) {
	body := bytes.NewReader(p.Manifest.AppendBinary(nil))
	req, err := c.request(ctx, http.MethodPost, "/contexts", body)
	if err != nil {
		return Digest{}, err
	}
	var plan planAnswer
	if err := c.do(req, &plan); err != nil {
		return Digest{}, err
	}
	if len(plan.Missing) == 0 {
		return plan.Digest, nil
	}
	err = c.send(ctx, p, plan)
	var refused *ResponseError
	if errors.As(err, &refused) && refused.mismatch != nil {
		return Digest{}, &ChangedError{Path: p.pathOf(*refused.mismatch)}
	}
	return plan.Digest, err
}

// send streams the missing contents. It returns when the daemon has answered
// and nothing reads the folder any more.
func (c *Client) send(ctx context.Context, p *Packed, plan planAnswer) error {
	progress := c.progress(p.sizeOf(plan.Missing))
	write := func(w io.Writer) error { return p.writeBlobs(ctx, w, plan.Missing, progress) }
	r, w := io.Pipe()
	req, err := c.request(ctx, http.MethodPut, "/contexts/"+plan.Digest.String(), r)
	if err != nil {
		return err
	}
	if c.Compress {
		req.Header.Set("Content-Encoding", "zstd")
		write = compressed(write)
	}
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	err = c.do(req, nil)
	r.Close() // the daemon may have answered before it read all
	writeErr := <-wrote
	if writeErr == nil || errors.Is(writeErr, io.ErrClosedPipe) || errors.As(err, new(*ResponseError)) {
		return err
	}
	return writeErr
}

func compressed(write func(io.Writer) error) func(io.Writer) error {
	return func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := write(z); err != nil {
			return err // without an end, so that the daemon sees a torn stream
		}
		return z.Close()
	}
}

func (c *Client) progress(total int64) func(int64) {
	if c.Progress == nil {
		return func(int64) {}
	}
	sent := int64(0)
	c.Progress(0, total)
	return func(n int64) {
		sent += n
		c.Progress(sent, total)
	}
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	return req, nil
}

// do sends one request and reads the answer into out, or as an error.
func (c *Client) do(req *http.Request, out any) error {
	client := c.HTTP
	if client == nil {
		client = &http.Client{}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return refusal(resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func refusal(status int, body []byte) error {
	var a errorAnswer
	if err := json.Unmarshal(body, &a); err != nil || a.Error.Message == "" {
		a.Error.Message = fmt.Sprintf("the daemon answers %d %s", status, http.StatusText(status))
	}
	return &ResponseError{Status: status, Code: a.Error.Code, Message: a.Error.Message, Missing: a.Missing, mismatch: a.Error.Digest}
}
