package integration

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// layers says, for each package of the module, which of our own packages it
// may import. It is the diagram of docs/architecture.md: the core (steps,
// runner, triggers, eventing) knows no adapter, adapters know the core and
// only the adapters named here, and cmd knows everything.
//
// A package that is missing here fails TestLayers, so that its place is
// decided when it is born.
var layers = map[string][]string{
	"steps":               {},
	"eventing":            {},
	"steps/stepstest":     {"steps"},
	"internal/dockerfile": {"internal/pattern", "steps"},
	"internal/address":    {},
	"internal/realm":      {},
	"internal/pattern":    {},
	"internal/registry":   {"internal/pattern", "eventing", "internal/acr"},
	"internal/acr":        {},
	"internal/contexts":   {"internal/mounts"},
	"internal/mounts":     {},
	"internal/idle":       {},
	"internal/logs":       {"internal/pattern", "runner", "steps"},
	"eventing/inbound":    {"eventing"},
	"internal/store":      {"eventing", "eventing/inbound", "runner", "steps", "triggers", "internal/api", "internal/secrets"},
	"internal/api":        {"internal/acr", "internal/pattern", "eventing", "eventing/inbound", "runner", "steps", "triggers", "internal/logs", "internal/secrets"},
	"internal/secrets":    {"internal/pattern", "steps"},
	"internal/source":     {"internal/pattern", "steps", "internal/address", "internal/realm"},
	"internal/forge":      {"runner", "steps"},
	"runner":              {"internal/pattern", "eventing", "steps", "runner/mask"},
	"runner/mask":         {},
	"triggers":            {"eventing", "runner", "steps"},

	"triggers/triggerstest": {"eventing", "runner", "steps", "triggers"},

	"internal/secrets/keyvault": {"internal/secrets"},
	"internal/store/storetest":  {"eventing", "eventing/inbound", "runner", "steps", "triggers", "triggers/triggerstest", "internal/store", "internal/api", "internal/secrets"},
	"internal/images":           {"eventing/inbound", "triggers", "internal/registry", "internal/realm"},
	"internal/metrics":          {"eventing", "runner", "steps"},
	"internal/sinks":            {"eventing", "internal/address", "internal/sinks/sinktest"},
	"internal/sinks/sinktest":   {"eventing"},
	"internal/traces":           {"runner", "steps"},

	"internal/api/apitest": {},

	"internal/buildkit":           {"internal/pattern", "steps", "internal/dockerfile", "internal/buildkit/control", "internal/realm"},
	"internal/buildkit/control":   {},
	"internal/buildkit/container": {},
	"internal/buildkit/network":   {},
	"internal/buildkit/engine":    {"internal/idle", "internal/buildkit/control", "internal/buildkit/container", "internal/buildkit/network", "internal/mounts", "internal/address", "internal/traces"},
}

// daemonHalf are the parts of BuildKit that only the engine child may link.
// They pull in its solver, its caches and its global loggers.
var daemonHalf = []string{
	"github.com/moby/buildkit/cache",
	"github.com/moby/buildkit/control",
	"github.com/moby/buildkit/executor",
	"github.com/moby/buildkit/snapshot",
	"github.com/moby/buildkit/solver/llbsolver",
	"github.com/moby/buildkit/worker",
}

const module = "acrd/"

// TestLayers holds the import graph to the table above.
func TestLayers(t *testing.T) {
	for dir, imports := range packages(t) {
		if dir == "integration" || strings.HasPrefix(dir, "integration/") || strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "examples/") {
			continue // they wire everything
		}
		allowed, ok := layers[dir]
		if !ok {
			t.Errorf("package %s has no row in layers: decide what it may import", dir)
			continue
		}
		for _, path := range imports {
			ours, ok := strings.CutPrefix(path, module)
			if ok && !slices.Contains(allowed, ours) && !strings.HasPrefix(dir+"/", ours+"/") {
				t.Errorf("%s imports %s; it may import only %v", dir, ours, allowed)
			}
		}
	}
}

// TestDaemonHalf keeps BuildKit's daemon out of every process but the engine
// child's code.
func TestDaemonHalf(t *testing.T) {
	for dir, imports := range packages(t) {
		if dir == "internal/buildkit/engine" {
			continue
		}
		for _, path := range imports {
			for _, heavy := range daemonHalf {
				if path == heavy || strings.HasPrefix(path, heavy+"/") {
					t.Errorf("%s imports %s: only internal/buildkit/engine may", dir, path)
				}
			}
		}
	}
}

// TestArchitecture holds docs/architecture.md to the packages that there are.
func TestArchitecture(t *testing.T) {
	b, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for dir := range layers {
		if !strings.Contains(string(b), "| `"+dir+"` |") {
			t.Errorf("docs/architecture.md does not say what %s is for", dir)
		}
	}
	for _, match := range regexp.MustCompile("(?m)^\\| `((?:internal|steps|runner|triggers|eventing)[a-z/]*)` \\|").FindAllStringSubmatch(string(b), -1) {
		if _, ok := layers[match[1]]; !ok {
			t.Errorf("docs/architecture.md has the package %s, which does not exist", match[1])
		}
	}
}

// packages reads the imports of every package of the module, for every OS.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	ctx := build.Default
	ctx.UseAllFiles = true
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != ".." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "build" || name == "bin") {
			return fs.SkipDir
		}
		if nested, _ := filepath.Glob(filepath.Join(path, "go.mod")); len(nested) > 0 && path != ".." {
			return fs.SkipDir // a module of its own
		}
		p, err := ctx.ImportDir(path, build.IgnoreVendor)
		if err != nil {
			noGoError := &build.NoGoError{}
			if errors.As(err, &noGoError) {
				return nil
			}
			multiplePackageError := &build.MultiplePackageError{}
			if errors.As(err, &multiplePackageError) {
				return err
			}
		}
		dir := filepath.ToSlash(strings.TrimPrefix(path, "../"))
		found[dir] = slices.Concat(p.Imports, p.TestImports) // x_test packages may join what they like
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
