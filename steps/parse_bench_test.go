package steps_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/steps"
)

// hundredSteps is a large task file that uses most of the language.
func hundredSteps() []byte {
	var b strings.Builder
	b.WriteString("version: v1.1.0\nstepTimeout: 900\nenv: [\"A=1\", \"B=2,C=3\"]\nvolumes:\n  - name: v\n    secret: {token: YQ==}\nsteps:\n")
	for i := range 100 {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "  - id: build%d\n    build: -t r.io/app:%d --build-arg \"A=b c\" -f sub/Dockerfile --target x .\n    when: [\"-\"]\n    timeout: 1200\n", i, i)
		case 3:
			fmt.Fprintf(&b, "  - id: push%d\n    push:\n      - r.io/app:%d\n    when: [test%d]\n", i, i-3, i-1)
		default:
			fmt.Fprintf(&b, "  - id: test%d\n    cmd: r.io/app:%d sh -c 'echo \"step %d\" && make test' --verbose\n    env: [\"STEP=%d\", \"X='a b'\"]\n"+
				"    workingDirectory: sub/dir\n    retries: 2\n    retryDelay: 3\n    ignoreErrors: true\n    volumeMounts:\n      - {name: v, mountPath: /run/v}\n", i, i-i%4, i, i)
		}
	}
	return []byte(b.String())
}

// BenchmarkParsePlan is what a run of a hundred steps costs before it starts:
// the file is parsed, and its plan and the order of its steps found. The bar
// is 5 ms and 2 MiB; machines are noisy, so read the median.
func BenchmarkParsePlan(b *testing.B) {
	src := hundredSteps()
	benchmark(b, func() error { return plan(steps.Parse("acb.yaml", src, steps.Options{})) })
}

// BenchmarkLoadPlan renders the file before.
func BenchmarkLoadPlan(b *testing.B) {
	src := []byte(strings.ReplaceAll(string(hundredSteps()), "r.io/app", "{{.Run.Registry}}/app"))
	v := steps.Values{Run: steps.RunValues{ID: "ca1", Registry: "r.io"}}
	benchmark(b, func() error { return plan(steps.Load("acb.yaml", src, v, steps.Options{})) })
}

func plan(f *steps.File, err error) error {
	if err != nil {
		return err
	}
	g := f.Graph()
	for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
		for _, s := range ready {
			g.Done(s.ID)
		}
	}
	if n := len(f.Plan().Steps); n < 100 {
		return fmt.Errorf("a plan of %d steps", n)
	}
	return nil
}

// benchmark reports the median beside Go's mean.
func benchmark(b *testing.B, f func() error) {
	b.Helper()
	b.ReportAllocs()
	var all []time.Duration
	for b.Loop() {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms-median")
}
