package source

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"acrd/steps"
)

// fetchTarball downloads and unpacks at once: what is not kept needs no room.
func (f *Fetcher) fetchTarball(ctx context.Context, c steps.Context, dir string, m *meter, out io.Writer) (*Fetched, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	t := f.newTransport(m)
	defer t.close()
	client := &http.Client{
		Transport:     &bound{base: t, origin: origin(u), credential: f.credential(ctx, c, u.Scheme, u.Host)},
		CheckRedirect: followTarball,
	}
	if shown := c.String(); strings.Contains(strings.ToLower(shown), "github") {
		fmt.Fprintf(out, "WARNING: %s might not be valid context. Valid Git repositories should end with .git.\n", shown)
	}
	fmt.Fprintf(out, "Downloading %s\n", c)
	const attempts = 3
	for attempt := 1; ; attempt++ {
		digest, err := f.download(ctx, client, u, root, m, out)
		if err == nil {
			fmt.Fprintf(out, "Downloaded %s, %s\n", byteSize(m.received.Load()), digest)
			return &Fetched{Digest: digest}, nil
		}
		again := (*transientError)(nil)
		if !errors.As(err, &again) || attempt == attempts {
			return nil, err
		}
		fmt.Fprintf(out, "WARNING: %v: trying again\n", err)
		f.log().Warn("download failed, trying again", "context", c.String(), "attempt", attempt, "err", err)
		if err := clearRoot(root); err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(attempt) * f.pause()):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// A transientError may go away by itself: the connection broke, or the server
// says that it is unwell.
type transientError struct{ error }

func (e *transientError) Unwrap() error { return e.error }

func transient(err error) error {
	for _, lasting := range []error{ErrNoProgress, ErrLimit, ErrDenied, context.Canceled} {
		if errors.Is(err, lasting) {
			return err
		}
	}
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		return err
	}
	if unknown := (*net.DNSError)(nil); errors.As(err, &unknown) && unknown.IsNotFound {
		return err
	}
	return &transientError{err}
}

// pause is how long to wait before the second attempt.
func (f *Fetcher) pause() time.Duration { return min(time.Second, f.Limits.withDefaults().Idle) }

func (f *Fetcher) download(ctx context.Context, client *http.Client, u *url.URL, root *os.Root, m *meter, out io.Writer) (digest string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", plain(err)
	}
	req.Header.Set("User-Agent", "acrd")
	resp, err := client.Do(req)
	if refused := (*redirectError)(nil); errors.As(err, &refused) {
		return "", refused
	} else if err != nil {
		return "", transient(plain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 {
		return "", transient(statusError(resp.StatusCode))
	}
	if resp.StatusCode != http.StatusOK {
		return "", statusError(resp.StatusCode)
	}
	hash := sha256.New()
	src := &faultReader{r: resp.Body}
	err = Extractor{Limits: m.limits, Out: out}.Extract(ctx, io.TeeReader(src, hash), root)
	if src.fault != nil {
		return "", transient(src.fault)
	}
	if err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

// A faultReader remembers that reading failed, which what reads from it may
// take for a broken archive.
type faultReader struct {
	r     io.Reader
	fault error
}

func (f *faultReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.fault = err
	}
	return n, err
}

// A redirectError is a redirect that we do not follow.
type redirectError struct{ error }

// followTarball follows to other hosts, which is how file servers work. The
// credential does not go along (see bound); neither does the address we come
// from, whose query may be one.
func followTarball(req *http.Request, via []*http.Request) error {
	const most = 5
	from := via[len(via)-1].URL
	switch {
	case len(via) > most:
		return &redirectError{fmt.Errorf("redirected more than %d times", most)}
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return &redirectError{errors.New("redirected to something that is not http")}
	case from.Scheme == "https" && req.URL.Scheme == "http":
		return &redirectError{fmt.Errorf("redirected from https to %s", origin(req.URL))}
	}
	req.URL.User = nil
	req.Header.Del("Referer")
	req.Header.Del("Authorization")
	return nil
}
