package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"acrd/eventing"
	"acrd/internal/logs"
	"acrd/runner"
	"acrd/steps"
)

// An errorBody is ARM's.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    string        `json:"code"`
	Message string        `json:"message"`
	Target  string        `json:"target,omitempty"`
	Details []errorDetail `json:"details,omitempty"`
}

// fail writes an error. What is not the client's fault is logged, and told
// without its inside.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, code := statusCode(err)
	body := errorBody{Error: describe(code, err)}
	if status >= 500 {
		if s.Log != nil {
			s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		body.Error.Message = outward(err)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("X-Ms-Error-Code", body.Error.Code)
	_ = reply(w, status, body)
}

// outward is what a client is told of an error that is ours: nothing of what
// is inside.
func outward(err error) string {
	if errors.Is(err, syscall.ENOSPC) {
		err = runner.ErrNoSpace
	}
	for _, known := range []error{runner.ErrNoSpace, runner.ErrUnavailable, runner.ErrDraining} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the daemon could not do this; its log says why"
}

// describe is what ARM says of an error: of several faults, each on its own.
func describe(code string, err error) errorDetail {
	d := errorDetail{Code: code, Message: err.Error()}
	var faults runner.Faults
	var file steps.Errors
	switch {
	case errors.As(err, &faults):
		for _, f := range faults {
			d.Details = append(d.Details, errorDetail{Code: f.Code, Target: f.Target, Message: f.Message})
		}
	case errors.As(err, &file):
		for _, e := range file {
			d.Details = append(d.Details, errorDetail{Code: "InvalidTaskFile", Target: fmt.Sprintf("%s:%d", e.File, e.Line), Message: e.Msg})
		}
	}
	if len(d.Details) == 1 && faults != nil {
		return d.Details[0]
	}
	return d
}

// statusCode is the one place that turns an error into an HTTP status.
func statusCode(err error) (int, string) {
	var invalid *runner.InvalidError
	var faults runner.Faults
	var tooLarge *http.MaxBytesError
	var version *versionError
	var forbidden *forbiddenError
	switch {
	case errors.As(err, &forbidden):
		return http.StatusForbidden, "AuthorizationFailed"
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "RequestTooLarge"
	case errors.As(err, &version):
		return http.StatusBadRequest, "InvalidApiVersionParameter"
	case errors.As(err, &invalid), errors.As(err, &faults):
		return http.StatusBadRequest, "BadRequest"
	case errors.Is(err, errLink):
		return http.StatusForbidden, "AuthenticationFailed"
	case errors.Is(err, runner.ErrNotFound), errors.Is(err, logs.ErrNone), errors.Is(err, eventing.ErrNotFound):
		return http.StatusNotFound, "ResourceNotFound"
	case errors.Is(err, runner.ErrFinal), errors.Is(err, errDisabled), errors.Is(err, errChanged):
		return http.StatusConflict, "Conflict"
	case errors.Is(err, runner.ErrNoSpace), errors.Is(err, syscall.ENOSPC):
		return http.StatusInsufficientStorage, "InsufficientStorage"
	case errors.Is(err, runner.ErrDraining), errors.Is(err, runner.ErrUnavailable):
		return http.StatusServiceUnavailable, "ServiceUnavailable"
	}
	return http.StatusInternalServerError, "InternalServerError"
}

// A forbiddenError says that the owner alone may do this.
type forbiddenError struct{ text string }

func (e *forbiddenError) Error() string { return e.text }

// errDisabled says that a task may not run.
var errDisabled = errors.New("is disabled: enable it with 'acrd task update --status Enabled'")

// read decodes the body of a request.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	defer hurry(w)()
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	return badBody(err)
}

// bodyPatience is how long a client may take to send a body.
const bodyPatience = 30 * time.Second

// hurry bounds the time for a body, until it is read. Where there is no
// connection, as in tests, there is no bound.
func hurry(w http.ResponseWriter) (read func()) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyPatience))
	return func() { _ = c.SetReadDeadline(time.Time{}) }
}

// badBody makes the client's fault of what decoding says.
func badBody(err error) error {
	if err == nil {
		return nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return runner.Faults{{Code: "InvalidRequestContent", Target: wrong.Field, Message: fmt.Sprintf("A %s cannot be here.", wrong.Value)}}
	}
	return runner.Faults{{Code: "InvalidRequestContent", Target: "body", Message: "The body is not JSON of the right kind: " + err.Error() + "."}}
}
