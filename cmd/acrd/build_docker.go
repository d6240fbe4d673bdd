package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"acrd/internal/api"
	"acrd/steps"

	"github.com/spf13/pflag"
)

// A dockerFlag is a flag of docker build that acrd build hands on to the
// parser of a task's build lines, which knows what becomes of it.
type dockerFlag struct{ short, name, kind, help string }

// dockerFlags do what they do there.
var dockerFlags = []dockerFlag{
	{"", "no-cache-filter", "string", "stages to build without cache"},
	{"", "annotation", "string", "annotation of the image"},
	{"", "cache-from", "string", "cache to import: type=registry,ref=... (repeat)"},
	{"", "cache-to", "string", "cache to export (repeat)"},
	{"", "network", "string", "network of RUN: default, none, or host"},
	{"", "add-host", "string", "host for RUN: NAME:ADDRESS (repeat)"},
	{"", "shm-size", "string", "size of /dev/shm"},
	{"m", "memory", "string", "memory of each RUN"},
	{"", "memory-swap", "string", "memory and swap of each RUN; -1 is as much as there is"},
	{"c", "cpu-shares", "string", "weight of each RUN's share of the processors"},
	{"", "cpu-period", "string", "period of --cpu-quota, in microseconds"},
	{"", "cpu-quota", "string", "processor time of each RUN in a period, in microseconds"},
	{"", "cpuset-cpus", "string", "processors that RUN may use: 0-3, 0,1"},
	{"", "cpuset-mems", "string", "memory nodes that RUN may use"},
	{"", "ulimit", "string", "limit for RUN: NAME=SOFT[:HARD] (repeat)"},
	{"", "attest", "string", "attestation: type=sbom or type=provenance,..."},
	{"", "sbom", "options", "same as --attest type=sbom"},
	{"", "provenance", "options", "same as --attest type=provenance"},
}

// hiddenDockerFlags change nothing here, or are refused with what to do
// instead.
var hiddenDockerFlags = []dockerFlag{
	{"", "rm", "bool", "ignored"},
	{"", "force-rm", "bool", "ignored"},
	{"", "compress", "bool", "ignored"},
	{"D", "debug", "bool", "ignored"},
	{"", "disable-content-trust", "bool", "ignored"},
	{"", "squash", "bool", "refused"},
	{"", "check", "bool", "refused"},
	{"", "call", "string", "refused"},
	{"", "cgroup-parent", "string", "refused"},
	{"", "security-opt", "string", "refused"},
	{"", "builder", "string", "refused"},
	{"", "policy", "string", "refused"},
}

func (f *buildFlags) defineDocker(fs *pflag.FlagSet) {
	define := func(d dockerFlag) {
		fs.VarP(&passed{f, d}, d.name, d.short, d.help)
		if d.kind != "string" {
			fs.Lookup(d.name).NoOptDefVal = "true"
		}
	}
	for _, d := range dockerFlags {
		define(d)
	}
	for _, d := range hiddenDockerFlags {
		define(d)
		_ = fs.MarkHidden(d.name)
	}
}

// passed hands a flag on.
type passed struct {
	f *buildFlags
	dockerFlag
}

func (p *passed) String() string { return "" }
func (p *passed) Type() string   { return p.kind }
func (p *passed) Set(v string) error {
	p.f.pass = append(p.f.pass, "--"+p.name+"="+v)
	return nil
}

// addContexts hands on what --build-context says. A folder is one of this
// machine, as with docker, and goes with the source; so it has to be in there.
func (f *buildFlags) addContexts(req *api.RunRequest, source string) error {
	where, err := steps.ParseContext(source)
	if err != nil {
		return &usageError{err.Error()}
	}
	for _, spec := range f.contexts {
		name, value, _ := strings.Cut(spec, "=")
		if where.Kind == steps.ContextLocal && value != "" && !strings.Contains(value, ":") {
			inside, err := relative(source, value)
			if err != nil {
				return err
			}
			if !filepath.IsLocal(inside) {
				return &usageError{fmt.Sprintf("--build-context %s: only what is in %s is sent: name a folder that has both as the source, and the Dockerfile with -f", spec, source)}
			}
			spec = name + "=" + filepath.ToSlash(inside)
		}
		req.BuildFlags = append(req.BuildFlags, "--build-context", spec)
	}
	return nil
}
