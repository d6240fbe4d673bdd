package integration

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScenarios runs the scripts of testdata/scenarios against one daemon.
// Beside testscript's own commands they have
//
//	code N COMMAND ...   run it; it must exit with N
//	within T             the last command must have taken no longer than T
//	count N FILE TEXT    FILE (or stdout) must have TEXT in N of its lines
//
// In their files, REGISTRY is the daemon's registry. base/busybox:1 is in it.
func TestScenarios(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	var began time.Time
	var took time.Duration
	testscript.Run(t, testscript.Params{
		Dir: "testdata/scenarios",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", built+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("ACRD_STATE", d.state)
			env.Setenv("REGISTRY", d.registry)
			env.Setenv("DOCKER_CONFIG", d.state)
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			return substitute(env.WorkDir, d.registry)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				if err != nil || neg || len(args) < 2 {
					ts.Fatalf("usage: code N COMMAND ...")
				}
				began = time.Now()
				err = ts.Exec(args[1], args[2:]...)
				took = time.Since(began)
				got := 0
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					got = exit.ExitCode()
				} else if err != nil {
					ts.Fatalf("%s: %v", args[1], err)
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
			"within": func(ts *testscript.TestScript, _ bool, args []string) {
				limit, err := time.ParseDuration(args[0])
				ts.Check(err)
				if took > limit {
					ts.Fatalf("took %v, want at most %v", took, limit)
				}
			},
			"count": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				for line := range strings.Lines(ts.ReadFile(args[1])) {
					if strings.Contains(line, args[2]) {
						got++
					}
				}
				if got != want {
					ts.Fatalf("%d lines of %s have %q, want %d", got, args[1], args[2], want)
				}
			},
		},
	})
}

// substitute puts the registry's name into the files of a script.
func substitute(dir, registry string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), "REGISTRY") {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(b), "REGISTRY", registry)), 0o644)
	})
}
