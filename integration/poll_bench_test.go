package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"acrd/internal/source"
	"acrd/internal/store"
	"acrd/runner"
	"acrd/steps"
	"acrd/triggers"
)

const pollServer = "ACRD_POLL_SERVER"

// TestPollServer is not a test: it is the git server of BenchmarkPoll, in a
// process of its own, so that what it takes is not counted.
func TestPollServer(t *testing.T) {
	address := os.Getenv(pollServer)
	if address == "" {
		t.Skip("it is started by BenchmarkPoll")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // on loopback, for a benchmark
		if r.URL.Path == "/asked" {
			fmt.Fprint(w, asked.Load())
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Add(1)
		sum := sha256.Sum256([]byte(r.URL.Path))
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		line := hex.EncodeToString(sum[:20]) + " refs/heads/main\n"
		fmt.Fprintf(w, "%04x%s0000", len(line)+4, line)
	}))
}

// benchGit is what acrd serve has.
type benchGit struct{ fetcher *source.Fetcher }

func (g benchGit) Refs(ctx context.Context, r triggers.Remote, prefixes []string) (*triggers.Listing, error) {
	c, err := steps.ParseGit(r.URL)
	if err != nil {
		return nil, err
	}
	refs, err := g.fetcher.Refs(ctx, c, prefixes)
	if err != nil {
		return nil, err
	}
	return &triggers.Listing{Refs: refs.Commits, Head: refs.Head}, nil
}

func (benchGit) Change(context.Context, triggers.Remote, string, string) (*triggers.Change, error) {
	return nil, errors.New("nothing changes here")
}

// openSealer seals nothing: what encryption takes is too little to count.
type openSealer struct{}

func (openSealer) SealFor(_ string, plain []byte) ([]byte, error)  { return plain, nil }
func (openSealer) OpenFor(_ string, sealed []byte) ([]byte, error) { return sealed, nil }

// BenchmarkPoll looks at 10,000 repositories a minute, of as many tasks on the
// real store, for a minute. The bars are 2 % of a core and 32 MiB.
func BenchmarkPoll(b *testing.B) {
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		b.Skip("ACRD_INTEGRATION is not 1")
	}
	const repositories = 10_000
	address := startPollServer(b)
	dir, err := os.MkdirTemp("/dev/shm", "acrd-poll-") // a slow disk would only make it longer
	if err != nil {
		b.Skip("there is no /dev/shm")
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	db, err := store.Open(b.Context(), store.Options{URL: filepath.Join(dir, "db"), Sealer: openSealer{}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for i := range repositories {
		name := fmt.Sprintf("task-%05d", i)
		_, err := db.ChangeTask(b.Context(), name, func(*runner.Task) (*runner.Task, error) {
			t := &runner.Task{Name: name}
			url := fmt.Sprintf("http://%s/owner/repository-%05d.git", address, i)
			t.Step = runner.TaskStep{Type: runner.DockerStep, ContextPath: url + "#main", Dockerfile: "Dockerfile"}
			t.Trigger = &runner.TaskTrigger{Sources: []runner.SourceTrigger{{
				Name: "src", Events: []string{runner.CommitEvent}, Repository: runner.SourceRepository{URL: url, Branch: "main"},
			}}}
			return t, nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	before := resident(b)
	c := &triggers.Commits{Tasks: db, Watches: db, Intents: db, Events: db, Git: benchGit{&source.Fetcher{Dir: dir}}}
	ctx, cancel := context.WithCancelCause(b.Context())
	var serving sync.WaitGroup
	serving.Go(func() { _ = c.Serve(ctx) })
	for asked(b, address) < repositories { // everything is looked at once
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(65 * time.Second) // everything has found its own time
	looked, cpu, began := asked(b, address), cpuTime(), time.Now()
	b.ResetTimer()
	time.Sleep(time.Minute)
	b.StopTimer()
	took := time.Since(began)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*(cpuTime()-cpu).Seconds()/took.Seconds(), "%core")
	b.ReportMetric(2, "%core-bar")
	b.ReportMetric(float64(asked(b, address)-looked)/took.Minutes(), "looks/min")
	b.ReportMetric(float64(resident(b)-before)/(1<<20), "MiB-more")
	b.ReportMetric(float64(resident(b))/(1<<20), "MiB-all")
	b.ReportMetric(32, "MiB-bar")
	cancel(nil)
	serving.Wait()
}

func startPollServer(b *testing.B) string {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPollServer$", "-test.timeout", "10m")
	cmd.Env = append(os.Environ(), pollServer+"="+address, "ACRD_INTEGRATION=")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		if resp, err := http.Get("http://" + address + "/asked"); err == nil {
			resp.Body.Close()
			return address
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("the git server does not start")
	return ""
}

func asked(b *testing.B, address string) (n int64) {
	b.Helper()
	resp, err := http.Get("http://" + address + "/asked")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := fmt.Fscan(resp.Body, &n); err != nil {
		b.Fatal(err)
	}
	return n
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is what the process has in memory.
func resident(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		b.Fatal(err)
	}
	return kb << 10
}
