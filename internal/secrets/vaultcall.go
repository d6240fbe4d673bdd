package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call asks Vault, and again when what went wrong will pass. What it sent is
// in no error, even if Vault says it back.
func (v *Vault) call(ctx context.Context, method, path, token string, body map[string]string) (*vaultReply, error) {
	if err := v.open(); err != nil {
		return nil, err
	}
	var err error
	for pause := 100 * time.Millisecond; ; pause *= 4 {
		var reply *vaultReply
		if reply, err = v.ask(ctx, method, path, token, body); err == nil {
			return reply, nil
		}
		var passing *passingError
		if !errors.As(err, &passing) || pause > time.Second {
			break
		}
		if e := sleep(ctx, pause); e != nil {
			break
		}
	}
	hidden := []string{token, body["secret_id"]}
	return nil, &quietError{err, hidden}
}

func (v *Vault) ask(ctx context.Context, method, path, token string, body map[string]string) (*vaultReply, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, v.Address+"/v1"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Request", "true")
	for key, value := range map[string]string{"X-Vault-Token": token, "X-Vault-Namespace": v.Namespace} {
		if value != "" {
			req.Header.Set(key, value)
		}
	}
	resp, err := v.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if u := new(url.Error); errors.As(err, &u) {
			err = u.Err
		}
		return nil, &passingError{err}
	}
	defer resp.Body.Close()
	return answer(resp)
}

// answer reads a response by Vault's rules: 404 with data is a secret that was
// deleted, 403 is for a token that has run out too.
func answer(resp *http.Response) (*vaultReply, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, 2*MaxValue))
	if err != nil {
		return nil, &passingError{err}
	}
	var reply vaultReply
	broken := json.Unmarshal(b, &reply) != nil
	said := strings.Join(strings.Fields(strings.Join(reply.Errors, "; ")), " ")
	switch {
	case resp.StatusCode == http.StatusOK && !broken:
		return &reply, nil
	case resp.StatusCode == http.StatusOK:
		return nil, errNoAnswer
	case resp.StatusCode == http.StatusNotFound && len(reply.Data) > 0:
		return nil, fmt.Errorf("%w: it was deleted", ErrNotFound)
	case resp.StatusCode == http.StatusNotFound && said == "":
		return nil, ErrNotFound
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, said)
	case resp.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: the daemon's token may not read this, or has run out", ErrDenied)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("it says to go to %s: give that address", host(resp.Header.Get("Location")))
	case said == "":
		said = resp.Status
	}
	err = errors.New(said)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 && !strings.Contains(said, "sealed") {
		return nil, &passingError{err}
	}
	return nil, err
}

func host(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "another place"
	}
	return u.Scheme + "://" + u.Host
}

// A passingError may not happen again.
type passingError struct{ err error }

func (e *passingError) Error() string { return e.err.Error() }
func (e *passingError) Unwrap() error { return e.err }

// shortestHidden keeps a token that a test server has, such as "root", from
// making an error unreadable.
const shortestHidden = 8

// A quietError keeps some words to itself.
type quietError struct {
	err    error
	hidden []string
}

func (e *quietError) Error() string {
	text := e.err.Error()
	for _, h := range e.hidden {
		if len(h) >= shortestHidden {
			text = strings.ReplaceAll(text, h, "***")
		}
	}
	return text
}

func (e *quietError) Unwrap() error { return e.err }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
