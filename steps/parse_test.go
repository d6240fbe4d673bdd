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

// TestParseConversions are yaml.v2's, which acb has: between scalars, of
// booleans, and of mappings that are merged.
func TestParseConversions(t *testing.T) {
	f, err := Parse("t.yaml", []byte(`
x-common: &common {retries: 3, timeout: 7, env: [A=common]}
x-other: &other {timeout: 8, user: other}
steps:
  - {id: 5, cmd: 7, cpus: 1.5, env: [1=2], timeout: 1.9, retries: 0x10, repeat: 1_0, privileged: yes, keep: On, detach: n}
  - {id: yes, cmd: ~, build: ".", user: 2026-01-02, retries: ~, when: []}
  - <<: *common
    cmd: img
    timeout: 9
  - {timeout: 9, cmd: img, <<: [*common, *other]}
  - {cmd: one, cmd: two, timeout: 99999999999, when: [5, 5, yes]}
  - cmd: !!binary aW1nIHg=
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := f.Steps
	for what, pair := range map[string][2]any{
		"id of a number":      {s[0].ID, "5"},
		"cmd of a number":     {s[0].Do.(*Cmd).Image, "7"},
		"text of a fraction":  {s[0].CPUs, "1.5"},
		"fraction":            {s[0].Timeout, time.Second},
		"hexadecimal":         {s[0].Retries, 16},
		"underscore":          {s[0].Repeat, 10},
		"yes, On, n":          {[]bool{s[0].Privileged, s[0].Keep, s[0].Detach}, []bool{true, true, false}},
		"id of a boolean":     {s[1].ID, "yes"},
		"a null beside build": {s[1].Do.(*Build).Line, "."},
		"text of a date":      {s[1].User, "2026-01-02"},
		"an empty when":       {s[1].When, []string{"5"}},
		"merged":              {s[2].Retries, 3},
		"over merged":         {s[2].Timeout, 9 * time.Second},
		"merged list":         {s[2].Env, []string{"A=common"}},
		"before merged":       {s[3].Timeout, 9 * time.Second},
		"second merged":       {s[3].User, "other"},
		"last of two":         {s[4].Do.(*Cmd).Image, "two"},
		"longest":             {s[4].Timeout > 200*365*24*time.Hour, true},
		"the same twice":      {s[4].When, []string{"5", "yes"}},
		"binary":              {s[5].Do.(*Cmd).Args, []string{"x"}},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", what, diff)
		}
	}
}

func TestParseBeyondACR(t *testing.T) {
	f, err := Parse("t.yaml", []byte(`
steps:
  - {id: a, cmd: img, exitedWith: [0, 3], exitedWithout: [2]}
  - {id: b, cmd: img, secrets: [{id: x, env: X}, {name: y, file: /run/y}]}
  - {id: c, cmd: img, when: [always]}
  - {id: d, cmd: img, when: [a, failure]}
`), Options{Secrets: []string{"x", "y"}})
	if err != nil {
		t.Fatal(err)
	}
	s := f.Steps
	for what, pair := range map[string][2]any{
		"codes":   {[][]int{s[0].ExitedWith, s[0].ExitedWithout}, [][]int{{0, 3}, {2}}},
		"secrets": {s[1].Secrets, []StepSecret{{ID: "x", Env: "X"}, {ID: "y", File: "/run/y"}}},
		"always":  {[]any{s[2].Always, s[2].OnFailure, s[2].When}, []any{true, false, []string{"a", "b"}}},
		"failure": {[]any{s[3].Always, s[3].OnFailure, s[3].When}, []any{false, true, []string{"a"}}},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", what, diff)
		}
	}
}
