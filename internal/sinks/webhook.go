package sinks

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/internal/address"

	"golang.org/x/net/http/httpguts"
)

// A WebHook posts events to an endpoint, as Event Grid does or as ACR's
// webhooks do. Redirects are not followed, and variables of the environment
// that name a proxy are not read.
type WebHook struct {
	*target
	client *http.Client
	keys   func(context.Context) (Keys, error)
	origin string
}

// Keys are the values of the secrets that a destination names.
type Keys struct {
	// Credential goes into Authorization: user:password as Basic, one word as
	// Bearer, what has a space in it as it is.
	Credential string
	Standard   []string
	Hub        string
}

// NewWebHook delivers to d. Keys is asked before each delivery. Origin is what
// receivers of CloudEvents know this daemon as. An error is a
// *eventing.DeliveryError.
func NewWebHook(d eventing.Destination, keys func(context.Context) (Keys, error), origin string, dialer address.Dialer) (*WebHook, error) {
	t, err := newTarget(d, "", dialer)
	if err != nil {
		return nil, invalid(err)
	}
	return &WebHook{target: t, client: t.httpClient(), keys: keys, origin: origin}, nil
}

// Client reaches the endpoint with its credential, for questions that precede
// deliveries. What it may not reach, or has no credential for, is a
// *eventing.DeliveryError.
func (w *WebHook) Client() *http.Client {
	c := *w.client
	c.Transport = authorized{w}
	return &c
}

type authorized struct{ *WebHook }

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	keys, err := a.keys(r.Context())
	if err != nil {
		return nil, invalid(err)
	}
	r = r.Clone(r.Context())
	if r.Header.Get("Authorization") == "" {
		a.authorize(r.Header, keys.Credential)
	}
	r.Header.Set("User-Agent", "acrd")
	resp, err := a.client.Transport.RoundTrip(r)
	if errors.Is(err, address.ErrDenied) {
		return nil, &eventing.DeliveryError{Outcome: eventing.Forbidden, Err: fmt.Errorf("%w: the owner may trust the destination (--trusted), on the daemon's own machine, or start it with --allow-private %s", err, r.URL.Host)}
	}
	return resp, err
}

const (
	// answerRead and answerKept bound what is taken of an answer.
	answerRead, answerKept = 4 << 10, 1 << 10
	answerHeaders          = 32 << 10
	idleConnections        = 8 // that are kept to one endpoint
)

func (t *target) httpClient() *http.Client {
	return &http.Client{
		Timeout:       Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: t.dialer.DialContext, TLSClientConfig: t.tls, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: answerHeaders, DisableCompression: true, ForceAttemptHTTP2: true,
		},
	}
}

// Close implements eventing.Sink.
func (w *WebHook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// Deliver implements eventing.Sink.
func (w *WebHook) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, context.DeadlineExceeded)
	defer cancel()
	req, secret, err := w.request(ctx, d)
	if err != nil {
		return nil, err
	}
	var x *eventing.Exchange
	if !d.Quiet {
		x = w.told(req, secret)
	}
	resp, err := w.client.Transport.RoundTrip(req) // a client would look for redirects and cookies
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		failure := failed("post", err)
		if x != nil {
			x.Reason = failure.Error()
		}
		return x, failure
	}
	defer resp.Body.Close()
	answer := io.LimitReader(resp.Body, answerRead) // whatever it says: the status has said it
	if x != nil {
		text, _ := io.ReadAll(answer)
		tellAnswer(x, resp, text)
	} else {
		_, _ = io.Copy(io.Discard, answer)
	}
	if failure := judgeStatus(resp, time.Now()); failure != nil {
		return x, failure
	}
	return x, nil
}

// request returns, too, which of its headers are secret.
func (w *WebHook) request(ctx context.Context, d eventing.Delivery) (*http.Request, map[string]bool, error) {
	keys, err := w.keys(ctx)
	if err != nil {
		return nil, nil, invalid(fmt.Errorf("secrets of the destination: %w", err))
	}
	body, contentType, err := eventing.EncodeBatch(d)
	if err != nil {
		return nil, nil, failedAs(eventing.BadRequest, "encode", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "", bytes.NewReader(body))
	if err != nil {
		return nil, nil, invalid(err)
	}
	req.URL = w.url // it is parsed already
	h := req.Header
	h.Set("Content-Type", contentType)
	h.Set("User-Agent", "acrd")
	if d.Schema != eventing.WebhookSchema {
		for name, value := range d.Properties() {
			if httpguts.ValidHeaderFieldValue(value) { // an event may be older than the rules for them
				h.Set(name, value)
			}
		}
	}
	if d.Schema == eventing.CloudEvents10 && w.origin != "" {
		h.Set("WebHook-Request-Origin", w.origin)
	}
	secret := w.authorize(h, keys.Credential)
	if err := sign(h, keys, d.Events[0].ID, body, time.Now()); err != nil {
		return nil, nil, invalid(err)
	}
	w.addAttributes(req, d.Attributes(), secret)
	return req, secret, nil
}

func (w *WebHook) authorize(h http.Header, credential string) (secret map[string]bool) {
	if credential = strings.TrimSpace(credential); credential == "" {
		credential = w.credential // of the URL
	}
	switch {
	case credential == "":
		return map[string]bool{}
	case strings.Contains(credential, " "):
		h.Set("Authorization", credential)
	case strings.Contains(credential, ":"):
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credential)))
	default:
		h.Set("Authorization", "Bearer "+credential)
	}
	return map[string]bool{"Authorization": true}
}

// addAttributes adds what the subscription wants to be sent. It may not be the
// headers that the connection itself needs. What an event has, and no header
// can have, is left out.
func (w *WebHook) addAttributes(req *http.Request, values map[string]string, secret map[string]bool) {
	for _, a := range w.Attributes {
		value, ok := values[a.Name]
		if !ok || !httpguts.ValidHeaderFieldValue(value) {
			continue
		}
		name := http.CanonicalHeaderKey(a.Name)
		switch name {
		case "Host":
			req.Host = value
		case "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Te":
			continue
		default:
			req.Header.Set(name, value)
		}
		secret[name] = a.Secret || name == "Authorization" || name == "Proxy-Authorization" || name == "Cookie"
	}
}

func (w *WebHook) told(req *http.Request, secret map[string]bool) *eventing.Exchange {
	x := &eventing.Exchange{Method: req.Method, URL: w.shown(), Version: "1.1", Headers: map[string]string{}}
	for name := range req.Header {
		x.Headers[name] = req.Header.Get(name)
		if secret[name] {
			x.Headers[name] = masked
		}
	}
	return x
}

func tellAnswer(x *eventing.Exchange, resp *http.Response, answer []byte) {
	x.Status, x.Reason = resp.StatusCode, http.StatusText(resp.StatusCode)
	x.AnswerVersion = fmt.Sprintf("%d.%d", resp.ProtoMajor, resp.ProtoMinor)
	x.Version, x.AnswerHeaders = x.AnswerVersion, map[string]string{}
	for name := range maps.Keys(resp.Header) {
		x.AnswerHeaders[name] = cut(resp.Header.Get(name))
	}
	if _, ok := x.AnswerHeaders["Set-Cookie"]; ok {
		x.AnswerHeaders["Set-Cookie"] = masked
	}
	x.Answer = cut(strings.ToValidUTF8(string(answer), "\ufffd"))
}

func cut(text string) string {
	if len(text) > answerKept {
		return strings.ToValidUTF8(text[:answerKept], "")
	}
	return text
}

// judgeStatus is nil for the five statuses that Event Grid takes for success.
func judgeStatus(resp *http.Response, now time.Time) *eventing.DeliveryError {
	code := resp.StatusCode
	if code >= 200 && code <= 204 {
		return nil
	}
	e := &eventing.DeliveryError{Outcome: eventing.Aborted, Status: code, Err: fmt.Errorf("the endpoint answered %d %s", code, http.StatusText(code))}
	switch code {
	case http.StatusBadRequest:
		e.Outcome = eventing.BadRequest
	case http.StatusUnauthorized:
		e.Outcome = eventing.Unauthorized
	case http.StatusForbidden:
		e.Outcome = eventing.Forbidden
	case http.StatusNotFound:
		e.Outcome = eventing.NotFound
	case http.StatusGone:
		e.Outcome, e.Gone = eventing.Disabled, true
	case http.StatusRequestEntityTooLarge:
		e.Outcome = eventing.PayloadTooLarge
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		e.Outcome = eventing.TimedOut
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.Outcome = eventing.Busy
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	return e
}

// retryAfter reads seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
		return min(time.Duration(max(0, min(seconds, 1<<30)))*time.Second, eventing.DefaultTTL)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(at.Sub(now), eventing.DefaultTTL))
	}
	return 0
}
