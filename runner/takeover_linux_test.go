package runner_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrd/internal/logs"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// workerVar makes this test's program a daemon that executes runs: it holds
// the folder that says on what.
const workerVar = "ACRD_TEST_WORKER"

func TestMain(m *testing.M) {
	if name := os.Getenv(workerVar); name != "" {
		if err := work(name, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// takeoverLease is short, so that the test is.
const takeoverLease = 3 * time.Second

// work executes runs until SIGTERM. Each step is noted in a file when it
// begins and when it has ended.
func work(name, url, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Options{URL: url, Sealer: key})
	if err != nil {
		return err
	}
	notes, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	note := func(what, step string) { fmt.Fprintf(notes, "%s %s %s\n", what, name, step) }
	engine := &stepstest.Fake{
		ExecFunc: func(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
			note("begin", op.Args[0])
			time.Sleep(100 * time.Millisecond)
			note("end", op.Args[0])
			return nil
		},
		BuildFunc: func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
			time.Sleep(100 * time.Millisecond)
			return &steps.Image{Tags: op.Tags, Digest: "sha256:aa"}, nil
		},
	}
	r := &runner.Runner{
		Store: db, Logs: &logs.Dir{Path: filepath.Join(dir, name, "logs")}, Sources: noSources{}, Engine: engine, Registry: "r.io",
		Dir: filepath.Join(dir, name, "runs"), Name: name, Lease: takeoverLease, Slots: 8,
	}
	go func() { _ = db.Serve(context.WithoutCancel(ctx)) }()
	return r.Serve(ctx)
}

func startWorker(t *testing.T, name, url, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, url, dir)
	cmd.Env = append(os.Environ(), workerVar+"="+name)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// TestTakeover kills one of two daemons in the middle of 200 runs. Each run
// must end, once; no command may be executed twice; and what the dead one held
// must be settled within two leases.
func TestTakeover(t *testing.T) {
	server := storetest.StartPostgres(t)
	url, dir := server.Database(t), t.TempDir()
	key, err := secrets.OpenKeyFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, url, key)
	submit := &runner.Runner{Store: db, Logs: &logs.Dir{Path: t.TempDir()}, Registry: "r.io", Name: "front"}
	const n = 200
	for i := range n {
		file := "steps: [{id: b, build: -t app /dev/null}]"
		if i%2 == 0 {
			file = fmt.Sprintf("steps: [{id: c, cmd: x run%d}]", i)
		}
		if _, err := submit.Submit(t.Context(), runner.Request{Inline: []byte(file)}); err != nil {
			t.Fatal(err)
		}
	}
	doomed := startWorker(t, "doomed", url, dir)
	startWorker(t, "survivor", url, dir)
	waitFor(t, db, "a quarter of the runs", func(ended, _ int) bool { return ended >= n/4 })
	waitFor(t, db, "work on the doomed", func(int, int) bool { return len(heldByDoomed(t, db)) > 0 })
	held := heldByDoomed(t, db)
	_ = doomed.Process.Kill()
	_ = doomed.Wait()
	killed := time.Now()
	waitFor(t, db, "settling", func(int, int) bool { return len(heldByDoomed(t, db)) == 0 })
	took := time.Since(killed)
	t.Logf("%d runs were held by the one that was killed; settled after %v", len(held), took)
	if took > 2*takeoverLease {
		t.Errorf("settled after %v, more than two leases", took)
	}
	waitFor(t, db, "the end", func(ended, _ int) bool { return ended == n })
	checkTakeover(t, db, dir, n)
}

// heldByDoomed lists the runs that the daemon of that name holds.
func heldByDoomed(t *testing.T, db *store.DB) []string {
	t.Helper()
	runs, err := db.Runs(t.Context(), runner.Filter{Statuses: []runner.Status{runner.Started, runner.Running}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range runs {
		if strings.HasPrefix(r.Owner, "doomed") {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func waitFor(t *testing.T, db *store.DB, what string, done func(ended, all int) bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		runs, err := db.Runs(t.Context(), runner.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		ended := 0
		for _, r := range runs {
			if r.Status.Final() {
				ended++
			}
		}
		if done(ended, len(runs)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s: %d of %d runs have ended", what, ended, len(runs))
		}
	}
}

func checkTakeover(t *testing.T, db *store.DB, dir string, n int) {
	t.Helper()
	runs, err := db.Runs(t.Context(), runner.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	finished := finishedEvents(t, db)
	statuses := map[runner.Status]int{}
	requeued := 0
	for _, r := range runs {
		statuses[r.Status]++
		requeued += r.Requeued
		if finished[r.ID] != 1 {
			t.Errorf("run %s ended %d times", r.ID, finished[r.ID])
		}
		if r.Status == runner.Error && !strings.Contains(r.Err, "may not be done twice") {
			t.Errorf("run %s is Error: %s", r.ID, r.Err)
		}
	}
	t.Logf("runs: %v, put back: %d", statuses, requeued)
	if statuses[runner.Succeeded]+statuses[runner.Error] != n || statuses[runner.Error] > 8 || requeued == 0 && statuses[runner.Error] == 0 {
		t.Errorf("statuses %v of %d runs", statuses, n)
	}
	b, err := os.ReadFile(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	begun := map[string]int{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "begin" {
			begun[f[2]]++
		}
	}
	for step, times := range begun {
		if times > 1 {
			t.Errorf("the command of %s was executed %d times", step, times)
		}
	}
	// A run that was cut off when its command was about to begin may have ended
	// as Error without it; one that succeeded has executed it, once.
	for _, r := range runs {
		_, command, ok := strings.Cut(string(r.Request.Inline), "cmd: x ")
		if command, _, _ = strings.Cut(command, "}"); ok && r.Status == runner.Succeeded && begun[command] != 1 {
			t.Errorf("run %s succeeded, and executed %s %d times", r.ID, command, begun[command])
		}
	}
}
