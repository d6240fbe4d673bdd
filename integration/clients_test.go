package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestClients has the tools that people use read what acrd has pushed: skopeo,
// crane and helm. They must find it under the digest that acrd has told.
func TestClients(t *testing.T) {
	need(t, "skopeo", "script")
	d := start(t)
	d.base()
	dir := d.folder(map[string]string{
		"Dockerfile": "FROM REGISTRY/base/busybox:1\nRUN echo from the image > /note\n",
		"Both":       "FROM REGISTRY/base/empty:1\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY Dockerfile /\n",
	})
	app := d.registry + "/team/app:v1"
	digest := builtDigest(d, dir, "-t", "team/app:v1")

	t.Run("acrd", func(t *testing.T) {
		const again = "acrd build -t team/app:v1 "
		for _, tt := range []struct{ command, says string }{
			{again + "--progress plain .", "    repository: team/app\n    tag: v1\n    digest: " + digest + "\n"},
			{again + "--progress quiet .", digest + "\n"},
			{"script -qec '" + again + ".' /dev/null", "Pushed " + app + "@" + digest + "\n"}, // on a terminal
		} {
			cmd := exec.Command("sh", "-c", tt.command)
			cmd.Dir, cmd.Env = dir, append(d.environment(), "TERM=xterm", "PATH="+built+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if got := strings.ReplaceAll(string(out), "\r\n", "\n"); err != nil || !strings.Contains(got, tt.says) {
				t.Errorf("%s: %v; it does not say %q:\n%s", tt.command, err, tt.says, got)
			}
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		const remote = "docker://"
		if got := said(t, "skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", remote+app); got != digest {
			t.Errorf("inspect finds %s, acrd pushed %s", got, digest)
		}
		said(t, "skopeo", "copy", "--src-tls-verify=false", remote+app, "dir:"+t.TempDir())
		said(t, "skopeo", "copy", "--src-tls-verify=false", remote+d.registry+"/team/app@"+digest, "dir:"+t.TempDir())
	})
	t.Run("crane", func(t *testing.T) {
		crane := tool(t, "clients", "crane", "github.com/google/go-containerregistry/cmd/crane")
		if got := said(t, crane, "digest", app); got != digest {
			t.Errorf("digest finds %s, acrd pushed %s", got, digest)
		}
		said(t, crane, "validate", "--remote", app)
		if got := said(t, "sh", "-c", `"$0" export "$1" - | tar -xO note`, crane, app); got != "from the image" {
			t.Errorf("the image's /note says %q", got)
		}
		both := builtDigest(d, dir, "-t", "team/both:v1", "-f", filepath.Join(dir, "Both"), "--platform", "linux/amd64,linux/arm64")
		if got := said(t, crane, "digest", d.registry+"/team/both:v1"); got != both {
			t.Errorf("digest finds %s, acrd pushed %s", got, both)
		}
		said(t, crane, "validate", "--remote", d.registry+"/team/both:v1")
		for _, arch := range []string{"amd64", "arm64"} {
			got := said(t, crane, "config", "--platform", "linux/"+arch, d.registry+"/team/both:v1")
			if !strings.Contains(got, `"arch":"`+arch+`"`) {
				t.Errorf("the image for %s has the config %s", arch, got)
			}
		}
		if got := said(t, crane, "catalog", d.registry); !strings.Contains(got, "team/app\nteam/both") {
			t.Errorf("catalog lists %q", got)
		}
	})
	t.Run("helm", func(t *testing.T) {
		helm := tool(t, "../examples/helm-release/tools", "helm", "helm.sh/helm/v3/cmd/helm")
		work := t.TempDir()
		helmed := func(args ...string) string {
			return said(t, "env", append([]string{"-C", work, "HOME=" + work, helm}, args...)...)
		}
		helmed("create", "demo")
		helmed("package", "demo", "--version", "1.2.3")
		pushed := shownDigest(helmed("push", "demo-1.2.3.tgz", "oci://"+d.registry+"/charts", "--plain-http"))
		pulled := shownDigest(helmed("pull", "oci://"+d.registry+"/charts/demo", "--version", "1.2.3", "--plain-http", "--destination", "charts", "--untar"))
		if pushed == "" || pulled != pushed {
			t.Errorf("helm pushed %q and pulled %q", pushed, pulled)
		}
		if got := said(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+d.registry+"/charts/demo:1.2.3"); !strings.Contains(got, "application/vnd.cncf.helm.chart.content") {
			t.Errorf("the chart's manifest is %s", got)
		}
		helmed("lint", "charts/demo")
	})
}

// builtDigest builds and pushes an image, and returns the digest that acrd
// reports for it.
func builtDigest(d *daemon, dir string, flags ...string) string {
	d.Helper()
	r := d.succeed(d.acrd(dir, append(append([]string{"build", "-o", "json"}, flags...), ".")...))
	var run struct {
		Properties struct{ OutputImages []struct{ Digest string } }
	}
	if err := json.Unmarshal([]byte(r.stdout), &run); err != nil {
		d.Fatalf("%v:\n%s", err, r.stdout)
	}
	if n := len(run.Properties.OutputImages); n != 1 {
		d.Fatalf("%d images were pushed, want 1:\n%s", n, r.stdout)
	}
	return run.Properties.OutputImages[0].Digest
}

// shownDigest finds the line that helm prints.
func shownDigest(text string) string {
	return regexp.MustCompile(`(?m)^Digest: (sha256:[0-9a-f]{64})$`).FindString(text)
}

// tool builds a program out of the module in dir, and keeps it for next time.
func tool(t *testing.T, dir, name, pkg string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "build", "tools", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-C", dir, "-ldflags", "-s -w", "-o", path, pkg)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil && unreachable.Match(out) {
		t.Skipf("the Go module proxy is unreachable, and %s is not in the module cache:\n%s", name, out)
	} else if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// said is what a program prints, less the white space around it.
func said(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}
