package steps

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestParseFaults shows, for wrong files, where the fault is said to be and
// the words. The words are acb's where acb has any.
func TestParseFaults(t *testing.T) {
	for name, tt := range map[string]struct{ src, want string }{
		"negative retries":   {"steps:\n  - cmd: a\n    retries: -1\n", "3:14: step must specify retries >= 0"},
		"negative repeat":    {"steps:\n  - cmd: a\n    repeat: -2\n", "3:13: step must specify repeat >= 0"},
		"two kinds":          {"steps:\n  - cmd: a\n    push: [b]\n", "2:5: step must only contain a single build, cmd, or push property"},
		"no kind":            {"steps:\n  - id: a\n", "2:5: step is missing a cmd, build, or push property"},
		"null step":          {"steps:\n  -\n  - cmd: a\n", "2:4: step is missing a cmd, build, or push property"},
		"id with space":      {"steps:\n  - id: a b\n    cmd: a\n", "2:9: step ID cannot contain spaces"},
		"duplicate id":       {"steps:\n  - {id: a, cmd: x}\n  - {id: a, cmd: x}\n", "3:10: a already exists as a vertex"},
		"clash with default": {"steps:\n  - {id: acb_step_1, cmd: x}\n  - {cmd: x}\n", "3:5: acb_step_1 already exists as a vertex"},
		"reserved id":        {"steps:\n  - {id: acb_root, cmd: x}\n", "2:10: acb_root is a reserved ID, it can't be used"},
		"itself":             {"steps:\n  - {id: a, cmd: x, when: [a]}\n", "2:27: Step ID: a is self-referenced"},
		"later step":         {"steps:\n  - {id: a, cmd: x, when: [b]}\n  - {id: b, cmd: x}\n", "2:27: b does not exist as a vertex [from: b, to: a]"},
		"dash and id":        {"steps:\n  - {id: a, cmd: x}\n  - {id: b, cmd: x, when: ['-', a]}\n", "3:27: step cannot contain other IDs in when if the immediate execution token is specified"},
		"empty when":         {"steps:\n  - {id: a, cmd: x, when: ['']}\n", "2:27: from cannot be empty"},
		"cache":              {"steps:\n  - build: .\n    cache: on-ly\n", "3:12: invalid value for cache property. Valid values are 'enabled', 'disabled'"},
		"version":            {"version: 1.1.0\nsteps: []\n", `1:10: invalid version specified: "1.1.0", the current version is "v1.0.0"`},
		"task env":           {"env: [A]\nsteps: []\n", "1:6: cannot parse task environment variable A correctly"},
		"task env comma":     {"env: ['A=x,y']\n", "1:6: cannot parse task environment variable y correctly"},
		"step env":           {"steps:\n  - cmd: a\n    env: [NOVALUE]\n", "3:10: failed to merge task and step environment variables: cannot parse step environment variable NOVALUE correctly"},
		"volume name":        {"volumes:\n  - {name: 'a b', secret: {f: YQ==}}\n", "2:5: volume name is not well formed. Only use alphanumeric and - _"},
		"volume no name":     {"volumes:\n  - secret: {f: YQ==}\n", "2:5: volume name is empty"},
		"volume twice":       {"volumes:\n  - {name: a, secret: {f: YQ==}}\n  - {name: a, secret: {f: YQ==}}\n", "3:5: volume with duplicate name found"},
		"volume source":      {"volumes:\n  - {name: a}\n", "2:5: currently only support for source type secret"},
		"volume empty":       {"volumes:\n  - {name: a, secret: {}}\n", "2:5: secret is empty"},
		"volume file":        {"volumes:\n  - {name: a, secret: {'x/y': YQ==}}\n", "2:5: file name, x/y, is not well formed. Only use alphanumeric and - _ ."},
		"volume dots":        {"volumes:\n  - {name: a, secret: {'..': YQ==}}\n", "2:5: file name, .., is not well formed. Only use alphanumeric and - _ ."},
		"volume base64":      {"volumes:\n  - {name: a, secret: {f: '%%'}}\n", "2:5: failed to decode Base64 value. please make sure value provided is Base64 encoded"},
		"mount on push":      {"volumes: [{name: v, secret: {f: YQ==}}]\nsteps:\n  - push: [a]\n    volumeMounts: [{name: v, mountPath: /v}]\n", "4:19: invalid use of Mounts. Mounts must have unique container paths and only used for cmd or build steps"},
		"mount undeclared":   {"steps:\n  - cmd: a\n    volumeMounts: [{name: v, mountPath: /v}]\n", "3:19: mount name, v, does not correspond to a volume"},
		"mount twice":        {"volumes: [{name: v, secret: {f: YQ==}}]\nsteps:\n  - cmd: a\n    volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]\n", "4:19: mount with duplicate container file path found"},
		"mount no path":      {"volumes: [{name: v, secret: {f: YQ==}}]\nsteps:\n  - cmd: a\n    volumeMounts: [{name: v}]\n", "4:19: mount name or mount path is empty"},
		"mount relative":     {"volumes: [{name: v, secret: {f: YQ==}}]\nsteps:\n  - cmd: a\n    volumeMounts: [{name: v, mountPath: v}]\n", "4:19: mount path v is not absolute"},
		"secret no id":       {"secrets:\n  - keyvault: https://v/secrets/a\n", "2:5: failed to validate secret with ID: : secret is missing an ID as well as auto-generated ID"},
		"secret no vault":    {"secrets:\n  - id: a\n", "2:5: failed to validate secret with ID: a: secret should contain either keyvault property for vault secret, or msi clientID/aadResourceId for msi authentication"},
		"secret guid":        {"secrets:\n  - {id: a, keyvault: x, clientID: y}\n", "2:5: failed to validate secret with ID: a: msi client ID is not a valid guid"},
		"secret twice":       {"secrets:\n  - {id: a, keyvault: x}\n  - {id: a, keyvault: x}\n", "3:5: duplicate secret found with ID: a"},
		"network no name":    {"networks:\n  - driver: bridge\n", "2:5: network name is empty"},
		"when a scalar":      {"steps:\n  - cmd: a\n    when: b\n", "3:11: yaml: unmarshal errors: line 3: cannot unmarshal !!str `b` into []string"},
		"timeout a string":   {"steps:\n  - cmd: a\n    timeout: \"60\"\n", "3:14: yaml: unmarshal errors: line 3: cannot unmarshal !!str `60` into int"},
		"bool a string":      {"steps:\n  - cmd: a\n    detach: 'yes'\n", "3:13: yaml: unmarshal errors: line 3: cannot unmarshal !!str `yes` into bool"},
		"push a scalar":      {"steps:\n  - push: img\n", "2:11: yaml: unmarshal errors: line 2: cannot unmarshal !!str `img` into []string"},
		"steps a mapping":    {"steps:\n  cmd: a\n", "2:3: yaml: unmarshal errors: line 2: cannot unmarshal !!map into []*graph.Step"},
		"a list":             {"- cmd: a\n", "1:1: yaml: unmarshal errors: line 1: cannot unmarshal !!seq into a task"},
		"no YAML":            {"steps:\n\t- cmd: a\n", "2:1: yaml: line 2: found character that cannot start any token"},
		"cmd quote":          {"steps:\n  - cmd: img 'a\n", "2:10: cmd: cannot be split into words: reached EOF without closing quote `'`"},
		"cmd flag":           {"steps:\n  - cmd: --frobnicate img\n", "2:10: cmd: unknown flag: --frobnicate"},
		"cmd no image":       {"steps:\n  - cmd: --rm\n", "2:10: cmd: names no image"},
		"cmd name":           {"steps:\n  - cmd: --name x img\n", "2:10: cmd: --name is not supported: a step's id is its name"},
		"cmd mount":          {"steps:\n  - cmd: -v /tmp img\n", "2:10: cmd: -v /tmp: want SOURCE:TARGET[:ro]"},
		"build flag":         {"steps:\n  - build: --frobnicate .\n", "2:12: build: unknown flag: --frobnicate"},
		"build squash":       {"steps:\n  - build: --squash .\n", "2:12: build: --squash is not supported: BuildKit has no squash"},
		"build two contexts": {"steps:\n  - build: a b\n", "2:12: build: one build context is needed, not 2: a b"},
		"build stdin":        {"steps:\n  - build: -f - .\n", "2:12: build: a context or Dockerfile from standard input is not there in a step: write it to a file of the workspace"},
		"push option":        {"steps:\n  - push: ['--all']\n", `2:11: push: invalid reference format: "--all" is not [REGISTRY/]NAME[:TAG]`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("t.yaml", []byte(tt.src), Options{})
			var faults Errors
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want faults", err)
			}
			if len(faults) != 1 {
				t.Errorf("%d faults, want 1:\n%v", len(faults), err)
			}
			got, _, _ := strings.Cut(err.Error(), "\n")
			if want := "t.yaml:" + tt.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestParseShowsAllFaultsAtOnce(t *testing.T) {
	_, err := Parse("acb.yaml", []byte("version: v9\nsteps:\n  - cmd: a\n    retries: -1\n  - id: a b\n    build: .\n    when: [x]\n"), Options{})
	want := strings.TrimSpace(`
acb.yaml:1:10: invalid version specified: "v9", the current version is "v1.0.0"
    1 | version: v9
      |          ^
acb.yaml:4:14: step must specify retries >= 0
    4 |     retries: -1
      |              ^
acb.yaml:5:9: step ID cannot contain spaces
    5 |   - id: a b
      |         ^
acb.yaml:7:11: x does not exist as a vertex [from: x, to: a b]
    7 |     when: [x]
      |           ^`)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

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
	b, err := parseBuild(`-t "r.io/app:1" --tag=b -f "Docker file" --build-arg "A=b c" --target=x --platform linux/amd64,linux/arm64 --no-cache --secret id=tok,src=./t --ssh default --label=k=v sub/dir`)
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

func FuzzParse(f *testing.F) {
	f.Add("version: v1.1.0\nsteps:\n  - id: a\n    cmd: img x\n    when: ['-']\n  - build: -t a .\n  - push: [a]\n")
	f.Fuzz(func(t *testing.T, src string) {
		file, err := Parse("f", []byte(src), Options{})
		if (file == nil) == (err == nil) && file == nil {
			t.Error("neither a file nor an error")
		}
		if err == nil {
			file.Graph().Ready()
		}
	})
}
