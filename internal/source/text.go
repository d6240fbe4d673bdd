package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Bounds of Text: acb waits 2 s for a list of aliases.
const (
	textTimeout = 2 * time.Second
	maxText     = 1 << 20
)

// Text gets a small file by http or https, such as a list of aliases, under
// the same policy of addresses and redirects as a context.
func (f *Fetcher) Text(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("it is not an http or https URL")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, textTimeout, ErrNoProgress)
	defer cancel()
	limits := f.Limits.withDefaults()
	m := &meter{limits: limits}
	transport := f.newTransport(m)
	defer transport.close()
	client := &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 5 || !sameOrUpgraded(via[0].URL, req.URL) {
			return errors.New("it redirects to another host")
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		return nil, statusError(resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%w: larger than 1 MiB", ErrLimit)
	}
	return b, err
}
