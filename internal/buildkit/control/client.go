package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// ErrRefused is an answer of the engine that is not a success: the request was
// wrong, or the engine could not do it.
var ErrRefused = errors.New("engine refused")

// A Client talks to one engine child behind its unix socket. It is safe for
// concurrent use. A child that dies cuts every call that is under way.
type Client struct {
	http *http.Client
	life string
}

// NewClient is for the child whose Config has this life. It connects when it
// is first used.
func NewClient(socket, life string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: dial, MaxIdleConnsPerHost: 16, WriteBufferSize: 32 << 10, ReadBufferSize: 64 << 10,
	}}, life}
}

// OpenRun readies the place of a run.
func (c *Client) OpenRun(ctx context.Context, run string, o OpenRun) error {
	return c.call(ctx, http.MethodPut, "/runs/"+run, o, nil)
}

// CloseRun ends everything in a run and returns when nothing is left of it.
func (c *Client) CloseRun(ctx context.Context, run string) error {
	return c.call(ctx, http.MethodDelete, "/runs/"+run, nil, nil)
}

// Push sends an image to a registry.
func (c *Client) Push(ctx context.Context, run string, p Push) (Pushed, error) {
	var pushed Pushed
	err := c.call(ctx, http.MethodPost, "/runs/"+run+"/push", p, &pushed)
	return pushed, err
}

// Stop ends an execution; its stream says how it ended.
func (c *Client) Stop(ctx context.Context, run, exec string, s Stop) error {
	return c.call(ctx, http.MethodPost, "/runs/"+run+"/exec/"+url.PathEscape(exec)+"/stop", s, nil)
}

// FreeSpace asks for a garbage collection now.
func (c *Client) FreeSpace(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/free-space", nil, nil)
}

// Output is where the frames of an execution go. Nil fields discard.
type Output struct {
	Started        func()
	Notice         func(line string)
	Stdout, Stderr io.Writer
}

// Exec runs a command and returns how it ended. When ctx ends first, the
// connection is cut and the engine kills the command without grace; to end it
// in an orderly way, call Stop and let Exec return.
func (c *Client) Exec(ctx context.Context, run string, e Exec, out Output) (Exit, error) {
	resp, err := c.send(ctx, http.MethodPost, "/runs/"+run+"/exec", e)
	if err != nil {
		return Exit{}, err
	}
	defer resp.Body.Close()
	return out.read(bufio.NewReaderSize(resp.Body, 64<<10))
}

func (o Output) read(r io.Reader) (Exit, error) {
	var buf []byte
	for {
		kind, b, grown, err := readFrame(r, buf)
		if err != nil {
			return Exit{}, fmt.Errorf("execution cut off: %w", err)
		}
		buf = grown
		switch kind {
		case FrameStarted:
			if o.Started != nil {
				o.Started()
			}
		case FrameStdout:
			err = writeTo(o.Stdout, b)
		case FrameStderr:
			err = writeTo(o.Stderr, b)
		case FrameNotice:
			if o.Notice != nil {
				o.Notice(string(b))
			}
		case FrameExit:
			var e Exit
			err := json.Unmarshal(b, &e)
			return e, err
		}
		if err != nil {
			return Exit{}, err
		}
	}
}

func writeTo(w io.Writer, b []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(b)
	return err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// send returns a response whose status is a success; the caller closes it.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(LifeHeader, c.life)
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("engine: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return nil, fmt.Errorf("%w: %s", ErrRefused, bytes.TrimSpace(text))
}
