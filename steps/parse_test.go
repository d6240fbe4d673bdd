package steps

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseDefaults(t *testing.T) {
	f, err := Parse("t.yaml", []byte(`
stepTimeout: 30
workingDirectory: sub
env: ["A=task", "B=task,C=x"]
steps:
  - cmd: img
    env: ["A=step", "E=p,q", "'F=a b'", 'G="h i"']
    workingDirectory: ../x
    ignoreErrors: yes
  - id: b
    cmd: -e A=flag -p 80 --privileged img -x
    disableWorkingDirectoryOverride: true
    timeout: 5
    retryDelay: 2
    cpus: 1.5
  - push: [r.io/a]
    unknown: {key: 1}
`), Options{Env: []string{"B=given", "Z=given"}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := f.Steps[0], f.Steps[1]
	for what, pair := range map[string][2]any{
		"id":              {a.ID, "acb_step_0"},
		"env":             {a.Env, []string{"A=step", "E=p,q", "F=a b", "G=h i", "B=task", "C=x", "Z=given"}},
		"directory":       {a.WorkingDirectory, "/x"},
		"ignoreErrors":    {a.IgnoreErrors, true},
		"step timeout":    {a.Timeout, 30 * time.Second},
		"retry delay":     {a.RetryDelay, 5 * time.Second},
		"network":         {a.Network, DefaultNetwork},
		"no when":         {a.When, []string(nil)},
		"after":           {b.When, []string{"acb_step_0"}},
		"image's folder":  {b.WorkingDirectory, ""},
		"own timeout":     {b.Timeout, 5 * time.Second},
		"flag env":        {b.Env[0], "A=flag"},
		"flag port":       {b.Ports, []string{"80"}},
		"flag privileged": {b.Privileged, true},
		"args":            {b.Do.(*Cmd).Args, []string{"-x"}},
		"cpus":            {b.Do.(*Cmd).Flags.CPUs, 1.5},
		"file's folder":   {f.WorkingDirectory, "/workspace/sub"},
		"push":            {f.Pushes(), []string{"r.io/a:latest"}},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", what, diff)
		}
	}
}

func TestParseBuildLine(t *testing.T) {
	b, err := parseBuild(`-t "r.io/app:1" --tag=b -f "Docker file" --build-arg "A=b c" --target=x --platform linux/amd64,linux/arm64 --no-cache --secret id=tok,src=./t --ssh default --label=k=v sub/dir`, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := BuildOptions{
		Tags: []string{"r.io/app:1", "b"}, File: "Docker file", BuildArgs: []string{"A=b c"}, Target: "x",
		Platforms: []string{"linux/amd64", "linux/arm64"}, NoCache: true, Labels: []string{"k=v"},
		Secrets: []BuildSecret{{ID: "tok", File: "./t"}}, SSH: []BuildSSH{{ID: "default"}},
	}
	if diff := cmp.Diff(want, b.Options); diff != "" {
		t.Errorf("options: want (-), got (+):\n%s", diff)
	}
	if b.Context.Kind != ContextLocal || b.Context.Path != "sub/dir" {
		t.Errorf("context %+v", b.Context)
	}
}

func TestNeeds(t *testing.T) {
	f, err := Parse("t.yaml", []byte(`
steps:
  - {id: a, cmd: img, privileged: true}
  - {id: b, cmd: img, network: host}
  - {id: c, cmd: --device /dev/fuse img}
  - {id: d, cmd: "-v /etc:/host:ro img"}
  - {id: e, build: --network host .}
  - {id: f, cmd: --cap-add net_admin img}
  - {id: g, cmd: img}
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range f.Needs() {
		got[n.Step] = n.Entitlement
	}
	want := map[string]string{"a": AllowInsecure, "b": AllowHostNet, "c": AllowDevice, "d": AllowMount, "e": AllowHostNet, "f": AllowInsecure}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
