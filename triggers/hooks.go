package triggers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"acrd/runner"
)

// HooksPrefix is where webhooks come in: /hooks/PROVIDER/TASK/TRIGGER.
const HooksPrefix = "/hooks/"

// Deliveries remember which webhooks were received. internal/store implements
// it.
type Deliveries interface {
	// AddDelivery is false if there was one of that kind and id before.
	AddDelivery(ctx context.Context, kind, id string) (bool, error)
}

// Hooks receive webhooks of git servers. No login stands before them: each is
// signed with the secret of the trigger that its URL names, and a trigger
// without a secret takes none.
type Hooks struct {
	Tasks      Definitions
	Deliveries Deliveries
	Commits    *Commits
	Log        *slog.Logger

	large sync.Mutex // held by whoever reads a body of more than smallHook
}

const (
	// maxHook is what GitHub sends at most.
	maxHook = 25 << 20
	// smallHook is what nearly all are. Larger ones are read one at a time:
	// nobody knows yet who has sent them.
	smallHook = 1 << 20
	// hookPatience is how long a sender may take to send it.
	hookPatience = 30 * time.Second
)

// ServeHTTP implements http.Handler. The path is what follows HooksPrefix.
func (h *Hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, text := h.receive(w, r)
	if status >= http.StatusBadRequest {
		path := r.URL.Path
		if status == http.StatusNotFound {
			path = HooksPrefix // what was meant for a registry's hook has a token in it
		}
		h.log().Debug("webhook refused", "path", path, "status", status, "err", text)
	}
	http.Error(w, text, status)
}

func (h *Hooks) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

func (h *Hooks) receive(w http.ResponseWriter, r *http.Request) (int, string) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, HooksPrefix), "/")
	task, trigger, ok := strings.Cut(rest, "/")
	p, known := providers()[name]
	switch {
	case !known || !ok || task == "" || trigger == "":
		return http.StatusNotFound, "there is no such hook: /hooks/PROVIDER/TASK/TRIGGER is for git servers, and /hooks/KIND/TOKEN for registries"
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, "a webhook is a POST"
	case r.ContentLength > maxHook:
		return http.StatusRequestEntityTooLarge, "the body is larger than 25 MiB"
	}
	secrets, err := h.secrets(r.Context(), task, trigger)
	if err != nil {
		return http.StatusServiceUnavailable, "try again later"
	}
	// Who does not know a secret does not learn which tasks there are.
	const unsigned = "the webhook is not signed with the secret of the trigger"
	known = len(secrets) > 0
	if !known { // neither by the answer, nor by the time that it takes
		secrets = []string{rand.Text()}
	}
	body, err := h.read(w, r)
	if errors.Is(err, errCrowded) {
		w.Header().Set("Retry-After", "5")
		return http.StatusServiceUnavailable, err.Error()
	} else if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge, "the body is larger than 25 MiB"
	} else if err != nil {
		return http.StatusBadRequest, "the body is cut short"
	}
	signed := false
	for _, secret := range secrets {
		signed = p.verify(r.Header, body, secret) || signed
	}
	if !signed || !known {
		return http.StatusUnauthorized, unsigned
	}
	n, err := p.parse(r.Header, body)
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	if n == nil {
		return http.StatusOK, "nothing to do"
	}
	if n.Delivery == "" {
		sum := sha256.Sum256(body)
		n.Delivery = hex.EncodeToString(sum[:])
	}
	return h.act(r.Context(), name, task, trigger, n)
}

// act does what a notice that is genuine asks for. What it keeps of it can be
// kept twice; so that is done before the delivery counts as received, and not
// lost if this process dies in between.
func (h *Hooks) act(ctx context.Context, provider, task, trigger string, n *Notice) (int, string) {
	err := h.Commits.Told(ctx, task, trigger, n.Refs)
	if err == nil && n.Pull != nil {
		err = h.Commits.Pull(ctx, task, trigger, provider, n.Pull)
	}
	if err != nil {
		h.log().Warn("webhook not kept", "task", task, "trigger", trigger, "err", err)
		return http.StatusServiceUnavailable, "try again later"
	}
	first, err := h.Deliveries.AddDelivery(ctx, "hooks/"+provider+"/"+task+"/"+trigger, n.Delivery)
	switch {
	case err != nil:
		h.log().Warn("webhook not kept", "task", task, "trigger", trigger, "err", err)
		return http.StatusServiceUnavailable, "try again later"
	case !first:
		return http.StatusOK, "received before"
	}
	if n.Refs != nil {
		h.Commits.Look(task, trigger)
	}
	return http.StatusAccepted, "accepted"
}

// secrets are those of a trigger, none if there is no such trigger that is
// active. Two, with a space between, let the sender change from one to the
// other.
func (h *Hooks) secrets(ctx context.Context, task, trigger string) ([]string, error) {
	t, err := h.Tasks.Task(ctx, task)
	if errors.Is(err, runner.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Trigger == nil || !t.Status.Active() {
		return nil, nil
	}
	for _, s := range t.Trigger.Sources {
		if s.Name == trigger && s.Status.Active() {
			return strings.Fields(s.WebhookSecret.Reveal()), nil
		}
	}
	return nil, nil
}

var errCrowded = errors.New("another large webhook is being read: try again later")

// read reads a body that is not signed yet.
func (h *Hooks) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Where there is no connection, as in tests, there is no deadline.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(hookPatience))
	whole := http.MaxBytesReader(w, r.Body, maxHook)
	body, err := io.ReadAll(io.LimitReader(whole, smallHook))
	if err != nil || len(body) < smallHook {
		return body, err
	}
	if !h.large.TryLock() {
		return nil, errCrowded
	}
	defer h.large.Unlock()
	rest, err := io.ReadAll(whole)
	return append(body, rest...), err
}
