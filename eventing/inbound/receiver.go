package inbound

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pattern is where hooks come in, for an http.ServeMux. The hooks of git
// servers have one part more.
const Pattern = "/hooks/{kind}/{token}"

// A Receiver takes in hooks. No login stands before it: the token in the path
// is one. What is answered with success is kept.
type Receiver struct {
	Sources Sources
	Queue   Queue
	// Secret is the value of a secret of acrd.
	Secret func(ctx context.Context, name string) (string, error)
	// Woken, if not nil, is called when there is something new.
	Woken func()
	Now   func() time.Time // nil is time.Now
	Log   *slog.Logger     // nil discards

	mu     sync.Mutex // guards what follows
	limits map[string]*bucket
}

const (
	// maxHook is what Event Grid sends at most.
	maxHook = 1 << 20
	// hookPatience is how long a sender may take to send it.
	hookPatience = 30 * time.Second
	// hookRate is how many hooks of a source are taken in a second, and
	// hookBurst how many at once.
	hookRate, hookBurst = 50, 200
	// mostOpen is how many notices of a source may wait.
	mostOpen = 10_000
	// mostAtOnce is how many notices one hook may have.
	mostAtOnce = 5000
)

// ServeHTTP implements http.Handler. The request was matched by Pattern.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, text := r.receive(w, req)
	if status >= http.StatusBadRequest {
		r.log().Debug("hook refused", "kind", req.PathValue("kind"), "status", status, "err", text)
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if status != 0 {
		http.Error(w, text, status)
	}
}

func (r *Receiver) log() *slog.Logger { return cmp.Or(r.Log, slog.New(slog.DiscardHandler)) }

// receive answers with a status and a text; 0 if it has answered already.
func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) (int, string) {
	ctx := req.Context()
	const noHook = "there is no such hook: /hooks/KIND/TOKEN is for registries, and /hooks/PROVIDER/TASK/TRIGGER for git servers"
	kind := Kind(req.PathValue("kind"))
	if !slices.Contains(Kinds, kind) {
		return http.StatusNotFound, noHook
	}
	s, err := r.Sources.SourceByHash(ctx, HashToken(req.PathValue("token")))
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && s.Kind != kind:
		return http.StatusNotFound, noHook
	case err != nil:
		return http.StatusServiceUnavailable, "try again later"
	case !r.admit(s.Name):
		return http.StatusTooManyRequests, "this is more than is taken of one source"
	case req.Method == http.MethodOptions && kind.handshakes():
		return consent(w, req)
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", allowed(kind))
		return http.StatusMethodNotAllowed, "a hook is a POST"
	}
	body, status, text := readHook(w, req)
	if status != 0 {
		return status, text
	}
	return r.take(w, req, s, body)
}

// take is for a body that came to the address of a source.
func (r *Receiver) take(w http.ResponseWriter, req *http.Request, s *Source, body []byte) (int, string) {
	if s.Kind.handshakes() && answered(w, body) {
		return 0, ""
	}
	if s.Secret != "" {
		secret, err := r.Secret(req.Context(), s.Secret)
		if err != nil {
			r.log().Error("secret of event source cannot be read", "source", s.Name, "err", err)
			return http.StatusServiceUnavailable, "try again later"
		}
		if secret == "" || !Authentic(s.Kind, s.Header, secret, req.Header, body) {
			return http.StatusUnauthorized, "the hook does not prove to know the secret of the source"
		}
	}
	notices, err := Parse(s.Kind, req.Header, body)
	switch {
	case err != nil:
		return http.StatusBadRequest, err.Error()
	case len(notices) > mostAtOnce:
		return http.StatusRequestEntityTooLarge, "these are more than 5000 events"
	case len(notices) == 0:
		return http.StatusOK, "nothing to do"
	}
	return r.keep(req.Context(), s, notices)
}

func (r *Receiver) keep(ctx context.Context, s *Source, notices []Notice) (int, string) {
	for i := range notices {
		notices[i].ID = noticeID(notices[i].ID)
	}
	fresh, err := r.Queue.AddNotices(ctx, s.Name, notices, mostOpen)
	switch {
	case errors.Is(err, ErrFull):
		return http.StatusServiceUnavailable, ErrFull.Error()
	case err != nil:
		r.log().Warn("hook not kept", "source", s.Name, "err", err)
		return http.StatusServiceUnavailable, "try again later"
	case fresh == 0:
		return http.StatusOK, "received before"
	}
	if r.Woken != nil {
		r.Woken()
	}
	return http.StatusAccepted, "accepted"
}

// noticeID is one that can be kept, and tells notices apart that have none.
func noticeID(id string) string {
	switch {
	case id == "":
		return rand.Text()
	case len(id) > 200 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0xFFFD }):
		sum := sha256.Sum256([]byte(id))
		return hex.EncodeToString(sum[:])
	}
	return id
}

func readHook(w http.ResponseWriter, req *http.Request) (body []byte, status int, text string) {
	// Where there is no connection, as in tests, there is no deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookPatience))
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxHook))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB"
	}
	if err != nil {
		return nil, http.StatusBadRequest, "the body is cut short"
	}
	return body, 0, ""
}

func allowed(kind Kind) string {
	if kind.handshakes() {
		return "POST, OPTIONS"
	}
	return http.MethodPost
}

// consent answers the handshake of CloudEvents: who asks has the token, and
// may send. That it may be called back is not used.
func consent(w http.ResponseWriter, req *http.Request) (int, string) {
	origin := req.Header.Get("Webhook-Request-Origin")
	if origin == "" {
		return http.StatusBadRequest, "WebHook-Request-Origin is missing"
	}
	w.Header().Set("Allow", "POST, OPTIONS")
	w.Header().Set("Webhook-Allowed-Origin", origin)
	w.Header().Set("Webhook-Allowed-Rate", "3000") // a minute
	w.WriteHeader(http.StatusOK)
	return 0, ""
}

// answered answers the handshake of Event Grid, if the body is one.
func answered(w http.ResponseWriter, body []byte) bool {
	var events []struct {
		EventType string `json:"eventType"`
		Data      struct {
			Code string `json:"validationCode"`
		} `json:"data"`
	}
	if !isArray(body) || json.Unmarshal(body, &events) != nil || len(events) != 1 ||
		events[0].EventType != "Microsoft.EventGrid.SubscriptionValidationEvent" {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"validationResponse": events[0].Data.Code})
	return true
}

// A bucket is how much a source may send still.
type bucket struct {
	left float64
	at   time.Time
}

func (r *Receiver) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// admit takes one hook of a source, if it may send one.
func (r *Receiver) admit(source string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.limits == nil {
		r.limits = map[string]*bucket{}
	}
	b, ok := r.limits[source]
	if !ok {
		b = &bucket{hookBurst, now}
		r.limits[source] = b
	}
	b.left = min(hookBurst, b.left+now.Sub(b.at).Seconds()*hookRate)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
