package dockerfile

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// size is that of a hostile file, unless the limits refuse it anyway.
const size = 500 << 10

func fill(unit string) string { return strings.Repeat(unit, size/len(unit)) }

// numbered repeats a format that takes one number.
func numbered(format string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// hostile are files of 500 KB that cost BuildKit's parser, or a scan that
// follows them without care, seconds or gigabytes.
func hostile() map[string]string {
	doubling := "ARG A0=" + strings.Repeat("x", 1000) + "\n"
	for i := range 40 {
		doubling += fmt.Sprintf("ARG A%d=$A%d$A%d\n", i+1, i, i)
	}
	long := "ARG L=" + strings.Repeat("x", 60_000) + "\n"
	chain := "FROM a AS s0\n"
	for i := 0; len(chain) < size; i++ {
		chain += fmt.Sprintf("FROM s%d AS s%d\n", i, i+1)
	}
	return map[string]string{
		"stages":              numbered("FROM a%d\n"),
		"named stages":        numbered("FROM a AS s%d\n"),
		"one chain":           chain,
		"copies":              "FROM a\n" + numbered("COPY --from=i%d / /\n"),
		"copies of stages":    "FROM a AS s\nFROM b\n" + fill("COPY --from=s / /\n"),
		"mounts":              "FROM a\n" + numbered("RUN --mount=from=i%d,target=/a ls\n"),
		"mounts of one RUN":   "FROM a\nRUN \\\n" + numbered("--mount=from=i%d,target=/a \\\n") + " ls\n",
		"args":                numbered("ARG A%d=1\n") + "FROM a\n",
		"args that double":    doubling + "FROM $A40\n",
		"one long arg":        long + "FROM " + strings.Repeat("$L", 8000) + "\n",
		"args that replace":   long + "ARG B=${L//?/" + strings.Repeat("y", 10_000) + "}\nFROM $B\n",
		"replace in replace":  "ARG L=" + strings.Repeat("x", 1000) + "\nFROM ${L//?/${L//?/${L//?/z}}}\n",
		"replace in quotes":   "ARG L=" + strings.Repeat("x", 1000) + "\nARG B=\"${L/x/'}'${L//?/${L//?/${L//?/z}}}}\"\nFROM a\n",
		"patterns":            long + strings.Repeat("ARG P=${L%"+strings.Repeat("?", 1000)+"}\n", 400) + "FROM a\n",
		"keys and comments":   strings.Repeat("# c\n", size/8) + "ARG \\\n" + strings.Repeat("a b c \\\n", size/16) + "d\nFROM a\n",
		"nested":              "FROM a\nRUN <<" + strings.Repeat("${a:-\\\n", size/8) + "\n",
		"nested, split":       "FROM a\nRUN <<" + strings.Repeat("$\\\n\\\n{a:-\\\n", size/16) + "\n",
		"nested, quoted":      "FROM a\nRUN <<" + strings.Repeat("${a:-'}'\\\n", size/12) + "\n",
		"nested in FROM":      "FROM " + strings.Repeat("${a:-", 10_000) + "\n",
		"onbuild of onbuild":  "FROM a\n" + fill("ONBUILD \\\n") + "RUN x\n",
		"onbuilds":            "FROM a\n" + fill("ONBUILD RUN x\n"),
		"onbuilds triggered":  "FROM a AS b\n" + strings.Repeat("ONBUILD RUN x\n", 9000) + strings.Repeat("FROM b\n", 5000),
		"heredocs":            "FROM a\nCOPY " + strings.Repeat("<<a \\\n", size/8) + " /x\n" + strings.Repeat("a\n", size/8),
		"open heredocs":       "FROM a\n" + fill("RUN <<a\n"),
		"unknown":             strings.Repeat(strings.Repeat("x", 60_000)+"\\\n", 8) + "\n",
		"unknown flag":        "FROM a\nRUN --" + strings.Repeat(strings.Repeat("x", 60_000)+"\\\n", 8) + " ls\n",
		"flags":               "FROM \\\n" + numbered("--x%d \\\n") + " a\n",
		"continuations":       fill("\\\n"),
		"escapes":             "FROM a\nRUN " + fill("\\ \\\n"),
		"comments":            fill("#\n"),
		"directives":          fill("# escape=\\\n"),
		"one line":            fill("x"),
		"zeros":               fill("\x00"),
		"not UTF-8":           "FROM a\n" + fill("RUN \xff\xfe\n"),
		"brackets":            "FROM a\nRUN " + strings.Repeat("[", 60_000) + "\n",
		"JSON":                `{"a":` + strings.Repeat("[", size/2) + strings.Repeat("]", size/2) + `}`,
		"labels":              "FROM a\nLABEL \\\n" + numbered("a%d=1 \\\n") + " b=1\n",
		"envs":                "FROM a\n" + numbered("ENV a%d=$a\n"),
		"words":               "FROM a\nCOPY " + strings.Repeat(strings.Repeat("a ", 30_000)+"\\\n", 8) + " /x\n",
		"health":              "FROM a\n" + fill("HEALTHCHECK CMD [\"a\"]\n"),
		"platforms":           numbered("FROM --platform=linux/a%d a\n"),
		"blank lines":         fill("\n") + "FROM a\n",
		"comments in a word":  "FROM \\\n" + fill("# x\n") + "a\n",
		"later stages":        "FROM a\n" + fill("COPY --from=1 / /\n") + "FROM b\n",
		"faults far below":    fill("# x\n") + "FROM $A\n",
		"advice":              fill("ARG A=1\n")[:200_000] + "FROM " + strings.Repeat("$B", 8000) + "\n",
		"many to advise":      "FROM " + strings.TrimSpace(numbered("$B%d")[:16_000]) + "\n" + strings.Repeat("ARG x\n", 50_000),
		"substitutions":       numbered("ARG A%d=${B:-1}\n") + "FROM a\n",
		"more than the limit": strings.Repeat("FROM a\n", maxSize/7+1),
	}
}

// TestHostile: each of them is answered, one way or the other, within a second
// of processor time, and makes no more garbage than it must.
func TestHostile(t *testing.T) {
	for name, src := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := processorTime(t)
			_, err := Read([]byte(src), Options{})
			took := processorTime(t) - began
			runtime.ReadMemStats(&after)
			allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
			t.Logf("%v, %d MiB allocated: %.100q", took.Round(time.Millisecond), allocated, fmt.Sprint(err))
			if took > time.Second || allocated > 512 {
				t.Errorf("took %v and allocated %d MiB", took, allocated)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// processorTime is what this process has had of it. The clock on the wall says
// as much of what else the machine does.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// FuzzHostile looks for what a scan takes long for when there is much of it.
// It is an eighth of size, so that many can be tried: what costs the square is
// still far over the limit.
func FuzzHostile(f *testing.F) {
	for _, seed := range [][3]string{
		{"FROM a\n", "COPY --from=b / /\n", ""},
		{"FROM a\nRUN <<", "${a:-\\\n", "}"},
		{"FROM a\nONBUILD \\\n", "ONBUILD \\\n", "RUN x\n"},
		{"ARG A=${A", "//?/x", "}\nFROM $A\n"},
		{"# c\nARG ", "a=$a \\\n", "b\nFROM $a\n"},
		{"FROM a\nCOPY ", "<<a \\\n", " /x\na\n"},
		{"FROM a AS b\nONBUILD RUN --mount=from=c,target=/x ls\n", "FROM b AS b\n", "COPY --from=b / /\n"},
		{"FROM a\nLABEL ", "a='b' \\\n", "\n"},
		{"FROM --platform=${A:-linux} ", "$A", "\n"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, head, unit, tail string) {
		if len(unit) == 0 || len(head)+len(tail) > size/8 {
			return
		}
		src := head + strings.Repeat(unit, size/8/len(unit)) + tail
		began := processorTime(t)
		_, _ = Read([]byte(src), Options{})
		if took := processorTime(t) - began; took > 700*time.Millisecond { // fuzzing itself slows by a factor
			t.Errorf("%.200q, then %q, then %.200q: %v", head, unit, tail, took)
		}
	})
}
