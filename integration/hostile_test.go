package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// canaryText is what no log and no image may ever hold.
const canaryText = "the-text-of-the-canary"

// An attacker writes contexts. Its victim is a folder of this host outside of
// them all.
type attacker struct {
	*daemon
	victim string // the folder
	secret string // a file in it, with canaryText
	web    *httptest.Server
	served map[string][]byte // archives by path
	repos  string            // git repositories, served at /git/
}

func newAttacker(t *testing.T, d *daemon) *attacker {
	t.Helper()
	a := &attacker{daemon: d, victim: t.TempDir(), served: map[string][]byte{}, repos: t.TempDir()}
	a.secret = filepath.Join(a.victim, "secret")
	for name, text := range map[string]string{
		"secret": canaryText, "Dockerfile": "FROM " + d.registry + "/base/busybox:1\n# " + canaryText + "\n", ".dockerignore": "[" + canaryText,
		"acb.yaml": "steps:\n  - cmd: " + canaryText + "\n", "values.yaml": "a: " + canaryText + "\n",
	} {
		if err := os.WriteFile(filepath.Join(a.victim, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/git/", gitBackend(t, a.repos))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if b, ok := a.served[r.URL.Path]; ok {
			_, _ = w.Write(b)
			return
		}
		http.NotFound(w, r)
	})
	a.web = httptest.NewServer(mux)
	t.Cleanup(a.web.Close)
	return a
}

func gitBackend(t *testing.T, dir string) http.Handler {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	return http.StripPrefix("/git", &cgi.Handler{
		Path:       filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:        []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull},
		InheritEnv: []string{"PATH"}, Logger: log.New(io.Discard, "", 0),
	})
}

// mark is what the victim looks like: names, sizes, times and content.
func (a *attacker) mark() string {
	a.Helper()
	var b strings.Builder
	err := filepath.WalkDir(a.victim, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.ModTime().UnixNano())
		if e.Type().IsRegular() {
			content, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%x\n", sha256.Sum256(content))
			return err
		}
		return nil
	})
	if err != nil {
		a.Fatal(err)
	}
	return b.String()
}

// context makes a folder. A content that begins with "->" is a symbolic link.
func (a *attacker) context(files map[string]string) string {
	a.Helper()
	plain := map[string]string{}
	for name, text := range files {
		if !strings.HasPrefix(text, "->") {
			plain[name] = text
		}
	}
	dir := a.folder(plain)
	for name, text := range files {
		if target, ok := strings.CutPrefix(text, "->"); ok {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				a.Fatal(err)
			}
			if err := os.Symlink(target, path); err != nil {
				a.Fatal(err)
			}
		}
	}
	return dir
}

// repo commits a folder, and says where it is served. Module, if any, is the
// address of a submodule that holds the commit of the repository itself.
func (a *attacker) repo(name, dir, module string) string {
	a.Helper()
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@x"}, args...)...)
		cmd.Env = append(cmd.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
		out, err := cmd.CombinedOutput()
		if err != nil {
			a.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "--quiet", "--initial-branch=main")
	git("add", "--all")
	git("commit", "--quiet", "--allow-empty", "-m", "x")
	if module != "" {
		text := "[submodule \"m\"]\n\tpath = m\n\turl = \"" + module + "\"\n"
		if err := os.WriteFile(filepath.Join(dir, ".gitmodules"), []byte(text), 0o600); err != nil {
			a.Fatal(err)
		}
		git("add", ".gitmodules")
		git("update-index", "--add", "--cacheinfo", "160000,"+git("rev-parse", "HEAD")+",m")
		git("commit", "--quiet", "-m", "module")
	}
	git("clone", "--quiet", "--bare", dir, filepath.Join(a.repos, name+".git"))
	return a.web.URL + "/git/" + name + ".git"
}

// archive serves a tar archive and says where.
func (a *attacker) archive(name string, entries ...tar.Header) string {
	a.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range append(entries, tar.Header{Name: "Dockerfile"}) {
		content := h.Linkname
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Linkname = ""
			if h.Name == "Dockerfile" {
				content = "FROM " + a.registry + "/base/busybox:1\n"
			}
			h.Size = max(h.Size, int64(len(content)))
		}
		h.Mode = 0o644
		if err := w.WriteHeader(&h); err != nil {
			a.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			_, _ = io.WriteString(w, content)
			_, _ = io.CopyN(w, zeros{}, h.Size-int64(len(content)))
		}
	}
	if w.Close() != nil || z.Close() != nil {
		a.Fatal("archive")
	}
	a.served["/"+name+".tgz"] = b.Bytes()
	return a.web.URL + "/" + name + ".tgz"
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestHostileContexts is what a stranger may try: each attempt is refused with
// a word that says why, nothing outside of the context is read or written,
// and a harmless context right after builds.
func TestHostileContexts(t *testing.T) {
	t.Parallel()
	need(t, "git")
	d := start(t)
	d.base()
	a := newAttacker(t, d)
	touched := filepath.Join(a.victim, "touched")
	up := "../../../../../../../../../../.." // to the root, from wherever
	const from = "FROM REGISTRY/base/busybox:1\n"
	file := func(name, text string) tar.Header { return tar.Header{Name: name, Linkname: text} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
	}
	build := func(words ...string) []string { return append([]string{"build", "--no-push"}, words...) }
	plain := d.folder(map[string]string{"Dockerfile": from + "RUN true\n", "acb.yaml": "steps:\n  - build: .\n"})

	for _, tt := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		// In a folder of the client.
		{"Dockerfile is a link", map[string]string{"Dockerfile": "->" + a.victim + "/Dockerfile"}, build("."), "leads out"},
		{"Dockerfile is a relative link", map[string]string{"Dockerfile": "->" + up + a.victim + "/Dockerfile"}, build("."), "leads out"},
		{"Dockerfile in a linked folder", map[string]string{"l": "->" + a.victim}, build("-f", "l/Dockerfile", "."), "leads out"},
		{".dockerignore is a link", map[string]string{"Dockerfile": from, ".dockerignore": "->" + a.victim + "/.dockerignore"}, build("."), "leads out"},
		{"Dockerfile.dockerignore is a link", map[string]string{"Dockerfile": from, "Dockerfile.dockerignore": "->" + a.victim + "/.dockerignore"}, build("."), "leads out"},
		{"task file is a link", map[string]string{"acb.yaml": "->" + a.victim + "/acb.yaml"}, []string{"run", "."}, "leads out"},
		{"task file above the folder", nil, []string{"run", "-f", up + a.victim + "/acb.yaml", "."}, "not the path of a file in the folder"},
		{"values file is a link", map[string]string{"acb.yaml": "steps: []\n", "values.yaml": "->" + a.victim + "/values.yaml"}, []string{"run", "--values", "values.yaml", "."}, "leads out"},
		{"COPY through a link", map[string]string{"Dockerfile": from + "COPY l/secret /\n", "l": "->" + a.victim}, build("."), "leads out"},
		{"COPY of a link", map[string]string{"Dockerfile": from + "COPY l /\nRUN cat /l\n", "l": "->" + a.secret}, build("."), "leads out"},
		{"COPY of a folder with a link", map[string]string{"Dockerfile": from + "COPY . /x\nRUN cat /x/l\n", "l": "->" + a.secret}, build("."), "No such file"},
		{"COPY from above", map[string]string{"Dockerfile": from + "COPY " + up + a.secret + " /\n"}, build("."), "not found"},
		{"bind mount from above", map[string]string{"Dockerfile": from + "RUN --mount=type=bind,source=" + up + a.victim + ",target=/x cat /x/secret\n"}, build("."), "not found"},

		// Made by a step, in the workspace.
		{"a step's Dockerfile", map[string]string{"acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 ln -s " + a.victim + "/Dockerfile Dockerfile\n  - build: .\n"}, []string{"run", "."}, "leads out"},
		{"a step's context", map[string]string{"acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 ln -s " + a.victim + " l\n  - build: l\n"}, []string{"run", "."}, "leads out"},
		{"a step's context from above", map[string]string{"acb.yaml": "steps:\n  - build: ../../../.." + a.victim + "\n"}, []string{"run", "."}, "outside"},
		{"a step's .dockerignore", map[string]string{"Dockerfile": from, "acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 ln -s " + a.victim + "/.dockerignore .dockerignore\n  - build: .\n"}, []string{"run", "."}, "leads out"},
		{"a step's secret", map[string]string{"Dockerfile": from + "RUN --mount=type=secret,id=s cat /run/secrets/s\n", "acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 ln -s " + a.secret + " s\n  - build: --secret id=s,src=s .\n"}, []string{"run", "."}, "leads out"},
		{"a step reads through a link", map[string]string{"l": "->" + a.victim, "acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 cat l/secret\n"}, []string{"run", "."}, "No such file"},
		{"a step writes through a link", map[string]string{"l": "->" + a.victim, "acb.yaml": "steps:\n  - cmd: REGISTRY/base/busybox:1 touch l/touched\n"}, []string{"run", "."}, "No such file"},

		// Archives.
		{"archive: parent", nil, build(a.archive("parent", file("../../../../../.."+touched, "x"))), "has a .. in it"},
		{"archive: absolute", nil, build(a.archive("absolute", file(touched, "x"))), "absolute"},
		{"archive: link out", nil, build(a.archive("link", link("l", a.victim))), "outside"},
		{"archive: through a link", nil, build(a.archive("through", link("l", a.victim), file("l/touched", "x"))), "outside"},
		{"archive: relative link out", nil, build(a.archive("up", link("a/l", "../.."+a.victim))), "outside"},
		{"archive: hard link", nil, build(a.archive("hard", tar.Header{Name: "h", Linkname: a.secret, Typeflag: tar.TypeLink})), "outside"},
		{"archive: device", nil, build("-f", "D", a.archive("device", tar.Header{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 8}, file("D", strings.ReplaceAll(from, "REGISTRY", d.registry)+"COPY d /\n"))), "is a device or a pipe: it is left out"},
		{"archive: bomb", nil, build(a.archive("bomb", tar.Header{Name: "zeros", Size: 256 << 20})), "over the limit"},
		{"archive: Dockerfile is a link", nil, build("-f", "D", a.archive("dockerfile", link("D", a.victim+"/Dockerfile"))), "outside"},
		{"archive: not one", nil, build(a.web.URL + "/none.tgz"), "404"},

		// Git.
		{"git: option as URL", nil, build("--", "--upload-pack=touch "+touched+";x.git"), "--upload-pack"},
		{"git: option as host", nil, build("ssh://-oProxyCommand=touch%20" + touched + "/x.git"), "host"},
		{"git: option as scp host", nil, build("git@-oProxyCommand=touch " + touched + ":x.git"), "git@-o"},
		{"git: option as ref", nil, build(a.web.URL + "/git/plain.git#--upload-pack=touch " + touched), "taken for an option"},
		{"git: option as short ref", nil, build(a.web.URL + "/git/plain.git#-x"), "taken for an option"},
		{"git: folder from above", nil, build(a.web.URL + "/git/plain.git#main:" + up + a.victim), "outside"},
		{"git: helper program", nil, build("ext::sh -c touch% " + touched), "ext"},
		{"git: file URL", nil, build("file://" + a.victim), "file"},
		{"git: submodule by path", nil, build(a.repo("by-path", a.context(map[string]string{"Dockerfile": from}), a.victim)), "on this machine"},
		{"git: submodule by file URL", nil, build(a.repo("by-url", a.context(map[string]string{"Dockerfile": from}), "file://"+a.victim)), "on this machine"},
		{"git: submodule above", nil, build(a.repo("above", a.context(map[string]string{"Dockerfile": from}), up+a.victim)), "leads out"},
		{"git: submodule is an option", nil, build(a.repo("option", a.context(map[string]string{"Dockerfile": from}), "--upload-pack=touch "+touched)), "dash"},
		{"git: submodule is a program", nil, build(a.repo("program", a.context(map[string]string{"Dockerfile": from}), "ext::sh -c touch% "+touched)), "helper program"},
		{"git: Dockerfile is a link", nil, build(a.repo("dockerfile", a.context(map[string]string{"Dockerfile": "->" + a.victim + "/Dockerfile"}), "")), "leads out"},
		{"git: .dockerignore is a link", nil, build(a.repo("ignore", a.context(map[string]string{"Dockerfile": from, ".dockerignore": "->" + a.victim + "/.dockerignore"}), "")), "leads out"},
		{"git: task file is a link", nil, []string{"run", a.repo("task", a.context(map[string]string{"acb.yaml": "->" + a.victim + "/acb.yaml"}), "")}, "leads out"},
		{"git: values file is a link", nil, []string{"run", "--values", "v", a.repo("values", a.context(map[string]string{"acb.yaml": "steps: []\n", "v": "->" + a.victim + "/values.yaml"}), "")}, "leads out"},
		{"git: folder is a link", nil, build(a.repo("folder", a.context(map[string]string{"l": "->" + a.victim}), "") + "#main:l"), "folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := d.in(t)
			before := a.mark()
			began := time.Now()
			r := d.acrd(a.in(t).context(tt.files), tt.args...)
			if got := r.String(); (r.code != 1 && r.code != 2) || !strings.Contains(got, tt.want) {
				t.Errorf("exit code %d, and %q is not in\n%s", r.code, tt.want, got)
			}
			if strings.Contains(r.String(), canaryText) {
				t.Errorf("it has read:\n%s", r)
			}
			if after := a.mark(); after != before {
				t.Errorf("it has written:\n%s", after)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
			d.succeed(d.acrd(plain, "build", "--no-push", "."))
		})
	}
	// Nothing of it is anywhere in the daemon's folder or its log either.
	out, err := exec.Command("grep", "-rl", canaryText, d.state).CombinedOutput()
	if len(out) > 0 || strings.Contains(d.log.String(), canaryText) {
		t.Errorf("the daemon has kept it: %v\n%s", err, out)
	}
}

// in is the attacker of a subtest.
func (a *attacker) in(t *testing.T) *attacker {
	sub := *a
	sub.daemon = a.daemon.in(t)
	return &sub
}
