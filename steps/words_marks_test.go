package steps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMarkedWords holds what the run brought (a branch's name, a secret) to one
// word that is no flag, no command and in no error.
func TestMarkedWords(t *testing.T) {
	const nasty = `--privileged $(x) | 'y`
	m := &marks{}
	mark, docker := m.putWord(nasty), m.putSecret("docker")

	do, err := parseCmd("-e A="+mark+" img --ref "+mark+" x"+mark, m)
	if err != nil {
		t.Fatal(err)
	}
	c := do.(*Cmd)
	if diff := cmp.Diff([]string{"--ref", nasty, "x" + nasty}, c.Args); diff != "" || c.Flags.Env[0] != "A="+nasty || c.Flags.Privileged {
		t.Errorf("%+v: arguments: want (-), got (+):\n%s", c, diff)
	}
	if do, err = parseCmd(mark+" x", m); err != nil || do.(*Cmd).Image != nasty {
		t.Errorf("image: %+v, %v", do, err)
	}
	if do, err = parseCmd(docker+" build .", m); err != nil || do.(*Cmd).Image != "docker" {
		t.Errorf("docker's command line: %+v, %v", do, err)
	}
	b, err := parseBuild("--build-arg A="+mark+" -f "+mark+" .", m)
	if err != nil || b.Options.BuildArgs[0] != "A="+nasty || b.Options.File != nasty {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestMarksInErrors(t *testing.T) {
	const secret = "hunter2 && more"
	m := &marks{}
	mark := m.putSecret(secret)
	for line, want := range map[string]string{
		"-t " + mark + " .":           "-t does not take what a template has put there",
		"--memory=" + mark + " .":     "--memory does not take what a template has put there",
		"--squash=" + mark + " .":     "--squash does not take what a template has put there",
		"--iidfile " + mark + " .":    "--iidfile is not supported: the digest is in the run's record",
		"a " + mark:                   "one build context is needed, not 2: a {{...}}",
		"oci://" + mark:               "the context does not take what a template has put there",
		"--platform " + mark + " a b": "--platform does not take what a template has put there; one build context is needed, not 2: a b",
	} {
		b, err := parseBuild(line, m)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %+v, %v; want %q", line, b, err, want)
		}
	}
	for line, want := range map[string]string{
		"docker " + mark:                   "docker {{...}} is not supported",
		"docker push " + mark:              "docker push does not take what a template has put there",
		"--add-host " + mark + " img":      "--add-host does not take what a template has put there",
		"-p" + mark + " img":               "-p does not take what a template has put there",
		"--name " + mark + " img":          "--name is not supported: a step's id is its name",
		"--mount type=bind," + mark + " i": "--mount does not take what a template has put there",
	} {
		do, err := parseCmd(line, m)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %+v, %v; want %q", line, do, err, want)
		}
	}
}

// TestForeignValues: what a publisher of events has said stays one word, however
// a template gets at it; the task's own values may be several.
func TestForeignValues(t *testing.T) {
	const nasty = "a --privileged evil/image b\n  - cmd: evil/image"
	values := Values{Values: map[string]any{"eventTag": nasty, "flags": "-a -b"}, Foreign: []string{"eventTag"}}
	for expression, word := range map[string]string{
		`{{.Values.eventTag}}`:                        nasty,
		`x{{ .Values.eventTag }}`:                     "x" + nasty,
		`{{ (.Values).eventTag }}`:                    nasty,
		`{{ .Values.eventTag | upper }}`:              strings.ToUpper(nasty),
		`{{ index .Values "eventTag" }}`:              nasty,
		`{{ $t := .Values.eventTag }}{{ $t }}`:        nasty,
		`{{ with .Values.eventTag }}{{ . }}{{ end }}`: nasty,
		`{{ range $k, $v := .Values }}{{ if eq $k "eventTag" }}{{ $v }}{{ end }}{{ end }}`: nasty,
		`{{ printf "%s-%s" .Values.flags .Values.eventTag }}`:                              "-a -b-" + nasty,
	} {
		text := "steps:\n  - cmd: img one " + expression + " {{ .Values.flags }}\n"
		f, err := Load("task.yaml", []byte(text), values, Options{})
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		c := f.Steps[0].Do.(*Cmd)
		if diff := cmp.Diff([]string{"one", word, "-a", "-b"}, c.Args); diff != "" || len(f.Steps) != 1 {
			t.Errorf("%s: %d steps, arguments (-want +got):\n%s", expression, len(f.Steps), diff)
		}
	}
	values.Foreign = nil
	f, err := Load("task.yaml", []byte("steps:\n  - cmd: img {{ .Values.flags }}\n"), values, Options{})
	if err != nil || len(f.Steps[0].Do.(*Cmd).Args) != 2 {
		t.Errorf("a task's own value: %+v, %v", f, err)
	}
}
