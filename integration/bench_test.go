package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/internal/buildkit"
	"acrd/internal/buildkit/control"
	"acrd/steps"
)

// The benchmarks measure whole operations, each at least rounds times, and
// report medians; where there is a peer, the two take turns and the ratio of
// the medians is reported too. Machines are noisy: read the ratios.
const rounds = 15

// median runs f rounds times, after once to warm up.
func median(b *testing.B, f func()) time.Duration {
	b.Helper()
	all, _ := turns(b, f, nil)
	b.ReportMetric(ms(all), "ms-median")
	return all
}

// against is median for two that take turns.
func against(b *testing.B, bar float64, ours, peer func()) {
	b.Helper()
	a, p := turns(b, ours, peer)
	b.ReportMetric(ms(a), "ms-median")
	b.ReportMetric(ms(p), "ms-peer")
	b.ReportMetric(float64(a)/float64(p), "ratio")
	b.ReportMetric(bar, "ratio-bar")
}

func turns(b *testing.B, ours, peer func()) (a, p time.Duration) {
	b.Helper()
	var as, ps []time.Duration
	for b.Loop() {
		as, ps = nil, nil
		for round := range rounds + 1 {
			t := timed(ours)
			var u time.Duration
			if peer != nil {
				u = timed(peer)
			}
			if round > 0 {
				as, ps = append(as, t), append(ps, u)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of all rounds together: says nothing
	return middle(as), middle(ps)
}

func timed(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkBuild is a fully cached acrd build with push, against the same by
// BuildKit's own client on the same engine; both as processes.
func BenchmarkBuild(b *testing.B) {
	d := startBench(b)
	peer := filepath.Join(built, "peer")
	if out, err := exec.Command("go", "build", "-o", peer, "./peer").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nCOPY page /www/\nRUN sed -i s/a/b/ /www/page\nCMD [\"httpd\", \"-f\"]\n", "page": "a page\n",
	})
	against(b, 1.3,
		func() { d.succeed(d.acrd(dir, "build", "-t", "bench/app:1", ".")) },
		func() {
			out, err := exec.Command(peer, filepath.Join(d.state, "engine", "buildkit.sock"), dir, d.registry+"/bench/peer:1").CombinedOutput()
			if err != nil {
				b.Fatalf("peer: %v\n%s", err, out)
			}
		})
}

func startBench(b *testing.B) *daemon {
	b.Helper()
	need(b)
	d := start(b)
	d.base()
	return d
}

// BenchmarkCmd is one cmd step of /bin/true, against a bare runc run of the
// same root folder.
func BenchmarkCmd(b *testing.B) {
	d := startBench(b)
	session := benchSession(b, d)
	runc := bareRunc(b)
	against(b, 2.2, func() {
		err := session.Exec(b.Context(), &steps.ExecOp{
			Step: "it", Image: d.registry + "/base/busybox:1", Args: []string{"true"}, Network: steps.DefaultNetwork, WorkDir: steps.WorkspaceDir,
		}, steps.Output{Stdout: &output{}, Stderr: &output{}})
		if err != nil {
			b.Fatal(err)
		}
	}, runc)
}

// benchSession is a run on an engine child of its own.
func benchSession(b *testing.B, d *daemon) steps.Session {
	b.Helper()
	state := shortDir(b)
	e := buildkit.New(buildkit.Options{
		Config:  control.Config{Dir: filepath.Join(state, "engine"), Instance: "bench", PlainHTTP: []string{d.registry}, Run: control.Limits{PIDs: 4096, Memory: 4 << 30}},
		Command: []string{filepath.Join(built, "acrd"), "engine"},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
	dir := filepath.Join(state, "runs", "bench")
	p := &steps.Place{Run: "bench", Dir: dir, Workspace: filepath.Join(dir, "workspace"), Home: filepath.Join(dir, "home"), Registry: d.registry}
	for _, f := range []string{p.Workspace, p.Home} {
		if err := os.MkdirAll(f, 0o777); err != nil {
			b.Fatal(err)
		}
	}
	s, err := e.Open(b.Context(), p)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(ctx) })
	return s
}

// bareRunc prepares a bundle with the host's busybox and returns what runs it.
func bareRunc(b *testing.B) func() {
	b.Helper()
	bundle := b.TempDir()
	bin := filepath.Join(bundle, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		b.Fatal(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		b.Skip("busybox-static is not installed: make deps")
	}
	if err := os.WriteFile(filepath.Join(bin, "true"), busybox, 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("runc", "spec")
	cmd.Dir = bundle
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("runc spec: %v\n%s", err, out)
	}
	file := filepath.Join(bundle, "config.json")
	spec, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	text := strings.NewReplacer(`"terminal": true`, `"terminal": false`, `"sh"`, `"/bin/true"`).Replace(string(spec))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	n := 0
	return func() {
		n++
		out, err := exec.Command("runc", "run", "--bundle", bundle, fmt.Sprintf("acrd-bench-%d-%d", os.Getpid(), n)).CombinedOutput()
		if err != nil {
			b.Fatalf("runc run: %v\n%s", err, out)
		}
	}
}

// BenchmarkTwentySteps is a run of 20 trivial cmd steps by the command line,
// against twenty bare runc run.
func BenchmarkTwentySteps(b *testing.B) {
	d := startBench(b)
	yaml := "steps:\n" + strings.Repeat("  - cmd: REGISTRY/base/busybox:1 true\n", 20)
	dir := d.folder(map[string]string{"acb.yaml": yaml})
	runc := bareRunc(b)
	against(b, 2.5,
		func() { d.succeed(d.acrd(dir, "run", ".")) },
		func() {
			for range 20 {
				runc()
			}
		})
}

// BenchmarkThreeSteps is a run of build, cmd and push by the command line,
// warm.
func BenchmarkThreeSteps(b *testing.B) {
	d := startBench(b)
	dir := d.folder(map[string]string{
		"acb.yaml":   "version: v1.1.0\nsteps:\n  - build: -t $Registry/three:1 .\n  - cmd: $Registry/three:1 true\n  - push: [\"$Registry/three:1\"]\n",
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo hello > /hello\n",
	})
	median(b, func() { d.succeed(d.acrd(dir, "run", ".")) })
	b.ReportMetric(250, "ms-bar")
}

// BenchmarkParallel is 20 runs of 5 steps at once; every one must be right.
func BenchmarkParallel(b *testing.B) {
	d := startBench(b)
	dir := d.folder(map[string]string{"acb.yaml": "steps:\n" + strings.Repeat("  - cmd: REGISTRY/base/busybox:1 sh -c 'test \"$(cat id 2>/dev/null)\" = \"\" || exit 1; echo x > id; rm id'\n", 5)})
	for b.Loop() {
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if r := d.acrd(dir, "run", "."); r.code != 0 {
					b.Errorf("exit code %d:\n%s", r.code, r)
				}
			})
		}
		all.Wait()
	}
}

// BenchmarkReady is the time from the start of acrd serve to its first answer.
func BenchmarkReady(b *testing.B) {
	need(b)
	d := start(b)
	var all []time.Duration
	for b.Loop() {
		all = nil
		for range rounds {
			d.stop()
			all = append(all, timed(func() { d.start() }))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(middle(all)), "ms-median")
	b.ReportMetric(500, "ms-bar")
}

// BenchmarkIdleMemory is what daemon and engine hold after some work.
func BenchmarkIdleMemory(b *testing.B) {
	d := startBench(b)
	dir := d.folder(map[string]string{"acb.yaml": "steps:\n" + strings.Repeat("  - cmd: REGISTRY/base/busybox:1 true\n", 5)})
	for b.Loop() {
		d.succeed(d.acrd(dir, "run", "."))
	}
	time.Sleep(3 * time.Second)
	daemonRSS, engineRSS := rss(b, d.cmd.Process.Pid), rss(b, d.enginePID())
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(daemonRSS)/(1<<20), "MB-daemon")
	b.ReportMetric(float64(engineRSS)/(1<<20), "MB-engine")
	b.ReportMetric(120, "MB-bar")
}

// BenchmarkFollowers is the daemon's memory while a thousand clients follow
// the log of one run over HTTP, each on a connection of its own.
func BenchmarkFollowers(b *testing.B) {
	d := startBench(b)
	token, err := os.ReadFile(filepath.Join(d.state, "token"))
	if err != nil {
		b.Fatal(err)
	}
	client, err := api.NewClient("http://"+d.registry, strings.TrimSpace(string(token)))
	if err != nil {
		b.Fatal(err)
	}
	yaml := "version: v1.1.0\nsteps:\n  - cmd: $Registry/base/busybox:1 sh -c 'for i in $(seq 150); do seq 100; sleep 0.1; done'\n"
	var most int64
	for b.Loop() {
		run, err := client.Schedule(b.Context(), &api.RunRequest{Type: api.EncodedTask, EncodedTaskContent: base64.StdEncoding.EncodeToString([]byte(yaml))})
		if err != nil {
			b.Fatal(err)
		}
		most = max(most, d.follow(client, run.Name, 1000))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(most)/(1<<20), "MiB-daemon")
	b.ReportMetric(256, "MiB-bar")
}

// follow follows a run with many clients to its end, each of which must read
// the whole log, and returns the most memory that the daemon had meanwhile.
func (d *daemon) follow(c *api.Client, run string, clients int) (most int64) {
	var all sync.WaitGroup
	lengths := make([]int64, clients)
	for i := range clients {
		all.Go(func() {
			r, err := c.Log(d.Context(), run, api.LogOptions{Follow: true})
			if err != nil {
				d.Error(err)
				return
			}
			defer r.Close()
			if lengths[i], err = io.Copy(io.Discard, r); err != nil {
				d.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for {
		most = max(most, rss(d, d.cmd.Process.Pid))
		select {
		case <-done:
			if slices.Min(lengths) != slices.Max(lengths) || lengths[0] < 15_000 {
				d.Errorf("logs were read to %d up to %d bytes", slices.Min(lengths), slices.Max(lengths))
			}
			return most
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func rss(b testing.TB, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

// BenchmarkLargeContext is acrd build of an unchanged folder of 200 MB.
func BenchmarkLargeContext(b *testing.B) {
	d := startBench(b)
	dir := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nCOPY . /src\n"})
	random := rand.NewChaCha8([32]byte{1})
	for i := range 2000 {
		var buf bytes.Buffer
		chunk := make([]byte, 100<<10)
		_, _ = random.Read(chunk)
		buf.Write(chunk)
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%20), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(2500 * time.Millisecond) // files this young are read again, see internal/contexts
	first := timed(func() { d.succeed(d.acrd(dir, "build", "--no-push", ".")) })
	median(b, func() { d.succeed(d.acrd(dir, "build", "--no-push", ".")) })
	b.ReportMetric(ms(first), "ms-first")
	b.ReportMetric(300, "ms-bar")
}
