package runner_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"acrd/internal/logs"
	"acrd/runner"
	"acrd/steps"
	"acrd/steps/stepstest"
)

func readStep(t *testing.T, b *bench, run, step string) string {
	t.Helper()
	r, err := b.logs.Step(t.Context(), run, step, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestLongLines: a line is broken after 64 KiB, between characters, whatever
// the writes are.
func TestLongLines(t *testing.T) {
	const most = 64 << 10
	long := strings.Repeat("0123456789é", 20000) // 240,000 bytes
	text := strings.Repeat("x", most) + "\n" + long + "\nshort\n" + strings.Repeat("y", most+1) + "\n"
	for _, parallel := range []bool{false, true} {
		for _, size := range []int{1000, 4096, most, most + 1, 1 << 20} {
			b := newBench(t, nil)
			b.engine.ExecFunc = func(_ context.Context, _ *steps.ExecOp, out steps.Output) error {
				for rest := []byte(text); len(rest) > 0; {
					n := min(size, len(rest))
					if _, err := out.Stdout.Write(rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			}
			file, prefix := `{steps: [{id: a, cmd: x}]}`, ""
			if parallel {
				file, prefix = `{steps: [{id: a, cmd: x, when: ['-']}, {id: b, cmd: x, when: ['-']}]}`, "a | "
			}
			run, _ := b.do(file)
			got := readStep(t, b, run.ID, "a")
			joined := ""
			for line := range strings.Lines(got) {
				line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), prefix)
				if !ok || len(line) > most || !utf8.ValidString(line) {
					t.Errorf("writes of %d: a line of %d bytes: %.20q...", size, len(line), line)
				}
				joined += line
				if len(line) < most-utf8.UTFMax || strings.HasPrefix(line, "x") {
					joined += "\n"
				}
			}
			// The last line but one byte is a whole line of its own.
			if joined != text {
				t.Errorf("parallel %v, writes of %d: %d bytes that are not the %d", parallel, size, len(joined), len(text))
			}
			b.end()
		}
	}
}

// TestSecretsOfSeveralSteps: a secret that comes in pieces is hidden also
// where other steps print in between.
func TestSecretsOfSeveralSteps(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	const secret = "correct-horse-battery"
	turns := make(chan bool, 1)
	turns <- true
	b.engine.ExecFunc = func(_ context.Context, _ *steps.ExecOp, out steps.Output) error {
		for _, c := range secret + "\n" {
			turn := <-turns
			fmt.Fprintf(out.Stdout, "%c", c)
			turns <- turn
		}
		return nil
	}
	run, err := b.runner.Submit(t.Context(), runner.Request{
		Inline:       []byte(`{steps: [{id: a, cmd: x, when: ['-']}, {id: b, cmd: x, when: ['-']}]}`),
		SecretValues: map[string]string{"s": secret, "t": "abc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, log := b.wait(run.ID)
	if !strings.Contains(log, "a | ***\n") || !strings.Contains(log, "b | ***\n") {
		t.Errorf("log:\n%s", log)
	}
	if !strings.Contains(log, "1 secret values are shorter than 4 bytes") {
		t.Errorf("nothing is said of the short one:\n%s", log)
	}
}

// TestProgressIsMasked: messages stay JSON, and secrets are in none, also where
// one is cut over messages of which each is in base64.
func TestProgressIsMasked(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	const secret = "correct-horse-battery"
	b.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
		for _, part := range []string{"before " + secret[:9], secret[9:], " after\n"} {
			data := base64.StdEncoding.EncodeToString([]byte(part))
			fmt.Fprintf(op.Progress, `{"vertexes":[{"name":"RUN echo %s","digest":"sha256:1"}],"logs":[{"vertex":"sha256:1","stream":1,"data":"%s","timestamp":"t"}]}`+"\n", secret, data)
		}
		fmt.Fprintf(op.Progress, `{"warnings":[{"short":"%s","level":12345678901234567890}]}`+"\n", base64.StdEncoding.EncodeToString([]byte("uses "+secret)))
		return &steps.Image{Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	run, err := b.runner.Submit(t.Context(), runner.Request{
		Inline: []byte(`{steps: [{id: a, build: "-t x ."}]}`), SecretValues: map[string]string{"s": secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.wait(run.ID)
	r, err := b.logs.Progress(t.Context(), run.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	output := ""
	for line := range bytes.Lines(all) {
		var message struct {
			Logs     []struct{ Data []byte }
			Warnings []struct {
				Short []byte
				Level json.Number
			}
		}
		if err := json.Unmarshal(line, &message); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, l := range message.Logs {
			output += string(l.Data)
		}
		for _, w := range message.Warnings {
			if string(w.Short) != "uses ***" || w.Level != "12345678901234567890" {
				t.Errorf("warning: %s %s", w.Short, w.Level)
			}
		}
	}
	if output != "before *** after\n" || strings.Contains(string(all), secret) {
		t.Errorf("output %q, messages:\n%s", output, all)
	}
}

// TestProgressHasALimit: in the end, messages come without output.
func TestProgressHasALimit(t *testing.T) {
	b := newBench(t, nil)
	defer b.end()
	message := []byte(`{"logs":[{"data":"` + strings.Repeat("QUFB", 1<<18) + `"}],"statuses":[{"id":"s"}]}` + "\n")
	b.engine.BuildFunc = func(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
		for range 70 {
			if _, err := op.Progress.Write(message); err != nil {
				return nil, err
			}
		}
		return &steps.Image{Digest: "sha256:" + strings.Repeat("a", 64)}, nil
	}
	run, _ := b.do(`{steps: [{id: a, build: "-t x ."}]}`)
	r, err := b.logs.Progress(t.Context(), run.ID, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(all, []byte("statuses")); n != 70 || len(all) > 65<<20 {
		t.Errorf("%d messages of 70, %d bytes", n, len(all))
	}
}

// BenchmarkOutput is a step that prints a GiB, in a run with ten secrets: from
// the engine's write to the file.
func BenchmarkOutput(b *testing.B) {
	const size = 1 << 30
	piece := make([]byte, 0, 32<<10)
	for i := 0; len(piece) < 32<<10-120; i++ {
		piece = fmt.Appendf(piece, "#12 %d.%03d  Compiling serde_json v1.0.%d (registry+https://example.com/index) %x\n", i/1000, i%1000, i%200, i*7919)
	}
	secrets := map[string]string{}
	for i := range 10 {
		secrets[fmt.Sprint(i)] = base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(fmt.Sprint(i*i), 20)))
	}
	engine := &stepstest.Fake{ExecFunc: func(_ context.Context, _ *steps.ExecOp, out steps.Output) error {
		for range size / len(piece) {
			if _, err := out.Stdout.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}}
	st := openStore(b)
	lg := &logs.Dir{Path: filepath.Join(b.TempDir(), "logs")}
	r := &runner.Runner{Store: st, Logs: lg, Sources: noSources{}, Engine: engine, Registry: "r.io", Dir: b.TempDir(), Alone: true}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx) }()
	b.SetBytes(size)
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // what others needed does not count
	before := peak(b)
	for b.Loop() {
		run, err := r.Submit(ctx, runner.Request{Inline: []byte("steps: [{cmd: x}]"), SecretValues: secrets})
		if err != nil {
			b.Fatal(err)
		}
		log, err := lg.Open(ctx, run.ID, 0, true)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, log); err != nil {
			b.Fatal(err)
		}
		log.Close()
	}
	b.ReportMetric(50, "MB/s-bar")
	b.ReportMetric(peak(b)-before, "MiB-more")
	b.ReportMetric(256, "MiB-more-bar")
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// peak is the most memory that this process has had.
func peak(b *testing.B) float64 {
	b.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs /proc")
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
