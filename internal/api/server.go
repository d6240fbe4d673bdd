package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"acrd/internal/logs"
	"acrd/runner"
)

// Runs is what the API needs of the runner.
type Runs interface {
	Submit(ctx context.Context, req runner.Request) (*runner.Run, error)
	Cancel(ctx context.Context, id string) error
}

// Records is where runs are looked up.
type Records interface {
	Run(ctx context.Context, id string) (*runner.Run, error)
	Runs(ctx context.Context, limit int) ([]*runner.Run, error)
}

// A Server answers the management API. Its fields must be set before Handler.
type Server struct {
	Runs    Runs
	Records Records
	Logs    *logs.Dir
	// Contexts receives uploads; it is mounted below the root at /contexts.
	Contexts http.Handler
	// Info is what GET /version answers.
	Info Info
	Log  *slog.Logger // nil discards

	agents Agents
}

// Info says who answers.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	BuildKit string `json:"buildkit"`
	// Registry is the daemon's registry as images name it.
	Registry string `json:"registry"`
}

// maxBody bounds a request. Build secrets are in it.
const maxBody = 8 << 20

// Handler serves everything at and below root, and /version.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	handle("POST "+root+"/scheduleRun", s.schedule)
	handle("GET "+root+"/runs", s.list)
	handle("GET "+root+"/runs/{run}", s.show)
	handle("POST "+root+"/runs/{run}/cancel", s.cancel)
	handle("GET "+root+"/runs/{run}/log", s.log)
	handle("GET "+root+"/runs/{run}/progress", s.progress)
	handle("POST "+root+"/sshAgents/{agent}", s.agents.park)
	handle("GET /version", func(w http.ResponseWriter, _ *http.Request) error { return reply(w, http.StatusOK, s.Info) })
	if s.Contexts != nil {
		mux.Handle(root+"/contexts", s.contexts())
		mux.Handle(root+"/contexts/", s.contexts())
	}
	return mux
}

// contexts mounts the upload handler, which knows nothing of subscriptions.
func (s *Server) contexts() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		prefix := "/subscriptions/" + r.PathValue("subscription") + "/resourceGroups/" + r.PathValue("group") +
			"/providers/Microsoft.ContainerRegistry/registries/" + r.PathValue("registry")
		http.StripPrefix(prefix, s.Contexts).ServeHTTP(w, r)
	})
}

func (s *Server) schedule(w http.ResponseWriter, r *http.Request) error {
	var body RunRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := dec.Decode(&body); err != nil {
		return &runner.InvalidError{Err: err}
	}
	if len(body.Entitlements) > 0 && !owns(r.Context()) {
		return forbid(w, "entitlements are the owner's to grant: this token may submit runs without --allow")
	}
	req, err := body.request()
	if err != nil {
		return &runner.InvalidError{Err: err}
	}
	req.Agents = s.agents.dials(body.SSHAgents)
	run, err := s.Runs.Submit(r.Context(), req)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewRun(run))
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) error {
	top := 100
	if text := r.URL.Query().Get("$top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return &runner.InvalidError{Err: errors.New("$top is not between 1 and 100")}
		}
		top = n
	}
	runs, err := s.Records.Runs(r.Context(), top)
	if err != nil {
		return err
	}
	page := struct {
		Value []*Run `json:"value"`
	}{[]*Run{}}
	for _, run := range runs {
		page.Value = append(page.Value, NewRun(run))
	}
	return reply(w, http.StatusOK, page)
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, NewRun(run))
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	if err := s.Runs.Cancel(r.Context(), r.PathValue("run")); err != nil && !errors.Is(err, runner.ErrFinal) {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) log(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var src io.ReadCloser
	var err error
	if q.Has("step") {
		src, err = s.Logs.Step(r.Context(), r.PathValue("run"), q.Get("step"), q.Get("follow") == "true")
	} else {
		offset, e := strconv.ParseInt(orZero(q.Get("offset")), 10, 64)
		if e != nil || offset < 0 {
			return &runner.InvalidError{Err: errors.New("offset is not a number of bytes")}
		}
		src, err = s.Logs.Open(r.Context(), r.PathValue("run"), offset, q.Get("follow") == "true")
	}
	if err != nil {
		return err
	}
	defer src.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return stream(w, src)
}

func (s *Server) progress(w http.ResponseWriter, r *http.Request) error {
	src, err := s.Logs.Progress(r.Context(), r.PathValue("run"), r.URL.Query().Get("follow") == "true")
	if err != nil {
		return err
	}
	defer src.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	return stream(w, src)
}

// stream copies and flushes, so that a follower sees a line when it is there.
// What goes wrong after the first byte ends the stream.
func stream(w http.ResponseWriter, src io.Reader) error {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, e := w.Write(buf[:n]); e != nil {
				return nil
			}
			_ = flusher.Flush()
		}
		if err != nil {
			return nil
		}
	}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func reply(w http.ResponseWriter, code int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
	return nil
}

// An errorBody is ARM's.
type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// fail writes an error. What is not the client's fault is logged, and told
// without its inside.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, code := statusCode(err)
	var body errorBody
	body.Error.Code, body.Error.Message = code, err.Error()
	if status >= 500 {
		if s.Log != nil {
			s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		if status == http.StatusInternalServerError {
			body.Error.Message = "the daemon could not do this; its log says why"
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	_ = reply(w, status, body)
}

// statusCode is the one place that turns an error into an HTTP status.
func statusCode(err error) (int, string) {
	var invalid *runner.InvalidError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "RequestTooLarge"
	case errors.As(err, &invalid):
		return http.StatusBadRequest, "BadRequest"
	case errors.Is(err, runner.ErrNotFound), errors.Is(err, logs.ErrNone):
		return http.StatusNotFound, "ResourceNotFound"
	case errors.Is(err, runner.ErrFinal):
		return http.StatusConflict, "Conflict"
	case errors.Is(err, runner.ErrDraining):
		return http.StatusServiceUnavailable, "ServiceUnavailable"
	}
	return http.StatusInternalServerError, "InternalServerError"
}
