package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
)

// runDockerRegistry starts Debian's docker-registry, which sends its
// notifications to a hook, and ends with the test; or it skips.
func runDockerRegistry(t *testing.T, port, hook, secret string) {
	t.Helper()
	dir := shortDir(t)
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf(`version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %s/images}
  delete: {enabled: true}
http: {addr: "127.0.0.1:%s"}
notifications:
  endpoints:
    - name: acrd
      url: %s
      headers: {Authorization: [%q]}
      timeout: 2s
      threshold: 5
      backoff: 1s
      ignoredmediatypes: [application/octet-stream]
`, dir, port, hook, "Bearer "+secret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	log := &output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("docker-registry has said:\n%s", log)
		}
	})
	for range 200 {
		if resp, err := http.Get("http://127.0.0.1:" + port + "/v2/"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry does not answer:\n%s", log)
}

// TestOtherRegistry: a push to a registry that is not ours starts the task whose
// image is based on it within seconds, and subscribers are told of it under the
// name of a connected registry; a push that the registry does not confirm is
// dropped.
func TestOtherRegistry(t *testing.T) {
	need(t)
	if _, err := exec.LookPath("docker-registry"); err != nil {
		t.Skip("docker-registry is not installed: make deps CI=true")
	}
	crane := tool(t, "clients", "crane", "github.com/google/go-containerregistry/cmd/crane")
	port := freePort(t)
	host := "localhost:" + port
	c := newChain(t, []string{"--plain-http", host, "--base-image-quiet", "0"}, map[string]string{"app": "FROM " + host + "/base/os:1\nCOPY app.Dockerfile /\n"})
	secret := filepath.Join(c.folder(map[string]string{"hook": "open sesame"}), "hook")
	c.succeed(c.acrd(c.dir, "secret", "set", "other-hook", "--file", secret))
	made := c.succeed(c.acrd(c.dir, "event-source", "create", "-n", "other", "--kind", "distribution", "--for-registry", host, "--secret", "other-hook", "--re-emit", "edge"))
	hook := strings.TrimSpace(made.stdout)
	runDockerRegistry(t, port, hook, "open sesame")
	url, events := toldTo(t)
	c.succeed(c.acrd(c.dir, "event-subscription", "create", "-n", "all", "--endpoint", url, "--subject-begins-with", "base/os:", "--trusted", "--insecure"))

	other := &chain{daemon: &daemon{TB: t, registry: host}, dir: c.dir} // pushes go there
	other.push("base/os:1", c.some())
	c.confirmed("other", 1)
	nextTold(t, events)
	c.first("app")
	c.settle(0)
	want := c.push("new/os:1", c.some())
	began := time.Now()
	said(t, crane, "copy", "--insecure", c.registry+"/new/os:1", host+"/base/os:1")
	run := c.next(0)
	took := run.Properties.StartTime.Sub(began)
	t.Logf("from the push elsewhere to the run: %v", took)
	if took > 5*time.Second {
		t.Errorf("the run started %v after the push, want seconds", took)
	}
	if image := run.Properties.Image; len(image.Images) != 1 || image.Images[0].Digest != want {
		t.Errorf("the run is for %+v, want %s", image, want)
	}
	if e := nextTold(t, events); e.Subject != "base/os:1" || !strings.HasSuffix(e.Topic, "/connectedRegistries/edge") || e.Data.Connected.Name != "edge" || e.Data.Target.Digest != want {
		t.Errorf("subscribers are told %+v", e)
	}
	if log := c.succeed(c.acrd(c.dir, "logs", "--run-id", run.Properties.RunID)).String(); !strings.Contains(log, "notice of other") {
		t.Errorf("the log does not say who has told:\n%s", log)
	}

	body := fmt.Sprintf(`{"events":[{"id":"forged","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","repository":"base/os","tag":"2","digest":%q}}]}`, want)
	for token, status := range map[string]int{"Bearer open sesame": http.StatusAccepted, "Bearer x": http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", hook, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %s, want %d", token, resp.Status, status)
		}
	}
	c.outcome("other", "base/os:2", "unconfirmed")
}

// confirmed waits until so many notices of a source are.
func (c *chain) confirmed(source string, n int) {
	c.Helper()
	for range 100 {
		found := 0
		for _, notice := range c.notices(source) {
			if notice.Outcome == "confirmed" {
				found++
			}
		}
		if found >= n {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.Fatalf("not %d notices of %s are confirmed: %+v", n, source, c.notices(source))
}

// outcome waits until a notice of an image has one.
func (c *chain) outcome(source, image, want string) {
	c.Helper()
	for range 200 {
		for _, notice := range c.notices(source) {
			if notice.Image == image && string(notice.Outcome) == want {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.Errorf("the notice of %s is not %s: %+v", image, want, c.notices(source))
}

func (c *chain) notices(source string) []api.SourceNotice {
	c.Helper()
	var shown api.ShownSource
	if err := json.Unmarshal([]byte(c.succeed(c.acrd(c.dir, "event-source", "show", "-n", source, "-o", "json")).stdout), &shown); err != nil {
		c.Fatal(err)
	}
	return shown.Notices
}

// TestNoticeKilled: a hook that was answered is not lost, though the daemon is
// killed with the answer; and what it says is told once, with one id.
func TestNoticeKilled(t *testing.T) {
	need(t)
	d, other := &chain{daemon: start(t)}, &chain{daemon: start(t)}
	dir := d.folder(nil)
	url, events := toldTo(t)
	d.succeed(d.acrd(dir, "event-subscription", "create", "-n", "all", "--endpoint", url, "--trusted", "--insecure"))
	hook := strings.TrimSpace(d.succeed(d.acrd(dir, "event-source", "create", "-n", "other", "--kind", "cloudevents", "--for-registry", other.registry, "--re-emit", "other")).stdout)
	seen := map[string]string{}
	for i := range 5 {
		tag := fmt.Sprintf("v%d", i)
		other.push("app:"+tag, other.some())
		body := fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"test","type":"image.pushed","data":{"repository":"app","tag":%q}}`, i, tag)
		resp, err := http.Post(hook, "application/cloudevents+json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("hook: %s", resp.Status)
		}
		time.Sleep(time.Duration(i*5) * time.Millisecond)
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-d.gone
		d.start()
		for seen["app:"+tag] == "" {
			e := nextTold(t, events)
			if id := seen[e.Subject]; id != "" && id != e.ID {
				t.Errorf("%s was told as %s and as %s", e.Subject, id, e.ID)
			}
			seen[e.Subject] = e.ID
		}
	}
}
