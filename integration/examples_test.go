package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExamples does what the README of each example says, and that of the
// repository, word for word, and compares what comes of it with what the README
// shows.
//
// In its console blocks, lines that begin with "$ " are typed into one shell,
// with the lines below that a backslash or an open loop continues. The other
// lines are what is seen: "..." stands for any text within a line, and for any
// lines if it is one. A command with nothing below it may say what it likes.
func TestExamples(t *testing.T) {
	need(t, "git", "skopeo", "busybox", "ssh-keygen")
	d := start(t)
	d.base()
	root := workTree(t, d.registry)
	dirs, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	folders := []string{root}
	for _, dir := range dirs {
		if dir.IsDir() && dir.Name() != "base" {
			folders = append(folders, filepath.Join(root, "examples", dir.Name()))
		}
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		if folder == root {
			name = "README"
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(folder, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			commands, err := consoleCommands(string(text))
			if err != nil {
				t.Fatal(err)
			}
			needModules(t, folder)
			typed(t, d, root, commands)
		})
	}
}

// workTree is a copy of what the examples need of the repository. Its registry
// is the test's instead of localhost:5000, and so are the ports 508X.
func workTree(t *testing.T, registry string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "examples"), os.DirFS("../examples")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "README.md"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// What takes minutes to compile is kept from one test to the next.
	tools, err := filepath.Abs("../build/tools")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{tools, filepath.Join(root, "build")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(tools, filepath.Join(root, "build", "tools")); err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(filepath.Base(path), "go.") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(b), "localhost:5000", registry)
		text = regexp.MustCompile(`\b508[0-9]\b`).ReplaceAllStringFunc(text, func(port string) string {
			if ports[port] == "" {
				ports[port] = freePort(t)
			}
			return ports[port]
		})
		return os.WriteFile(path, []byte(text), 0) // the file keeps its mode
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A typedCommand is a command of a README, and the lines that follow it there.
type typedCommand struct {
	line    int
	command string
	want    []string
}

// consoleCommands reads the console blocks of a README.
func consoleCommands(markdown string) ([]typedCommand, error) {
	var all []typedCommand
	inside, open := false, false // open: the command goes on
	for i, line := range strings.Split(markdown, "\n") {
		switch {
		case !inside:
			inside = line == "```console"
		case line == "```":
			if open {
				return nil, fmt.Errorf("line %d: the command has no end", i+1)
			}
			inside = false
		case open:
			last := &all[len(all)-1]
			last.command += "\n" + line
			open = goesOn(last.command)
		case strings.HasPrefix(line, "$ "):
			all = append(all, typedCommand{line: i + 1, command: line[2:]})
			open = goesOn(line[2:])
		case len(all) == 0:
			return nil, fmt.Errorf("line %d: output of no command", i+1)
		default:
			all[len(all)-1].want = append(all[len(all)-1].want, line)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the README has no commands: put them into ```console blocks, after \"$ \"")
	}
	return all, nil
}

// goesOn says whether a shell would wait for more.
func goesOn(command string) bool {
	count := func(word string) int {
		return len(regexp.MustCompile(`(?m)(^|[;&|\s])`+word+`\b`).FindAllString(command, -1))
	}
	return strings.HasSuffix(command, `\`) || count("do") > count("done")
}

// matches compares output with what a README shows, and says which of its
// lines is the first that does not fit.
func matches(want []string, got string) (ok bool, misfit string) {
	if len(want) == 0 {
		return true, ""
	}
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for _, line := range want {
		if line == "..." {
			pattern.WriteString(`(?:.*\n)*?`)
		} else {
			pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`) + `\n`)
		}
		if !regexp.MustCompile(pattern.String()).MatchString(got) {
			return false, line
		}
	}
	pattern.WriteString(`\z`)
	return regexp.MustCompile(pattern.String()).MatchString(got), "the end"
}

// typed runs the commands in one shell, as if they were typed.
func typed(t *testing.T, d *daemon, dir string, commands []typedCommand) {
	t.Helper()
	const mark = "\x01"
	var script strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&script, "printf '%s'\n%s\n", `\001`, c.command)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script.String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what is in the background ends too
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second // what it has left in the background may hold the output open
	cmd.Dir, cmd.Env = dir, append(d.environment(), append(goEnvironment(t), "PATH="+built+string(os.PathListSeparator)+os.Getenv("PATH"))...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	for i, got := range strings.Split(out.String(), mark)[1:] {
		c := commands[i]
		t.Logf("README.md:%d: $ %s\n%s", c.line, c.command, got)
		if ok, misfit := matches(c.want, got); !ok {
			t.Errorf("README.md:%d: $ %s\nThe README shows:\n%s\n\nThat does not fit from this line on: %s", c.line, c.command, strings.Join(c.want, "\n"), misfit)
		}
	}
	if err != nil {
		t.Errorf("the last command has failed: %v", err)
	}
}

// goEnvironment lets go find its caches although HOME is another.
func goEnvironment(t *testing.T) []string {
	t.Helper()
	names := []string{"GOCACHE", "GOENV", "GOMODCACHE", "GOPATH"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for i, value := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		env = append(env, names[i]+"="+value)
	}
	return env
}

// needModules skips an example whose tools are modules of others, if those are
// not here and cannot be had.
func needModules(t *testing.T, dir string) {
	t.Helper()
	modules, err := filepath.Glob(filepath.Join(dir, "*", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		cmd := exec.Command("go", "list", "-deps", "tool", "./...")
		cmd.Dir = filepath.Dir(m)
		if out, err := cmd.CombinedOutput(); err == nil {
			continue
		} else if unreachable.Match(out) {
			t.Skipf("the Go module proxy is unreachable, and what %s needs is not in the module cache:\n%s", m, out)
		} else {
			t.Fatalf("%s: %v\n%s", m, err, out)
		}
	}
}

var unreachable = regexp.MustCompile(`dial tcp|no such host|connection refused|i/o timeout|TLS handshake|module lookup disabled`)

// TestReadmes makes sure that TestExamples can fail.
func TestReadmes(t *testing.T) {
	const readme = "# x\n\n```console\n$ one \\\n    two\n...\nrun ... ended\n...\n$ for a in b; do\n    echo c\n  done\n```\n\n```sh\nnot this\n```\n"
	commands, err := consoleCommands(readme)
	if err != nil || len(commands) != 2 {
		t.Fatalf("got %+v, %v; want two commands", commands, err)
	}
	if got, want := commands[1].command, "for a in b; do\n    echo c\n  done"; got != want {
		t.Errorf("got the command %q, want %q", got, want)
	}
	for _, tt := range []struct {
		got string
		ok  bool
	}{
		{"run 1 ended\n", true},
		{"before\nrun 1 ended\nafter\n", true},
		{"run 1 failed\n", false},
		{"run\n1 ended\n", false},
		{"", false},
	} {
		if ok, _ := matches(commands[0].want, tt.got); ok != tt.ok {
			t.Errorf("matches(%q, %q) = %v", commands[0].want, tt.got, ok)
		}
	}
	if ok, _ := matches([]string{"all"}, "all\nand more\n"); ok {
		t.Error("what a README does not show must not be there, unless it says ...")
	}
	for _, bad := range []string{"# no commands\n", "```console\noutput\n```\n", "```console\n$ a \\\n```\n"} {
		if _, err := consoleCommands(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
