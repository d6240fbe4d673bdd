package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// buildDeviations are the vectors in which acrd build does something else than
// acb build did, why, and a pattern for what it says.
var buildDeviations = map[string]struct {
	reason string
	code   int
	says   string
}{
	"alias-not-expanded": {"$ID is no tag: acb hands it to a shell, which makes nothing of it", exitFailed, `app:\$ID`},
	"push-no-credential": {"the daemon's registry needs none, and what another one needs is its business", exitOK, `Queued a build`},
	"bad-isolation":      {"the same words, with the exit code for wrong flags", exitUsage, `invalid isolation: vm`},
	"no-context":         {"other words, and the exit code for wrong flags", exitUsage, `an argument is missing: acrd build`},
}

// A built is what docker build is told, whichever way it is written.
type built struct {
	Outcome string // ok, or refused
	Words   []string
}

var dockerBuild = regexp.MustCompile(`--workdir /workspace docker build (.*)\]`)

// goldenBuild reads acb's dry run. --isolation=default says nothing.
func goldenBuild(t *testing.T, golden string) built {
	t.Helper()
	if !strings.HasSuffix(golden, "exit=0\n") {
		return built{Outcome: "refused"}
	}
	match := dockerBuild.FindStringSubmatch(golden)
	if match == nil {
		t.Fatalf("no docker build in %s", golden)
	}
	var b built
	b.Outcome = "ok"
	words := strings.Fields(match[1])
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--isolation=default":
		case i == len(words)-1:
			b.Words = append(b.Words, "context "+filepath.Clean(w))
		case w == "--pull" || w == "--no-cache":
			b.Words = append(b.Words, w)
		default:
			i++
			b.Words = append(b.Words, w+" "+words[i])
		}
	}
	slices.Sort(b.Words)
	return b
}

// builtOp writes what has arrived at the engine in the same way. The source is
// uploaded by itself, so that what it is called is no part of the build.
func builtOp(op *steps.BuildOp, source string) built {
	file := op.File
	if file == "" {
		file = "Dockerfile"
	}
	b := built{Outcome: "ok", Words: []string{"context " + filepath.Clean(source), "-f " + filepath.Join(source, file)}}
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				b.Words = append(b.Words, flag+" "+v)
			}
		}
	}
	for _, tag := range op.Tags {
		add("-t", strings.Replace(tag, ":ca1", ":cf1", 1)) // {{.Run.ID}}
	}
	add("--build-arg", op.BuildArgs...)
	add("--label", op.Labels...)
	add("--target", op.Target)
	add("--platform", op.Platforms...)
	if op.Pull {
		b.Words = append(b.Words, "--pull")
	}
	if op.NoCache {
		b.Words = append(b.Words, "--no-cache")
	}
	slices.Sort(b.Words)
	return b
}

// vectorArgs reads the words of a vector as its shell did.
func vectorArgs(line string) []string {
	words := strings.Fields(strings.ReplaceAll(line, "'", ""))
	for i, w := range words {
		if w == "C2" {
			words[i] = `{"registry":"other.azurecr.io","username":"u","userNameProviderType":"opaque","password":"p","passwordProviderType":"opaque"}`
		}
	}
	return words
}

// TestBuildVectors holds acrd build, from its flags to what the engine gets,
// to acb build, which az acr build is. acb pushes with --push only, az and
// acrd unless --no-push says otherwise.
func TestBuildVectors(t *testing.T) {
	goldens := vectors(t, "cli-build")
	lines := map[string]string{}
	for name := range goldens {
		lines[name] = read(t, filepath.Join("testdata", "vectors", "cli-build", name+".args"))
	}
	t.Chdir(folder(t, map[string]string{"Dockerfile": "FROM scratch\n", "src/Dockerfile": "FROM scratch\n"}))
	for name, golden := range goldens {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			args := vectorArgs(lines[name])
			if !slices.Contains(args, "--push") {
				args = append([]string{"--no-push"}, args...)
			}
			code, out, errs := d.acrd(append([]string{"build"}, args...)...)
			got := built{Outcome: "refused"}
			if code == exitOK && len(d.built) == 1 {
				got = builtOp(d.built[0], args[len(args)-1])
			}
			differs := cmp.Diff(goldenBuild(t, golden), got)
			if row, ok := buildDeviations[name]; ok {
				same := differs == "" && strings.HasSuffix(golden, fmt.Sprintf("exit=%d\n", code)) && strings.Contains(golden, strings.TrimPrefix(errs, "acrd: "))
				if same {
					t.Errorf("does not deviate any more, although %s", row.reason)
				}
				if code != row.code || !regexp.MustCompile(row.says).MatchString(errs+out) {
					t.Errorf("exit code %d, want %d and %s:\n%s%s", code, row.code, row.says, out, errs)
				}
				return
			}
			if differs != "" || code != exitOK {
				t.Errorf("exit code %d; acb's (-), ours (+):\n%s%s%s", code, differs, out, errs)
			}
		})
	}
	for name := range buildDeviations {
		if _, ok := goldens[name]; !ok {
			t.Errorf("no vector %s", name)
		}
	}
}

// TestBuildIsolation has the words that acb knows, and what Linux makes of
// them; and the warning of az for a name that is no more.
func TestBuildIsolation(t *testing.T) {
	d := newDesk(t)
	dir := d.project(map[string]string{"Dockerfile": "FROM scratch\n"})
	for word, want := range map[string]int{"": exitOK, "default": exitOK, "process": exitUsage, "hyperv": exitUsage, "vm": exitUsage} {
		if code, _, errs := d.acrd("build", "--isolation", word, dir); code != want {
			t.Errorf("--isolation %q: exit code %d, want %d: %s", word, code, want, errs)
		}
	}
	if _, _, errs := d.acrd("build", "-t", "a:{{.Build.ID}}", dir); !strings.Contains(errs, ".Build.ID is no longer supported as valid substitution, use .Run.ID instead.") {
		t.Errorf("no warning: %s", errs)
	}
}
