package integration

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// canarySecret is one that is easy to find, and looks different in every
// encoding.
const canarySecret = "k4nary/Zw1tscher+17=x"

// canaryForms are the canary as it is, in base64, in hex and in a URL.
func canaryForms() map[string][]byte {
	forms := map[string][]byte{
		"plain": []byte(canarySecret), "hex": []byte(hex.EncodeToString([]byte(canarySecret))), "URL": []byte(url.QueryEscape(canarySecret)),
	}
	for offset := range 3 { // what base64 of it looks like after 0, 1 and 2 other bytes
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + canarySecret))
		forms[fmt.Sprintf("base64 at %d", offset)] = []byte(text[4 : len(text)-4])
	}
	return forms
}

// A hunt looks for the canary where it must not be.
type hunt struct {
	*daemon
	forms map[string][]byte

	mu   sync.Mutex // guards args
	args map[string]bool
}

func (h *hunt) in(place string, text []byte) {
	h.Helper()
	for form, needle := range h.forms {
		if bytes.Contains(text, needle) {
			h.Errorf("%s has the canary (%s)", place, form)
		}
	}
}

// state looks through every file, and into what is compressed.
func (h *hunt) state() {
	h.Helper()
	files := 0
	err := filepath.WalkDir(h.daemon.state, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // gone by now
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // gone by now
		}
		files++
		h.in(path, b)
		h.in(path+" unpacked", unpacked(b))
		return nil
	})
	if err != nil || files < 20 {
		h.Errorf("looked through %d files of the state folder: %v", files, err)
	}
}

func unpacked(b []byte) []byte {
	var out []byte
	if r, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
		out, _ = io.ReadAll(r)
	} else if r, err := zstd.NewReader(bytes.NewReader(b)); err == nil {
		defer r.Close()
		out, _ = io.ReadAll(r)
	}
	return out
}

const canaryRoot = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r"

// api looks through everything that the daemon tells of a run.
func (h *hunt) api(run string) {
	h.Helper()
	for _, path := range []string{canaryRoot + "/runs", canaryRoot + "/runs/" + run, canaryRoot + "/runs/" + run + "/log", canaryRoot + "/runs/" + run + "/progress", "/acrd/v1/secrets", "/metrics", "/version"} {
		b, err := h.ask(path)
		if err != nil {
			h.Error(err)
		}
		h.in("GET "+path, b)
	}
}

func (h *hunt) ask(path string) ([]byte, error) {
	token, err := os.ReadFile(filepath.Join(h.daemon.state, "token"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://"+h.registry+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return b, err
}

// watch notes the command lines of all processes of this host.
func (h *hunt) watch(ctx context.Context) {
	for ctx.Err() == nil {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			h.mu.Lock()
			h.args[string(b)] = true
			h.mu.Unlock()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

const canaryTask = `version: v1.1.0
secrets:
  - id: token
    keyvault: https://corp.vault.azure.net/secrets/Token
volumes:
  - name: credentials
    secret:
      token: "{{ .Secrets.token | b64enc }}"
steps:
  - id: image
    build: -t $Registry/quiet:$ID --secret id=token .
  - push: ["$Registry/quiet:$ID"]
  - id: use
    cmd: $Registry/base/busybox:1 sh /workspace/show
    volumeMounts:
      - name: credentials
        mountPath: /run/credentials
`

// showCanary prints a secret in the ways in which steps do.
const showCanary = `t=/run/credentials/token
cat $t; echo
base64 $t
(printf x; cat $t) | base64
(printf xy; cat $t) | base64
hexdump -v -e '/1 "%02x"' $t; echo
sed 's,/,%2F,g; s,+,%2B,g; s,=,%3D,g' $t; echo
`

// TestCanary: a secret goes through success, failure, cancel and crash, and is
// afterwards nowhere but in the store's sealed value.
func TestCanary(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	h := &hunt{daemon: d, forms: canaryForms(), args: map[string]bool{}}
	set := exec.CommandContext(t.Context(), filepath.Join(built, "acrd"), "secret", "set", "token")
	set.Stdin, set.Env = strings.NewReader(canarySecret), d.environment()
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctx, stopWatch := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { h.watch(ctx) })
	folder := func(last string) string {
		return d.folder(map[string]string{
			"show":       showCanary + last + "\n",
			"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN --mount=type=secret,id=token wc -c /run/secrets/token && cat /run/secrets/token && date > /built-" + fmt.Sprint(len(last)) + "\n",
			"acb.yaml":   canaryTask,
		})
	}
	check := func(run, said string) {
		t.Helper()
		h.in("the command", []byte(said))
		if n := strings.Count(said, "***"); n < canaryPrints {
			t.Errorf("the secret was printed and hidden %d times:\n%s", n, said)
		}
		h.api(run)
		h.in("the daemon's log", []byte(d.log.String()))
		h.state()
	}
	t.Run("success", func(t *testing.T) {
		r := d.succeed(d.acrd(folder("true"), "run", "."))
		check(runID(r.stdout+r.stderr), r.String())
	})
	t.Run("failure", func(t *testing.T) {
		r := d.acrd(folder("exit 3"), "run", ".")
		if r.code != 1 {
			t.Errorf("exit code %d", r.code)
		}
		check(runID(r.String()), r.String())
	})
	t.Run("failure that quotes it", func(t *testing.T) {
		dir := folder("true")
		file := strings.Replace(canaryTask, "sh /workspace", `/run/{{ .Secrets.token }} /workspace`, 1)
		if err := os.WriteFile(filepath.Join(dir, "acb.yaml"), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		r := d.acrd(dir, "run", ".")
		h.in("the command", []byte(r.String()))
		h.api(runID(r.String()))
		h.in("the daemon's log", []byte(d.log.String()))
		h.state()
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			h.awaitStep("use")
		}()
		r := d.acrdContext(ctx, folder("sleep 60"), "run", ".")
		check(runID(r.String()), r.String())
	})
	t.Run("crash of the engine", func(t *testing.T) {
		go func() {
			h.awaitStep("use")
			_ = syscall.Kill(d.enginePID(), syscall.SIGKILL)
		}()
		r := d.acrd(folder("sleep 61"), "run", ".")
		check(runID(r.String()), r.String())
	})
	t.Run("crash of the daemon", func(t *testing.T) {
		go func() {
			h.awaitStep("use")
			_ = d.cmd.Process.Kill()
		}()
		r := d.acrd(folder("sleep 62"), "run", ".")
		<-d.gone
		h.in("the command", []byte(r.String()))
		d.start()
		h.in("the daemon's log", []byte(d.log.String()))
		h.state()
	})
	stopWatch()
	watching.Wait()
	for line := range h.args {
		if !strings.Contains(line, "/run/k4nary") { // what the task itself asked for above
			h.in("the command line "+line, []byte(line))
		}
	}
	if len(h.args) < 10 {
		t.Errorf("saw %d command lines", len(h.args))
	}
}

// canaryPrints is in how many ways showCanary prints a secret.
const canaryPrints = 6

// awaitStep waits until the newest run is in the middle of a step, which has
// printed the secret in each way.
func (h *hunt) awaitStep(step string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var page struct {
			Value []struct{ Name, Properties json.RawMessage }
		}
		b, err := h.ask(canaryRoot + "/runs?$top=1")
		if err != nil || json.Unmarshal(b, &page) != nil || len(page.Value) == 0 || !strings.Contains(string(page.Value[0].Properties), `"Running"`) {
			continue
		}
		log, err := h.ask(canaryRoot + "/runs/" + strings.Trim(string(page.Value[0].Name), `"`) + "/log?step=" + step)
		if err == nil && strings.Count(string(log), "***") >= canaryPrints {
			return
		}
	}
	h.Errorf("step %s did not print", step)
}

// runID finds it in what a command says.
func runID(said string) string {
	return strings.TrimSpace(between(said+"\n", "ID: ", "\n"))
}
