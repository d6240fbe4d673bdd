package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/internal/acr"
	"acrd/internal/api"
	"acrd/internal/contexts"
	"acrd/internal/logs"
	"acrd/internal/source"
	"acrd/internal/store/storetest"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// A desk is a user in front of a daemon whose engine is a fake.
type desk struct {
	*testing.T
	engine *stepstest.Fake
	env    map[string]string
	stdin  string
	built  []*steps.BuildOp
	// deliveries are those of webhooks.
	deliveries *answered
}

const deskToken = "the-owner's-token"

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, engine: &stepstest.Fake{}, deliveries: &answered{}}
	d.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
		d.built = append(d.built, op)
		fmt.Fprintln(out, "#1 building")
		return &steps.Image{Tags: op.Tags, Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	d.engine.PushFunc = func(_ context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
		return &steps.Pushed{Ref: ref, Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	d.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, out steps.Output) error {
		fmt.Fprintln(out.Stdout, op.Image, strings.Join(op.Args, " "))
		if len(op.Args) > 0 && op.Args[0] == "false" {
			return &steps.ExitError{Code: 42}
		}
		return nil
	}
	dir := t.TempDir()
	uploads := &contexts.Store{Dir: filepath.Join(dir, "contexts"), Limits: contexts.Limits{LinksOut: true}}
	lg := &logs.Dir{Path: filepath.Join(dir, "logs")}
	st := storetest.New(t)
	r := &runner.Runner{
		Store: st, Logs: lg, Sources: &sources{fetcher: &source.Fetcher{Dir: filepath.Join(dir, "sources")}, uploads: uploads},
		Engine: d.engine, Registry: "localhost:5000", Dir: filepath.Join(dir, "runs"), Alone: true,
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx) }()
	management := &api.Server{
		Runs: r, Records: st, Tasks: st, TaskRuns: st, Logs: lg, Contexts: contexts.Handler(uploads), Info: info(),
		Subscriptions: st, Deliveries: d.deliveries, Policies: &rules{acr.NoPolicies()},
	}
	server := httptest.NewServer(api.Protect(api.Guard(management.Handler(), deskToken), []string{"127.0.0.1"}))
	t.Cleanup(func() {
		server.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	d.env = map[string]string{"ACRD_SERVER": server.URL, "ACRD_TOKEN": deskToken, "DOCKER_CONFIG": dir}
	return d
}

// acrd runs one command.
func (d *desk) acrd(args ...string) (code int, stdout, stderr string) {
	d.Helper()
	var out, errs bytes.Buffer
	ctx, stop := context.WithTimeout(d.Context(), 30*time.Second)
	defer stop()
	code = run(ctx, &session{stdin: strings.NewReader(d.stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return d.env[k] }}, args)
	return code, out.String(), errs.String()
}

// project makes a folder of files.
func (d *desk) project(files map[string]string) string {
	d.Helper()
	dir := d.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			d.Fatal(err)
		}
	}
	return dir
}

// TestExitCodes is the table of docs/cli.md, and what is said with each.
func TestExitCodes(t *testing.T) {
	d := newDesk(t)
	dir := d.project(map[string]string{"Dockerfile": "FROM scratch\n", "acb.yaml": "steps:\n  - cmd: busybox false\n", "wrong.yaml": "steps:\n  - id: a\n    when: [a]\n    cmd: x\n"})
	for _, row := range []struct {
		name string
		args []string
		code int
		says string // a pattern for standard error and output together
	}{
		{"nothing", nil, exitUsage, `Commands:`},
		{"help", []string{"help"}, exitOK, `build +Build an image`},
		{"help of a command", []string{"build", "--help"}, exitOK, `Usage: acrd build`},
		{"help in docker's way", []string{"help", "run"}, exitOK, `Usage: acrd run`},
		{"typing error", []string{"biuld"}, exitUsage, `unknown command "biuld"`},
		{"a command of az", []string{"login", "--name", "r"}, exitUsage, `docker login`},
		{"a flag of az", []string{"task", "list", "--query", "[].name"}, exitUsage, `unknown flag: --query: .*jq`},
		{"part of a command", []string{"ver"}, exitUsage, `did you mean "version"`},
		{"no source", []string{"build"}, exitUsage, `an argument is missing: acrd build`},
		{"two sources", []string{"build", ".", "x"}, exitUsage, `too many arguments`},
		{"unknown flag", []string{"build", "--colour", "."}, exitUsage, `unknown flag: --colour`},
		{"no such folder", []string{"build", dir + "/none"}, exitUsage, `should be a local directory path or remote URL`},
		{"windows", []string{"build", "--platform", "windows", dir}, exitUsage, `on Linux, for Linux`},
		{"output", []string{"run", "-o", "xml", "/dev/null"}, exitUsage, `"xml" is none of text, table, json, yaml, tsv`},
		{"no file", []string{"run", "/dev/null"}, exitUsage, `acb.yaml|--cmd`},
		{"bad credential", []string{"build", "--credential", "{}", dir}, exitUsage, `registry name can't be empty`},
		{"build", []string{"build", "-t", "a:1", dir}, exitOK, `Queued a build with ID: ca\d`},
		{"failing step", []string{"run", dir}, exitFailed, `exit status 42`},
		{"wrong file", []string{"run", "-f", "wrong.yaml", dir}, exitFailed, `wrong.yaml:3:`},
		{"no such run", []string{"logs", "ca999"}, exitFailed, `no log of that run`},
		{"logs of a run", []string{"logs", "ca1"}, exitOK, `#1 building`},
		{"version", []string{"version"}, exitOK, `acrd +dev .*BuildKit v0`},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := d.acrd(row.args...)
			if both := errs + out; code != row.code || !regexp.MustCompile(row.says).MatchString(both) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, row.code, row.says, both)
			}
		})
	}
}

// TestRegistryFlag builds for the registry that -r names: scripts for az name
// that of Azure by a word, which is no host.
func TestRegistryFlag(t *testing.T) {
	for given, want := range map[string]string{
		"": "localhost:5000/a:1", "myregistry": "localhost:5000/a:1", "myregistry.azurecr.io": "myregistry.azurecr.io/a:1",
		"other:5000": "other:5000/a:1", "localhost": "localhost/a:1",
	} {
		d := newDesk(t)
		dir := d.project(map[string]string{"Dockerfile": "FROM scratch\n"})
		code, out, errs := d.acrd("build", "-r", given, "-t", "a:1", dir)
		if code != exitOK || len(d.built) != 1 || !slices.Equal(d.built[0].Tags, []string{want}) {
			t.Errorf("-r %q: exit code %d, built %v\n%s%s", given, code, d.built, out, errs)
		}
	}
}

func TestUnreachable(t *testing.T) {
	d := newDesk(t)
	d.env["ACRD_SERVER"] = "http://127.0.0.1:1"
	if code, _, errs := d.acrd("build", "."); code != exitUnavailable || !strings.Contains(errs, "no daemon answers") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	d.env["ACRD_SERVER"] = "ftp://x"
	if code, _, errs := d.acrd("build", "."); code != exitUsage || !strings.Contains(errs, "unix:PATH") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// A certificate that nobody vouches for is no reason to look for the daemon.
func TestUnreachable_Certificate(t *testing.T) {
	d := newDesk(t)
	strange := httptest.NewUnstartedServer(http.NotFoundHandler())
	strange.Config.ErrorLog = log.New(io.Discard, "", 0)
	strange.StartTLS()
	defer strange.Close()
	d.env["ACRD_SERVER"] = strange.URL
	if code, _, errs := d.acrd("runs", "list"); code != exitUnavailable || !strings.Contains(errs, "$SSL_CERT_FILE") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// What is made for a daemon that ends with the command says so.
func TestRemind(t *testing.T) {
	for _, ends := range []bool{false, true} {
		var errs bytes.Buffer
		(&connection{ends: ends}).remind(&session{stderr: &errs})
		if strings.Contains(errs.String(), "acrd serve") != ends {
			t.Errorf("ends %v: %q", ends, &errs)
		}
	}
}

func TestToken(t *testing.T) {
	d := newDesk(t)
	d.env["ACRD_TOKEN"] = "another"
	code, _, errs := d.acrd("run", "--cmd", "x", "/dev/null")
	if code != exitFailed || !strings.Contains(errs, "$ACRD_TOKEN") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// TestBuildRequest: what the flags say arrives at the engine.
func TestBuildRequest(t *testing.T) {
	d := newDesk(t)
	dir := d.project(map[string]string{"Dockerfile": "FROM scratch\n", "secret": "s3cret"})
	d.env["FROM_HERE"] = "here"
	code, out, errs := d.acrd("build", "-t", "app:1", "-t", "team/app:{{.Run.ID}}", "--build-arg", "A=1", "--build-arg", "FROM_HERE",
		"--secret-build-arg", "TOKEN=hidden", "--target", "last", "--platform", "linux/amd64,linux/arm64", "--label", "x=y", "--no-cache", "--pull",
		"--secret", "id=s,src="+dir+"/secret", "--add-host", "db:10.0.0.1", "--network", "none", "--no-push", dir)
	if code != exitOK || len(d.built) != 1 {
		t.Fatalf("exit code %d, %d builds: %s%s", code, len(d.built), out, errs)
	}
	op := d.built[0]
	for what, got := range map[string][2]string{
		"tags":      {strings.Join(op.Tags, " "), "localhost:5000/app:1 localhost:5000/team/app:ca1"},
		"args":      {strings.Join(op.BuildArgs, " "), "A=1 FROM_HERE=here TOKEN=hidden"},
		"target":    {op.Target, "last"},
		"platforms": {strings.Join(op.Platforms, " "), "linux/amd64 linux/arm64"},
		"labels":    {strings.Join(op.Labels, " "), "x=y"},
		"network":   {op.Network, "none"},
		"secret":    {string(op.SecretValues["s"]), "s3cret"},
		"no cache":  {fmt.Sprint(op.NoCache, op.Pull), "true true"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: got %q, want %q", what, got[0], got[1])
		}
	}
	if both := out + errs; strings.Contains(both, "hidden") || strings.Contains(both, "s3cret") {
		t.Errorf("a secret is shown:\n%s", both)
	}
}

// TestOutput: what a script reads is on standard output alone.
func TestOutput(t *testing.T) {
	d := newDesk(t)
	dir := d.project(map[string]string{"Dockerfile": "FROM scratch\n"})
	code, out, errs := d.acrd("build", "-t", "a:1", "-o", "json", dir)
	var r api.Run
	if err := json.Unmarshal([]byte(out), &r); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v: %q %s", code, err, out, errs)
	}
	if images := r.Properties.OutputImages; len(images) != 1 || images[0].Repository != "a" || images[0].Tag != "1" {
		t.Errorf("images %v", images)
	}
	idFile := filepath.Join(dir, "id")
	if _, out, _ = d.acrd("build", "-t", "a:1", "-q", "--iidfile", idFile, "-g", "group", "--agent-pool", "p", dir); out != "sha256:"+strings.Repeat("a", 64)+"\n" {
		t.Errorf("quiet: %q", out)
	}
	if id, err := os.ReadFile(idFile); err != nil || string(id)+"\n" != out {
		t.Errorf("--iidfile: %q %v", id, err)
	}
	if _, out, _ = d.acrd("run", "--cmd", "busybox true", "-o", "table", "/dev/null"); !regexp.MustCompile(`^RUN ID  TASK  PLATFORM  STATUS     TRIGGER  STARTED +DURATION\nca3 +linux     Succeeded  Manual   20\S+  00:00:00\n$`).MatchString(out) {
		t.Errorf("table: %q", out)
	}
	if _, out, _ = d.acrd("run", "--cmd", "busybox echo 'a: b # c'", "--no-wait", "-o", "json", "/dev/null"); json.Unmarshal([]byte(out), &r) != nil || r.Properties.RunID == "" {
		t.Errorf("no wait: %q", out)
	}
	if _, out, _ = d.acrd("logs", "--step", "acb_step_0", r.Properties.RunID); out != "busybox echo a: b # c\n" {
		t.Errorf("log of the step: %q", out)
	}
}

// TestInterrupt: Ctrl-C cancels the run, waits for its end and says so.
func TestInterrupt(t *testing.T) {
	d := newDesk(t)
	ctx, interrupt := context.WithCancel(t.Context())
	d.engine.ExecFunc = func(ctx context.Context, _ *steps.ExecOp, _ steps.Output) error {
		interrupt()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	var out, errs bytes.Buffer
	code := run(ctx, &session{stdin: strings.NewReader(d.stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return d.env[k] }}, []string{"run", "--cmd", "x sleep 60", "/dev/null"})
	if code != exitInterrupted || !strings.Contains(errs.String(), "Run ca1 was canceled.") {
		t.Errorf("exit code %d:\n%s%s", code, out.String(), errs.String())
	}
}

// TestInterruptTooLate: a run that has failed by itself was not canceled.
func TestInterruptTooLate(t *testing.T) {
	d := newDesk(t)
	ctx, interrupt := context.WithCancel(t.Context())
	d.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return &steps.ExitError{Code: 3} }
	d.engine.CloseFunc = func(context.Context) error { interrupt(); return nil }
	var out, errs bytes.Buffer
	code := run(ctx, &session{stdin: strings.NewReader(d.stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return d.env[k] }}, []string{"run", "--cmd", "x", "/dev/null"})
	if code != exitInterrupted || !strings.Contains(errs.String(), "Run ca1 ended as Failed by itself.") {
		t.Errorf("exit code %d:\n%s%s", code, out.String(), errs.String())
	}
}

// Ctrl-C leaves the run of a task alone.
func TestDetach(t *testing.T) {
	d := newDesk(t)
	ctx, interrupt := context.WithCancel(t.Context())
	goOn := make(chan struct{})
	d.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
		interrupt()
		<-goOn
		return nil
	}
	if code, out, errs := d.acrd("task", "create", "-n", "go-on", "-c", "/dev/null", "--cmd", "x"); code != exitOK {
		t.Fatal(out, errs)
	}
	var out, errs bytes.Buffer
	code := run(ctx, &session{stdin: strings.NewReader(d.stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return d.env[k] }}, []string{"task", "run", "-n", "go-on"})
	if code != exitInterrupted || !strings.Contains(errs.String(), "Run ca1 goes on; see it again with: acrd logs ca1") {
		t.Errorf("exit code %d:\n%s%s", code, out.String(), errs.String())
	}
	close(goOn)
	if code, out, errs := d.acrd("runs", "watch", "ca1", "--exit-status"); code != exitOK {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}
