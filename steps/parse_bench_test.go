package steps_test

import (
	"fmt"
	"strings"
	"testing"

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
// the file is parsed, and the order of its steps found.
func BenchmarkParsePlan(b *testing.B) {
	src := hundredSteps()
	b.ReportAllocs()
	for b.Loop() {
		f, err := steps.Parse("acb.yaml", src, steps.Options{})
		if err != nil {
			b.Fatal(err)
		}
		g := f.Graph()
		for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
			for _, s := range ready {
				g.Done(s.ID)
			}
		}
	}
}
