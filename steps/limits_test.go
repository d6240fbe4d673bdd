package steps_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"acrd/steps"
)

// hostileSize is how long the hostile files are.
const hostileSize = 500_000

// fragments are repeated to make files that cost a YAML parser or whoever
// walks over its nodes more than they should.
var fragments = []string{
	"[", "{", "? ", "- ", "-\n", "&a ", "*a ", "!a ", "!!str ", "a: ", "a:\n", "a: b\n", "- a\n", "# c\n", "#", "  # c\n", "a: # c\n",
	"\n", "[a,", "{a: ", "{a,", "[],", "{},", "'", "\"", "\"\\\"", "|\n", "- |\n ", "- >\n", "---\n", "...\n", "%TAG ! a\n",
	"\t", "\r", "\u2028", "\x00", "a", "a ", "a\n", "]", "}", ",", ":", ": ", ":\n", "?", "?\n", "? a\n: b\n", "<<: ", "&a a: *a\n",
	"- &a [*a]\n", "- - - a\n", "- a: b\n  c: d\n", "@", "- # c\n", "- a # c\n", "a: [b] # c\n", "[[]]:\n", "\\", "0", "~,", "- !!a\n",
	"[\n#c\n", "[a\n,", "  ", "\n  - a\n", " \n#", "- {cmd: a}\n", "- {id: a, cmd: a}\n", "- cmd: a b\n  when: [x]\n", "- {<<: {cmd: a}}\n",
	"A=1,", "x,", "\xff", "😀",
}

// prefixes put them where the language looks.
var prefixes = []string{"", "steps:\n", "steps: [", "env: [", "env: ['", "env: [\"", "x: &a [a]\ny: [", "steps: [{when: [", "{", "[", "a: |\n  "}

// shapes are hostile files by name.
func shapes() map[string]string {
	all := map[string]string{}
	for i, p := range prefixes {
		for j, f := range fragments {
			if i > 0 && (j-i)%(len(prefixes)-1) != 0 {
				continue // each fragment at the top, and in one other place
			}
			all[fmt.Sprintf("%q+%q", p, f)] = p + strings.Repeat(f, (hostileSize-len(p))/len(f))
		}
	}
	for i, f := range fragments {
		g := fragments[(i*7+3)%len(fragments)]
		if i%2 == 0 {
			all[fmt.Sprintf("mix of %q and %q", f, g)] = strings.Repeat(f+g, hostileSize/len(f+g))
			continue
		}
		all[fmt.Sprintf("%q, then %q", f, g)] = strings.Repeat(f, hostileSize/2/len(f)) + strings.Repeat(g, hostileSize/2/len(g))
	}
	all["aliases of aliases"] = laughs(40, 9)
	all["merges of merges"] = merges(40, 9)
	all["steps by alias"] = "x: &s {cmd: a, env: [" + strings.Repeat("A=1,", 50_000) + "]}\nsteps: [" + strings.Repeat("*s,", 100_000) + "]\n"
	all["many variables, many steps"] = "env: ['" + strings.Repeat("A=,", 100_000) + "']\nsteps:\n" + strings.Repeat("  - {cmd: a}\n", 10_000)
	all["always, often"] = "steps:\n" + strings.Repeat("  - {cmd: a, when: [always]}\n", 2400)
	return all
}

// laughs are lists of aliases of lists of aliases.
func laughs(levels, width int) string {
	var b strings.Builder
	b.WriteString("x0: &x0 [a]\n")
	for i := 1; i < levels; i++ {
		fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), width), ", "))
	}
	fmt.Fprintf(&b, "steps: *x%d\n", levels-1)
	return b.String()
}

// merges are the same with <<.
func merges(levels, width int) string {
	return strings.ReplaceAll(strings.ReplaceAll(laughs(levels, width), " [*", " {<<: [*"), "]\n", "]}\n")
}

// TestHostileFiles holds Parse and Lint to a second and 256 MiB for files of
// any shape, in the strict mode that does both. What they answer is another matter, as long as they do.
func TestHostileFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred files of 500 KB")
	}
	files := shapes()
	if len(files) < 100 {
		t.Fatalf("only %d shapes", len(files))
	}
	slowest, largest := time.Duration(0), uint64(0)
	for name, src := range files {
		took, allocated, err := cost(src)
		for range 3 { // the garbage of the one before may be collected just then
			if took < time.Second {
				break
			}
			took, allocated, err = cost(src)
		}
		slowest, largest = max(slowest, took), max(largest, allocated)
		if took > time.Second || allocated > 256<<20 {
			t.Errorf("%s: %v, %d MiB allocated (%.80v)", name, took, allocated>>20, err)
		}
		if err != nil && len(err.Error()) > 256<<10 {
			t.Errorf("%s: the answer has %d bytes", name, len(err.Error()))
		}
	}
	t.Logf("%d shapes: at most %v, and %d MiB allocated in all", len(files), slowest, largest>>20)
}

// cost is what it takes to parse a file, and the answer.
func cost(src string) (took time.Duration, allocated uint64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := processorTime()
	_, err = steps.Parse("f", []byte(src), steps.Options{Strict: true})
	took = processorTime() - began
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc, err
}

// processorTime is what this process has used: others on this machine do not
// count.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestSizeLimit(t *testing.T) {
	src := append([]byte("steps: []\n"), bytes.Repeat([]byte("#"), 1<<20)...)
	_, err := steps.Parse("f", src, steps.Options{})
	if want := "f:1:1: the file is larger than 1 MiB\n"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
}
