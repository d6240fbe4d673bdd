package steps_test

import (
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

func TestSucceeded(t *testing.T) {
	for _, tt := range []struct {
		with, without []int
		succeed, fail []int
	}{
		{nil, nil, []int{0}, []int{1, 2, 255}},
		{[]int{0, 3}, nil, []int{0, 3}, []int{1, 2, 255}},
		{[]int{3}, nil, []int{3}, []int{0, 1}}, // then 0 is a failure
		{nil, []int{2}, []int{0, 1, 255}, []int{2}},
		{nil, []int{0}, []int{1}, []int{0}},
		{[]int{0, 3}, []int{3}, []int{0}, []int{3, 1}},
	} {
		s := &steps.Step{ExitedWith: tt.with, ExitedWithout: tt.without}
		for _, code := range tt.succeed {
			if !s.Succeeded(code) {
				t.Errorf("exitedWith %v, exitedWithout %v: %d is a failure", tt.with, tt.without, code)
			}
		}
		for _, code := range tt.fail {
			if s.Succeeded(code) {
				t.Errorf("exitedWith %v, exitedWithout %v: %d is a success", tt.with, tt.without, code)
			}
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	got, err := steps.ParseEnvFile("v.env", []byte("# made by step one\nA=1\r\n\n  B=two words  \nC='q $X'\nD=\"\"\nE==\nF="))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=1", "B=two words  ", "C=q $X", "D=", "E==", "F="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for src, want := range map[string]string{
		"A=1\nexport B=2\n": "v.env:2: want NAME=value",
		"A\n":               "v.env:1: want NAME=value",
		"1A=x\n":            "v.env:1: want NAME=value",
		"A=\x00\n":          "v.env:1: want NAME=value",
		"=x\n":              "v.env:1: want NAME=value",
	} {
		if _, err := steps.ParseEnvFile("v.env", []byte(src)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", src, err, want)
		}
	}
	if _, err := steps.ParseEnvFile("v.env", make([]byte, steps.MaxEnvFile+1)); err == nil {
		t.Error("no limit")
	}
}

// TestWithEnvFiles is the order of precedence: the step, its files, the task.
func TestWithEnvFiles(t *testing.T) {
	f := parse(t, "env: [A=task, B=task, C=task, D=task]\nsteps:\n  - cmd: -e B=flag img\n    env: [A=step]\n    envFile: [one.env, sub/two.env]\n    workingDirectory: dir\n")
	s := f.Steps[0]
	if diff := cmp.Diff([]string{"/workspace/dir/one.env", "/workspace/dir/sub/two.env"}, s.EnvFiles); diff != "" {
		t.Error(diff)
	}
	got := s.WithEnvFiles([]string{"A=one", "B=one", "C=one", "N=one"}, []string{"C=two", "C=last"})
	want := []string{"B=flag", "A=step", "C=last", "N=one", "D=task"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if diff := cmp.Diff(s.Env, s.WithEnvFiles()); diff != "" {
		t.Errorf("without files: want (-), got (+):\n%s", diff)
	}
}
