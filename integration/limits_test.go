package integration

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
)

// TestLimits runs into the limits of a run, of a step's own and of a RUN's:
// what is said names the limit, and a neighbour does not notice.
func TestLimits(t *testing.T) {
	t.Parallel()
	need(t)
	d := start(t, "--run-memory", "96m", "--run-pids", "60", "--run-disk", "64m", "--run-files", "3000")
	d.base()
	const (
		image = "REGISTRY/base/busybox:1"
		eat   = `x=x; while true; do x=$x$x; done`
		fill  = `i=0; while true; do dd if=/dev/zero of=/tmp/$i bs=1M count=4 2>/dev/null; i=$((i+1)); done`
		touch = `i=0; while true; do true >/tmp/$i; i=$((i+1)); done`
		fork  = `for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; done; wait`
	)
	step := func(words string) map[string]string {
		return map[string]string{"acb.yaml": "steps:\n  - id: it\n    cmd: " + words + "\n"}
	}
	neighbour := d.begin(d.folder(step(image+" sh -c 'echo it is here; sleep 100000'")), "run", ".")
	neighbour.await("it is here")
	for _, tt := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		{"memory of the run", step(image + " sh -c '" + eat + "'"), []string{"run", "."}, "exit status 137: out of memory"},
		{"memory of the step", step("--memory 16m " + image + " sh -c '" + eat + "'"), []string{"run", "."}, "exit status 137: out of memory"},
		{"memory of a child", step(image + " sh -c 'sh -c \"x=x; while true; do x=\\$x\\$x; done\"; exit $?'"), []string{"run", "."}, "exit status 137: out of memory"},
		{"processes of the run", step(image + " sh -c '" + fork + "'"), []string{"run", "."}, "too many processes"},
		{"processes of the step", step("--pids-limit 8 " + image + " sh -c '" + fork + "'"), []string{"run", "."}, "too many processes"},
		{"memory of RUN", map[string]string{"Dockerfile": "FROM " + image + "\nRUN " + eat + "\n"}, []string{"build", "--no-push", "."}, "out of memory (limit 96 MiB)"},
		{"processes of RUN", map[string]string{"Dockerfile": "FROM " + image + "\nRUN " + fork + "\n"}, []string{"build", "--no-push", "."}, "too many processes (limit 60)"},
		{"disk of the run", step(image + " sh -c '" + fill + "'"), []string{"run", "."}, "exit status 137: out of disk space (limit 64 MiB)"},
		{"disk of the workspace", step(image + " sh -c '" + strings.ReplaceAll(fill, "/tmp", "/workspace") + "'"), []string{"run", "."}, "exit status 137: out of disk space (limit 64 MiB)"},
		{"files of the run", step(image + " sh -c '" + touch + "'"), []string{"run", "."}, "exit status 137: too many files (limit 3000)"},
		{"disk of RUN", map[string]string{"Dockerfile": "FROM " + image + "\nRUN mkdir -p /tmp; " + fill + "\n"}, []string{"build", "--no-push", "."}, "out of disk space (limit 64 MiB)"},
		{"disk of RUN from scratch", map[string]string{"Dockerfile": "FROM " + image + " AS b\nFROM scratch\nCOPY --from=b / /\nRUN mkdir -p /tmp; " + fill + "\n"}, []string{"build", "--no-push", "."}, "out of disk space (limit 64 MiB)"},
		{"cache of RUN", map[string]string{"Dockerfile": "FROM " + image + "\nRUN --mount=type=cache,target=/tmp " + fill + "\n"}, []string{"build", "--no-push", "."}, "out of disk space (limit 64 MiB)"},
		{"cache of RUN, which was full", map[string]string{"Dockerfile": "FROM " + image + "\nRUN --mount=type=cache,target=/tmp " + fill + "\n"}, []string{"build", "--no-push", "."}, "out of disk space (limit 64 MiB)"},
		{"files of RUN", map[string]string{"Dockerfile": "FROM " + image + "\nRUN mkdir -p /tmp; " + touch + "\n"}, []string{"build", "--no-push", "."}, "too many files (limit 3000)"},
		{"none", step(image + " sh -c 'kill -9 $$; sh -c \"kill -9 \\$\\$\"; exit $?'"), []string{"run", "."}, "exit status 137\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := d.in(t)
			began := time.Now()
			r := d.acrd(d.folder(tt.files), tt.args...)
			if r.code != 1 || !strings.Contains(r.String(), tt.want) {
				t.Errorf("exit code %d, and %q is not in\n%s", r.code, tt.want, r)
			}
			if took := time.Since(began); took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	select {
	case <-neighbour.ended:
		t.Errorf("the neighbour has suffered:\n%s", neighbour)
	default:
	}
	neighbour.interrupt()
	neighbour.wait(15 * time.Second)
}

// TestCachePolicy: what the flags say is what BuildKit keeps to, and builds
// leave no history in it that would grow.
func TestCachePolicy(t *testing.T) {
	need(t)
	d := start(t, "--cache-max", "3g", "--cache-min-free", "2g", "--cache-reserved", "1g")
	d.base()
	kit, err := client.New(t.Context(), "unix://"+filepath.Join(d.state, "engine", "buildkit.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer kit.Close()
	workers, err := kit.ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("%d workers, %v", len(workers), err)
	}
	bounded := 0
	for _, p := range workers[0].GCPolicy {
		if p.MaxUsedSpace == 3<<30 && p.MinFreeSpace == 2<<30 && p.ReservedSpace == 1<<30 {
			bounded++
		}
	}
	if last := workers[0].GCPolicy[len(workers[0].GCPolicy)-1]; bounded == 0 || !last.All {
		t.Errorf("got the policy %+v", workers[0].GCPolicy)
	}
	dir := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN true\n"})
	for range 3 {
		d.succeed(d.acrd(dir, "build", "-t", "history:1", "."))
	}
	history, err := kit.ControlClient().ListenBuildHistory(t.Context(), &controlapi.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		t.Fatal(err)
	}
	if record, err := history.Recv(); err == nil {
		t.Errorf("a build is in the history: %v", record)
	}
	if r := d.acrd(t.TempDir(), "serve", "--cache-max", "many"); r.code != 2 || !strings.Contains(r.stderr, "--cache-max") {
		t.Errorf("exit code %d:\n%s", r.code, r)
	}
}
