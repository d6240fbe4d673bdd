package integration

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/runner"
)

// A soak puts load on a daemon that is killed again and again, and knows in
// the end what must have become of each run.
type soak struct {
	*daemon
	clients []*api.Client // by socket and by TCP
	counts  string        // a folder in which cmd steps count
	source  string        // a context with Dockerfile and acb.yaml

	mu    sync.Mutex               // guards what follows
	acked map[string]string        // the kind of each run that was acknowledged
	ended map[string]runner.Status // as it was first seen to have ended
}

// prefilled is how many runs there are before the first one.
const prefilled = 10_000

// restartBar bounds the time from the start of a daemon to its answer.
const restartBar = 5 * time.Second

// TestKilled kills daemon and engine at random points under load, $ACRD_SOAK
// times. Each run that was acknowledged ends once, by the crash policy
// (docs/decisions/0011), and no cmd or push step is done twice.
func TestKilled(t *testing.T) {
	need(t)
	kills := 60
	if text := os.Getenv("ACRD_SOAK"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("ACRD_SOAK: %v", err)
		}
	}
	s := startSoak(t)
	for _, kind := range soakKinds {
		if id := s.submit(t.Context(), kind, s.clients[0]); id == "" {
			t.Fatal("the first run was not taken")
		}
	}
	s.awaitEnd(time.Minute)
	before := s.idle()

	stop := s.load()
	restarts := s.killOften(kills)
	stop()
	s.awaitEnd(time.Minute)
	s.check()
	s.quiet(before, 15*time.Second)
	if s.Failed() {
		out, _ := exec.Command("ls", "-laR", s.state+"/runs").CombinedOutput()
		s.Logf("the folders of runs:\n%s\nthe daemon's last words:\n%s", out, s.log)
	}
	s.stop()
	s.quiet(nil, 5*time.Second)
	s.checkEvents()

	slices.Sort(restarts)
	p50, p99 := restarts[len(restarts)/2], restarts[len(restarts)*99/100]
	t.Logf("%d kills; %d runs acknowledged; %d restarts: p50 %v, p99 %v", kills, len(s.acked), len(restarts),
		p50.Round(time.Millisecond), p99.Round(time.Millisecond))
	if p99 > restartBar {
		t.Errorf("restart to ready: p99 %v, want at most %v", p99, restartBar)
	}
}

// TestKilledFolders kills a daemon as its steps start, when runc makes the
// paths of a container: the folders of its runs are gone all the same.
func TestKilledFolders(t *testing.T) {
	need(t)
	s := startSoak(t)
	for _, kind := range soakKinds {
		s.submit(t.Context(), kind, s.clients[0])
	}
	s.awaitEnd(time.Minute)
	before := s.idle()
	for range 16 {
		for range 4 {
			s.submit(t.Context(), "cmd", s.clients[0])
		}
		time.Sleep(rand.N(150 * time.Millisecond))
		s.kill()
		s.restart()
		s.awaitEnd(time.Minute)
		s.quiet(before, 15*time.Second)
	}
}

func startSoak(t *testing.T) *soak {
	s := &soak{
		daemon: &daemon{TB: t, state: shortDir(t)}, counts: t.TempDir(),
		acked: map[string]string{}, ended: map[string]runner.Status{},
	}
	prefill(t, s.state)
	s.start()
	t.Cleanup(s.stop)
	s.base()
	token, err := os.ReadFile(filepath.Join(s.state, "token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{"unix:" + filepath.Join(s.state, "acrd.sock"), "http://" + s.registry} {
		c, err := api.NewClient(server, strings.TrimSpace(string(token)))
		if err != nil {
			t.Fatal(err)
		}
		s.clients = append(s.clients, c)
	}
	packed, err := contexts.Pack(t.Context(), contexts.PackOptions{Dir: s.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nARG run\nRUN echo $run > /run\n",
		"acb.yaml": `version: v1.1.0
steps:
  - id: build
    build: -t $Registry/soak/file:{{.Run.ID}} --build-arg run={{.Run.ID}} .
  - cmd: -v ` + s.counts + `:/counts $Registry/soak/file:{{.Run.ID}} sh -c 'echo {{.Run.ID}} >> /counts/executed'
  - push: ["$Registry/soak/file:{{.Run.ID}}"]
`,
	})})
	if err != nil {
		t.Fatal(err)
	}
	up := contexts.Client{HTTP: s.clients[0].HTTP(), URL: s.clients[0].Contexts()}
	digest, err := up.Upload(t.Context(), packed)
	if err != nil {
		t.Fatal(err)
	}
	s.source = runner.UploadScheme + digest.String()
	return s
}

// prefill makes the store of a daemon that has seen many runs: in memory, for
// each is a transaction or two, and then on the disk.
func prefill(t *testing.T, state string) {
	t.Helper()
	key, err := secrets.OpenKeyFile(filepath.Join(state, "key"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "acrd-soak-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(t.Context(), store.Options{URL: filepath.Join(dir, "acrd.db"), Sealer: key})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range prefilled {
		now := time.Now()
		run := &runner.Run{Type: runner.QuickRun, Status: runner.Queued, Created: now, Updated: now, Request: runner.Request{Inline: []byte("steps: [{cmd: x}]")}}
		if err := db.AddRun(t.Context(), run, func(*runner.Run) ([]eventing.Event, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		_, err := db.ChangeRun(t.Context(), run.ID, func(r *runner.Run) ([]eventing.Event, error) {
			r.Status, r.Finished = runner.Succeeded, now
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Backup(t.Context(), filepath.Join(state, "acrd.db")); err != nil {
		t.Fatal(err)
	}
}

// soakKinds are the kinds of runs of the load.
var soakKinds = []string{"cmd", "build", "file"}

func (s *soak) request(kind string) *api.RunRequest {
	switch kind {
	case "build":
		return &api.RunRequest{
			Type: api.DockerBuild, SourceLocation: s.source, ImageNames: []string{"soak/build:{{.Run.ID}}"},
			DockerFilePath: "Dockerfile", Arguments: []api.Argument{{Name: "run", Value: "{{.Run.ID}}"}},
		}
	case "file":
		return &api.RunRequest{Type: api.FileTask, SourceLocation: s.source, TaskFilePath: "acb.yaml", Entitlements: []string{"mount"}}
	}
	yaml := `version: v1.1.0
steps:
  - cmd: -v ` + s.counts + `:/counts $Registry/base/busybox:1 sh -c 'echo {{.Run.ID}} >> /counts/executed; sleep 0.1'
`
	return &api.RunRequest{Type: api.EncodedTask, EncodedTaskContent: base64.StdEncoding.EncodeToString([]byte(yaml)), Entitlements: []string{"mount"}}
}

// submit returns the id of the run if it was acknowledged. What the daemon
// says must be no refusal: it may only be gone.
func (s *soak) submit(ctx context.Context, kind string, c *api.Client) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	run, err := c.Schedule(ctx, s.request(kind))
	if problem, ok := errors.AsType[*api.Problem](err); ok {
		s.Errorf("submission was refused: %d %s", problem.Status, problem.Message)
	}
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[run.Name] = kind
	return run.Name
}

// backlog is how many runs may wait or be in progress.
const backlog = 16

// load submits runs, and watches them end, until stop is called.
func (s *soak) load() (stop func()) {
	ctx, cancel := context.WithCancel(s.Context())
	var all sync.WaitGroup
	for _, c := range s.clients {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if s.open() >= backlog || s.submit(ctx, soakKinds[n%len(soakKinds)], c) == "" {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			s.watch(ctx)
			time.Sleep(200 * time.Millisecond)
		}
	})
	return func() { cancel(); all.Wait() }
}

func (s *soak) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked) - len(s.ended)
}

// watch notes which runs have ended. None may end otherwise later.
func (s *soak) watch(ctx context.Context) {
	runs, err := s.clients[0].Runs(ctx, 4*backlog)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range runs {
		now, before := runner.Status(run.Properties.Status), s.ended[run.Name]
		if before != "" && before != now {
			s.Errorf("run %s was %s, and is %s", run.Name, before, now)
		}
		if s.acked[run.Name] != "" && now.Final() {
			s.ended[run.Name] = now
		}
	}
}

// killOften kills the daemon or its engine at random points, and returns how
// long each restart has taken. Now and then a daemon dies that is not ready
// yet. An engine that dies too often is given a long pause, so that is left to
// others to test.
func (s *soak) killOften(kills int) (restarts []time.Duration) {
	engines := 0 // in a row
	for n := 1; n <= kills; n++ {
		time.Sleep(500*time.Millisecond + rand.N(time.Second))
		if pid := s.findEngine(); pid != 0 && engines < 3 && rand.N(2) == 0 {
			engines++
			_ = syscall.Kill(pid, syscall.SIGKILL)
			continue
		}
		engines = 0
		s.kill()
		if n < kills && rand.N(6) == 0 {
			n++
			s.launch()
			time.Sleep(rand.N(400 * time.Millisecond))
			s.kill()
		}
		restarts = append(restarts, timed(s.restart))
	}
	return restarts
}

func (s *soak) kill() {
	_ = s.cmd.Process.Kill()
	<-s.gone
}

func (s *soak) restart() {
	s.start()
	if code, text := s.get("/healthz"); code != http.StatusOK {
		s.Fatalf("a daemon that is ready answers %d %s", code, text)
	}
	if _, err := s.clients[0].Runs(s.Context(), 1); err != nil {
		s.Fatalf("a daemon that is ready lists no runs: %v", err)
	}
}

// awaitEnd waits until no run is queued or in progress. It has to find none
// twice: one that goes back to the queue meanwhile may be missed once.
func (s *soak) awaitEnd(patience time.Duration) {
	s.Helper()
	var open []string
	none := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		s.watch(s.Context())
		open = nil
		for _, status := range []runner.Status{runner.Queued, runner.Started, runner.Running} {
			runs, err := s.clients[0].Find(s.Context(), fmt.Sprintf("Status eq '%s'", status), 100)
			if err != nil {
				s.Fatal(err)
			}
			for _, run := range runs {
				open = append(open, run.Name+" "+run.Properties.Status)
			}
		}
		if none++; len(open) > 0 {
			none = 0
		}
		if none == 2 {
			return
		}
	}
	s.Fatalf("not ended after %v: %v\n%s", patience, open, s.log)
}

// check holds each run to what must be true of it.
func (s *soak) check() {
	runs, err := s.clients[0].Runs(s.Context(), 100_000)
	if err != nil {
		s.Fatal(err)
	}
	runs = runs[:max(0, len(runs)-prefilled)]
	executed := s.executed()
	reasons := map[string]int{}
	found := map[string]bool{}
	for _, run := range runs {
		found[run.Name] = true
		s.checkRun(run, executed[run.Name])
		why := run.Properties.RunErrorMessage
		reasons[run.Properties.Status+" "+why[:min(len(why), 60)]]++
	}
	for id := range s.acked {
		if !found[id] {
			s.Errorf("run %s was acknowledged, and is lost", id)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		s.Logf("%4d %s", reasons[reason], reason)
	}
}

// executed is how often each run's cmd step has counted.
func (s *soak) executed() map[string]int {
	text, err := os.ReadFile(filepath.Join(s.counts, "executed"))
	if err != nil {
		s.Fatal(err)
	}
	counts := map[string]int{}
	for id := range strings.FieldsSeq(string(text)) {
		counts[id]++
	}
	return counts
}

func (s *soak) checkRun(run *api.Run, executed int) {
	p, kind := &run.Properties, s.acked[run.Name]
	switch runner.Status(p.Status) {
	case runner.Succeeded:
		if kind != "" && kind != "build" && executed != 1 {
			s.Errorf("run %s succeeded, and its cmd step was done %d times", run.Name, executed)
		}
		for _, image := range p.OutputImages {
			if got, err := s.clients[0].Digest(s.Context(), image.Repository+":"+image.Tag); err != nil || got != image.Digest {
				s.Errorf("run %s has pushed %s:%s as %s; the registry has %s (%v)", run.Name, image.Repository, image.Tag, image.Digest, got, err)
			}
		}
		if len(p.OutputImages) == 0 && (kind == "build" || kind == "file") {
			s.Errorf("run %s succeeded, and has pushed nothing", run.Name)
		}
	case runner.Error:
		if !strings.Contains(p.RunErrorMessage, "daemon") && !strings.Contains(p.RunErrorMessage, "build engine") {
			s.Errorf("run %s does not say who died: %s\n%s", run.Name, p.RunErrorMessage, s.runLog(run.Name))
		}
	default:
		s.Errorf("run %s is %s: %s\n%s", run.Name, p.Status, p.RunErrorMessage, s.runLog(run.Name))
	}
	text := s.runLog(run.Name)
	for _, step := range p.Steps {
		if n := strings.Count(text, "Executing step ID: "+step.ID+"."); n > 1 && step.ID != "build" {
			s.Errorf("run %s: step %s was begun %d times:\n%s", run.Name, step.ID, n, text)
		}
	}
	if executed > 1 {
		s.Errorf("run %s: its cmd step was done %d times:\n%s", run.Name, executed, text)
	}
}

func (s *soak) runLog(id string) string {
	r, err := s.clients[0].Log(s.Context(), id, api.LogOptions{})
	if err != nil {
		s.Errorf("log of run %s: %v", id, err)
		return ""
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		s.Errorf("log of run %s: %v", id, err)
	}
	return string(text)
}

// checkEvents counts in the store of a daemon that is gone how often the end
// of each run was told.
func (s *soak) checkEvents() {
	db, err := sql.Open("sqlite", filepath.Join(s.state, "acrd.db"))
	if err != nil {
		s.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(s.Context(), "SELECT subject, count(*) FROM events WHERE type IN (?, ?) GROUP BY subject", eventing.RunSucceeded, eventing.RunFailed)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	told := map[string]int{}
	for rows.Next() {
		var id string
		var n int
		if err := rows.Scan(&id, &n); err != nil {
			s.Fatal(err)
		}
		told[id] = n
	}
	if err := cmp.Or(rows.Err(), rows.Close()); err != nil {
		s.Fatal(err)
	}
	for id := range s.acked {
		if told[id] != 1 {
			s.Errorf("the end of run %s was told %d times", id, told[id])
		}
	}
}
