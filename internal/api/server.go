package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"acrd/eventing"
	"acrd/internal/logs"
	"acrd/runner"
)

// Runs is what the API needs of the runner.
type Runs interface {
	Submit(ctx context.Context, req runner.Request) (*runner.Run, error)
	Cancel(ctx context.Context, id string) error
	// Rerun queues a run with the same inputs as an earlier one.
	Rerun(ctx context.Context, id string, keepRegistry bool) (*runner.Run, error)
	// Archive says whether a run is kept beyond the retention.
	Archive(ctx context.Context, id string, archived bool) (*runner.Run, error)
}

// Records is where runs are looked up.
type Records interface {
	// Run is runner.ErrNotFound if there is none.
	Run(ctx context.Context, id string) (*runner.Run, error)
	// Runs are the newest first.
	Runs(ctx context.Context, f runner.Filter) ([]*runner.Run, error)
	// Position is how many queued runs come before this one, plus one; 0 if
	// it is not queued.
	Position(ctx context.Context, id string) (int, error)
}

// A Server answers the management API. Its fields must be set before Handler.
type Server struct {
	Runs     Runs
	Records  Records
	Tasks    Tasks
	TaskRuns TaskRuns
	Logs     *logs.Dir
	// LogLink makes the path of a log that needs no token until then.
	LogLink func(run string, expires time.Time) string
	// Archives takes uploaded sources.
	Archives *Archives
	// Triggers explain themselves; nil has no triggers.
	Triggers Triggers
	// CheckTagPattern refuses a pattern of a base image trigger; nil refuses
	// none.
	CheckTagPattern func(pattern string) error
	// Timers says where the timers of tasks are; nil does not know.
	Timers Timers
	// Approve lets a task run for the commit of a pull request from a fork; it
	// is runner.ErrNotFound if none waits for it.
	Approve func(ctx context.Context, task, commit string) error
	// Subscriptions keep who is told of events, webhooks too.
	Subscriptions eventing.Subscriptions
	// Deliveries say what became of events; nil knows nothing.
	Deliveries Deliveries
	// Handshake asks receivers of events first; nil asks nobody.
	Handshake *eventing.Handshake
	// Base is the address under which receivers of events may visit this
	// daemon, http://HOST:PORT, where a subscription is made over the socket.
	Base string
	// Policies are those of the registry; nil has none.
	Policies Policies
	// ResourceID is what events call the registry; empty is the constant.
	ResourceID string
	// Contexts receives uploads; it is mounted below the root at /contexts.
	Contexts http.Handler
	// Info is what GET /version answers.
	Info Info
	Log  *slog.Logger // nil discards

	agents     Agents
	taskRunsMu sync.Mutex // keeps one request from starting two runs
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

// A route is one operation of the API.
type route struct {
	method, path string
	serve        func(w http.ResponseWriter, r *http.Request) error
}

const (
	subscriptionRegistries = "/subscriptions/{subscription}/providers/Microsoft.ContainerRegistry/registries"
	groupRegistries        = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerRegistry/registries"
)

// routes are all of them but the contexts'.
func (s *Server) routes() []route {
	return slices.Concat(s.runRoutes(), s.webhookRoutes(), s.eventSubscriptionRoutes())
}

// Operations are all that this package serves, as docs/openapi.yaml names them.
func Operations() []string {
	all := slices.Collect(maps.Keys(new(Gate).exchanges()))
	for _, r := range slices.Concat(new(Server).routes(), new(Admin).routes(), new(Publisher).routes()) {
		all = append(all, r.method+" "+r.path)
	}
	return append(all, "PUT "+uploadRoot+"{path}")
}

func (s *Server) runRoutes() []route {
	return []route{
		{"GET", subscriptionRegistries, s.listRegistries},
		{"GET", groupRegistries, s.listRegistries},
		{"GET", root, s.showRegistry},
		{"PUT", root, s.updateRegistry},
		{"PATCH", root, s.updateRegistry},
		{"POST", root + "/listBuildSourceUploadUrl", s.uploadURL},
		{"POST", root + "/scheduleRun", s.schedule},
		{"GET", root + "/runs", s.list},
		{"GET", root + "/runs/{run}", s.show},
		{"PATCH", root + "/runs/{run}", s.updateRun},
		{"POST", root + "/runs/{run}/cancel", s.cancel},
		{"GET", root + "/runs/{run}/cancel", s.showCanceled},
		{"POST", root + "/runs/{run}/listLogSasUrl", s.logURL},
		{"GET", root + "/operationStatuses/{run}", s.showOperation},
		{"GET", root + "/tasks", s.listTasks},
		{"GET", root + "/tasks/{task}", s.showTask},
		{"PUT", root + "/tasks/{task}", s.createTask},
		{"PATCH", root + "/tasks/{task}", s.updateTask},
		{"DELETE", root + "/tasks/{task}", s.deleteTask},
		{"POST", root + "/tasks/{task}/listDetails", s.showTask},
		{"GET", root + "/taskRuns", s.listTaskRuns},
		{"GET", root + "/taskRuns/{taskRun}", s.showTaskRun},
		{"PUT", root + "/taskRuns/{taskRun}", s.createTaskRun},
		{"PATCH", root + "/taskRuns/{taskRun}", s.updateTaskRun},
		{"DELETE", root + "/taskRuns/{taskRun}", s.deleteTaskRun},
		{"POST", root + "/taskRuns/{taskRun}/listDetails", s.showTaskRun},
		// What follows is not Azure's.
		{"GET", root + "/tasks/{task}/timers", s.listTimers},
		{"POST", root + "/tasks/{task}/approve", s.approve},
		{"POST", root + "/runs/{run}/rerun", s.rerun},
		{"GET", root + "/tasks/{task}/why", s.why},
		{"GET", root + "/taskGraph", s.taskGraph},
		{"GET", root + "/runs/{run}/log", s.log},
		{"GET", root + "/runs/{run}/progress", s.progress},
		{"POST", root + "/sshAgents/{agent}", s.agents.park},
		{"GET", "/version", s.version},
	}
}

// Handler serves everything at and below root, and /version.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range s.routes() {
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Ms-Request-Id", rand.Text())
			err := checkVersion(r)
			if err == nil {
				err = route.serve(w, r)
			}
			if err != nil {
				s.fail(w, r, err)
			}
		})
	}
	if s.Contexts != nil {
		mux.Handle(root+"/contexts", s.contexts())
		mux.Handle(root+"/contexts/", s.contexts())
	}
	return anyCase(s.unknown(mux))
}

// unknown answers what is no route, as ARM does.
func (s *Server) unknown(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		recorded := &discard{header: http.Header{}}
		mux.ServeHTTP(recorded, r)
		status, code := http.StatusNotFound, "ResourceNotFound"
		if recorded.status == http.StatusMethodNotAllowed {
			status, code = recorded.status, "MethodNotAllowed"
			w.Header().Set("Allow", recorded.header.Get("Allow"))
		}
		_ = reply(w, status, errorBody{errorDetail{Code: code, Message: "There is no " + r.Method + " " + r.URL.Path + "."}})
	})
}

// discard is an answer of which only the head counts.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// words are the parts of paths that are not names, by their lower case.
var words = func() map[string]string {
	all := map[string]string{}
	for _, route := range (&Server{}).routes() {
		for part := range strings.SplitSeq(route.path, "/") {
			if !strings.HasPrefix(part, "{") {
				all[strings.ToLower(part)] = part
			}
		}
	}
	return all
}()

// anyCase lets the words of a path be of any case, as ARM does. Those are every
// second part, and what follows a name.
func anyCase(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		if len(parts) > 2 && strings.EqualFold(parts[1], "subscriptions") {
			for i := range parts {
				word, ok := words[strings.ToLower(parts[i])]
				if ok && (i%2 == 1 || strings.HasPrefix(word, "Microsoft.")) {
					parts[i] = word
				}
			}
			if path := strings.Join(parts, "/"); path != r.URL.Path {
				r.URL.Path, r.URL.RawPath = path, ""
			}
		}
		next.ServeHTTP(w, r)
	})
}

// rootOf is root with the names that the client used.
func rootOf(r *http.Request) string {
	return "/subscriptions/" + r.PathValue("subscription") + "/resourceGroups/" + r.PathValue("group") +
		"/providers/Microsoft.ContainerRegistry/registries/" + r.PathValue("registry")
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, s.Info)
}

// contexts mounts the upload handler, which knows nothing of subscriptions.
func (s *Server) contexts() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix(rootOf(r), s.Contexts).ServeHTTP(w, r)
	})
}

func (s *Server) schedule(w http.ResponseWriter, r *http.Request) error {
	var body RunRequest
	if err := read(w, r, &body); err != nil {
		return err
	}
	run, err := s.submit(r.Context(), &body)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newRun(rootOf(r), run))
}

// submit queues the run that a body asks for.
func (s *Server) submit(ctx context.Context, body *RunRequest) (*runner.Run, error) {
	if len(body.Entitlements) > 0 && !owns(ctx) {
		return nil, &forbiddenError{"entitlements are the owner's to grant: this token may submit runs without --allow"}
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	var req runner.Request
	var err error
	if body.Type == TaskRunKind {
		req, err = s.taskRequest(ctx, body)
	} else {
		req, err = body.request()
	}
	if err != nil {
		return nil, err
	}
	if err := s.Archives.check(req.Source); err != nil {
		return nil, err
	}
	req.Agents = s.agents.dials(body.SSHAgents)
	req.KeepRegistry = keepsRegistry(ctx)
	return s.Runs.Submit(ctx, req)
}

// taskRequest is the request of a run of a stored task.
func (s *Server) taskRequest(ctx context.Context, body *RunRequest) (runner.Request, error) {
	t, err := s.Tasks.Task(ctx, body.taskName())
	if err != nil {
		return runner.Request{}, err
	}
	if !t.Status.Active() {
		return runner.Request{}, fmt.Errorf("task %s %w", t.Name, errDisabled)
	}
	if o := body.Overrides; len(t.Allow) > 0 && o != nil && (o.ContextPath != "" || o.File != "") && !owns(ctx) {
		return runner.Request{}, &forbiddenError{"the task has entitlements, which are for its own source and file: the owner alone may run others with them"}
	}
	req, err := t.Request(body.Overrides.stored())
	body.addTo(&req)
	if o := body.Overrides; len(t.Allow) > 0 && o != nil && !owns(ctx) { // no flags for a task that may do more
		for _, v := range o.Values {
			req.Foreign = append(req.Foreign, v.Name)
		}
	}
	if err == nil && s.Triggers != nil {
		req.Pins, err = s.Triggers.Pins(ctx, t)
	}
	return req, err
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	out := newRun(rootOf(r), run)
	if run.Status == runner.Queued {
		if out.Properties.QueuePosition, err = s.Records.Position(r.Context(), run.ID); err != nil {
			return err
		}
	}
	return reply(w, http.StatusOK, out)
}

// rerun queues a run with the same inputs, secrets included. What the owner
// has granted to the earlier one he must grant again.
func (s *Server) rerun(w http.ResponseWriter, r *http.Request) error {
	old, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	if len(old.Request.Allow) > 0 && !owns(r.Context()) {
		return &forbiddenError{"the run had entitlements, which are the owner's to grant: he alone may run it again"}
	}
	run, err := s.Runs.Rerun(r.Context(), old.ID, keepsRegistry(r.Context()))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newRun(rootOf(r), run))
}

// updateRun changes the only thing about a run that may change.
func (s *Server) updateRun(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		IsArchiveEnabled *bool `json:"isArchiveEnabled"`
		Properties       struct {
			IsArchiveEnabled *bool `json:"isArchiveEnabled"`
		} `json:"properties"`
	}
	if err := read(w, r, &body); err != nil {
		return err
	}
	archive := body.IsArchiveEnabled
	if archive == nil {
		archive = body.Properties.IsArchiveEnabled
	}
	if archive == nil {
		return s.show(w, r)
	}
	run, err := s.Runs.Archive(r.Context(), r.PathValue("run"), *archive)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newRun(rootOf(r), run))
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("run")
	if err := s.Runs.Cancel(r.Context(), id); err != nil && !errors.Is(err, runner.ErrFinal) {
		return err
	}
	run, err := s.Records.Run(r.Context(), id)
	if err != nil {
		return err
	}
	return s.canceling(w, r, run)
}

// logLinkLife is how long the address of a log is good.
const logLinkLife = time.Hour

func (s *Server) logURL(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		LogLink         string  `json:"logLink"`
		LogArtifactLink *string `json:"logArtifactLink"`
	}{scheme(r) + "://" + s.address(r) + s.LogLink(run.ID, time.Now().Add(logLinkLife)), nil})
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
// What goes wrong after the first byte breaks the connection off: a log that is
// cut short must not look whole.
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
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			panic(http.ErrAbortHandler)
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
