package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"acrd/eventing"
)

// storage is what the two kinds of Azure Storage have in common.
type storage struct {
	*target
	account, key string // none if the URL is signed
	resource     string // the queue's or container's URL, with its signature
	transport    *http.Transport
}

// newStorage reads the forms of a credential: a connection string, a shared
// access signature, or the account's key.
func newStorage(t *target) (*storage, error) {
	s := &storage{target: t, account: account(t), resource: t.url.String()}
	fields := connectionString(t.credential)
	switch {
	case t.credential == "" && t.url.Query().Get("sig") != "":
	case t.credential == "":
		return nil, errors.New("the destination names no secret to log in to Azure Storage")
	case fields["accountkey"] != "":
		s.key = fields["accountkey"]
		if name := fields["accountname"]; !strings.EqualFold(name, s.account) {
			return nil, fmt.Errorf("the destination's secret is for %s, not for %s", name, s.account)
		}
	case fields["sharedaccesssignature"] != "":
		endpoint := fields["queueendpoint"]
		if t.Type == eventing.ToStorageBlob {
			endpoint = fields["blobendpoint"]
		}
		if err := sameHost(endpoint, t.url.Hostname()); err != nil {
			return nil, err
		}
		s.sign(fields["sharedaccesssignature"])
	case strings.Contains(t.credential, "sig="):
		s.sign(t.credential)
	default:
		s.key = t.credential
	}
	s.transport = &http.Transport{
		DialContext:            t.dialer.DialContext,
		TLSClientConfig:        t.tls,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  Timeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    eventing.DefaultInFlight,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return s, nil
}

// account is the first word of the host, or of the path where the host is
// none of Azure's: http://127.0.0.1:10001/devstoreaccount1/queue.
func account(t *target) string {
	path := strings.Split(strings.Trim(t.url.Path, "/"), "/")
	if len(path) > 1 {
		return path[0]
	}
	name, _, _ := strings.Cut(t.url.Hostname(), ".")
	return name
}

func (s *storage) sign(signature string) {
	u := *s.url
	u.RawQuery = strings.TrimPrefix(signature, "?")
	s.resource = u.String()
}

// options keep the SDK from trying again, and from telling who it is.
func (s *storage) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Transport: &http.Client{Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Close implements eventing.Sink.
func (s *storage) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// codes are Azure Storage's words for what Event Grid has words for.
var codes = map[string]eventing.Outcome{
	"AccountIsDisabled":                eventing.Disabled,
	"QueueDisabled":                    eventing.Disabled,
	"AuthenticationFailed":             eventing.Unauthorized,
	"AuthorizationFailure":             eventing.Unauthorized,
	"AuthorizationPermissionMismatch":  eventing.Unauthorized,
	"InsufficientAccountPermissions":   eventing.Unauthorized,
	"RequestBodyTooLarge":              eventing.PayloadTooLarge,
	"MessageTooLarge":                  eventing.PayloadTooLarge,
	"OperationTimedOut":                eventing.TimedOut,
	"ServerBusy":                       eventing.Busy,
	"InsufficientStorage":              eventing.Full,
	"AccountStorageQuotaExceeded":      eventing.Full,
	"ContainerQuotaDownloadInProgress": eventing.Busy,
	"ContainerBeingDeleted":            eventing.Busy,
	"QueueBeingDeleted":                eventing.Busy,
}

// statuses speak where Azure's code says nothing new.
var statuses = map[int]eventing.Outcome{
	http.StatusUnauthorized:          eventing.Unauthorized,
	http.StatusForbidden:             eventing.Unauthorized,
	http.StatusNotFound:              eventing.NotFound,
	http.StatusRequestTimeout:        eventing.TimedOut,
	http.StatusGatewayTimeout:        eventing.TimedOut,
	http.StatusRequestEntityTooLarge: eventing.PayloadTooLarge,
	http.StatusBadRequest:            eventing.BadRequest,
	http.StatusInsufficientStorage:   eventing.Full,
}

// failed says what became of a request.
func (s *storage) failed(operation string, err error) error {
	answer := (*azcore.ResponseError)(nil)
	if !errors.As(err, &answer) {
		return failed(operation, err)
	}
	o, ok := codes[answer.ErrorCode]
	if !ok {
		if o, ok = statuses[answer.StatusCode]; !ok {
			o = eventing.Busy
		}
	}
	// The SDK's text tells the whole answer.
	e := failedAs(o, operation, fmt.Errorf("%d %s", answer.StatusCode, answer.ErrorCode))
	e.Status = answer.StatusCode
	if answer.RawResponse != nil {
		seconds, _ := strconv.Atoi(answer.RawResponse.Header.Get("Retry-After"))
		e.RetryAfter = time.Duration(max(seconds, 0)) * time.Second
	}
	return e
}

func (s *storage) exchange(method string, status int, d eventing.Delivery, err error) *eventing.Exchange {
	x := s.target.exchange(method, "HTTP/1.1", d, err)
	x.Headers, x.Status = nil, status
	if e := (*eventing.DeliveryError)(nil); errors.As(err, &e) {
		x.Status = e.Status
	}
	return x
}

// bounded is ctx with Timeout.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, Timeout)
}
