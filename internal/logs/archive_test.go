package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func newDir(t testing.TB) *Dir {
	t.Helper()
	b, err := OpenBucket(t.Context(), filepath.Join(t.TempDir(), "archive"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return &Dir{Path: t.TempDir(), Bucket: b}
}

// fill writes a log of several blocks and returns it, whole and by step.
func fill(t *testing.T, d *Dir, run string, size int) (text string, steps map[string]string) {
	t.Helper()
	l := create(t, d, run)
	random := rand.New(rand.NewPCG(1, 2))
	var all strings.Builder
	steps = map[string]string{"": "", "a": "", "b": ""}
	for i := 0; all.Len() < size; i++ {
		step := []string{"", "a", "b"}[random.IntN(3)]
		piece := fmt.Sprintf("%s %d %x\n", step, i, random.Uint64())
		if random.IntN(20) == 0 {
			piece = strings.Repeat(piece, 50)
		}
		write(t, l, step, piece)
		all.WriteString(piece)
		steps[step] += piece
	}
	if err := l.Progress("a", []byte(`{"vertexes":[]}`+"\n")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return all.String(), steps
}

func TestArchive(t *testing.T) {
	d := newDir(t)
	text, steps := fill(t, d, "ca1", 3*blockSize+1000)
	before, err := d.Size(t.Context(), "ca1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing is left to do
		if err := d.Archive(t.Context(), "ca1"); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path, "*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if after, err := d.Size(t.Context(), "ca1"); err != nil || after == 0 || after >= before {
		t.Errorf("the archive has %d bytes, the files had %d (%v)", after, before, err)
	}
	for _, offset := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 2*blockSize + 77, len(text) - 1, len(text), len(text) + 5} {
		r, err := d.Open(t.Context(), "ca1", int64(offset), true)
		if got := all(t, r, err); got != text[min(offset, len(text)):] {
			t.Errorf("from %d: %d bytes that are not the %d", offset, len(got), len(text)-offset)
		}
	}
	for step, want := range steps {
		r, err := d.Step(t.Context(), "ca1", step, true)
		if got := all(t, r, err); got != want {
			t.Errorf("step %q: %d bytes that are not the %d", step, len(got), len(want))
		}
	}
	r, err := d.Progress(t.Context(), "ca1", true)
	if got := all(t, r, err); got != "{\"vertexes\":[]}\n" {
		t.Errorf("progress: %q", got)
	}
	if latest, err := d.Latest(t.Context()); latest != "ca1" || err != nil {
		t.Errorf("latest is %q, %v", latest, err)
	}
	if _, err := d.Reopen("ca1"); err == nil {
		t.Error("an archived log may not be begun again")
	}
}

// TestArchiveIsZstd: other programs can read it.
func TestArchiveIsZstd(t *testing.T) {
	d := newDir(t)
	text, _ := fill(t, d, "ca1", 2*blockSize)
	if err := d.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(d.Bucket.dir, key("ca1")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if got, err := io.ReadAll(z); err != nil || string(got) != text {
		t.Errorf("%d bytes that are not the %d (%v)", len(got), len(text), err)
	}
}

func TestArchiveOfNothing(t *testing.T) {
	d := newDir(t)
	create(t, d, "ca1").Close()
	if err := d.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"", "a"} {
		r, err := d.Step(t.Context(), "ca1", step, true)
		if got := all(t, r, err); got != "" {
			t.Errorf("step %q: %q", step, got)
		}
	}
}

// TestFollowAcrossArchive: who reads while a log is put away reads all of it.
func TestFollowAcrossArchive(t *testing.T) {
	d := newDir(t)
	l := create(t, d, "ca1")
	write(t, l, "a", "one\n")
	whole, err := d.Open(t.Context(), "ca1", 0, true)
	if err != nil {
		t.Fatal(err)
	}
	step, err := d.Step(t.Context(), "ca1", "a", true)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 4)
	if _, err := io.ReadFull(whole, first); err != nil || string(first) != "one\n" {
		t.Fatalf("got %q, %v", first, err)
	}
	if err := d.Archive(t.Context(), "ca1"); !errors.Is(err, ErrLive) {
		t.Errorf("archive of a live log: %v", err)
	}
	if err := d.Remove(t.Context(), "ca1"); !errors.Is(err, ErrLive) {
		t.Errorf("removal of a live log: %v", err)
	}
	write(t, l, "b", "two\n")
	write(t, l, "a", "three\n")
	l.Close()
	if err := d.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	if got := all(t, whole, nil); got != "two\nthree\n" {
		t.Errorf("the follower got %q", got)
	}
	if got := all(t, step, nil); got != "one\nthree\n" {
		t.Errorf("the step's follower got %q", got)
	}
}

func TestRemove(t *testing.T) {
	d := newDir(t)
	for _, run := range []string{"ca1", "ca2", "ca3"} {
		fill(t, d, run, 1000)
	}
	if err := d.Archive(t.Context(), "ca2"); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"ca1", "ca2", "ca2", "ca9"} {
		if err := d.Remove(t.Context(), run); err != nil {
			t.Errorf("%s: %v", run, err)
		}
		if _, err := d.Open(t.Context(), run, 0, false); !errors.Is(err, ErrNone) {
			t.Errorf("%s is still there: %v", run, err)
		}
	}
	if size, err := d.Size(t.Context(), "ca2"); size != 0 || err != nil {
		t.Errorf("no log takes %d bytes, %v", size, err)
	}
	r, err := d.Open(t.Context(), "ca3", 0, false)
	all(t, r, err)
}

// TestFailedArchive: where the bucket does not take it, the files stay.
func TestFailedArchive(t *testing.T) {
	d := newDir(t)
	text, _ := fill(t, d, "ca1", 1000)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Archive(gone, "ca1"); err == nil {
		t.Error("archived without a context")
	}
	r, err := d.Open(t.Context(), "ca1", 0, false)
	if got := all(t, r, err); got != text {
		t.Errorf("got %d bytes of %d", len(got), len(text))
	}
	if entries, _ := os.ReadDir(d.Bucket.dir); len(entries) > 0 {
		t.Errorf("the bucket has %v", entries)
	}
}

// TestDamagedArchive: it is an error, never a panic, and never other text.
func TestDamagedArchive(t *testing.T) {
	d := newDir(t)
	text, _ := fill(t, d, "ca1", blockSize+5000)
	if err := d.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Bucket.dir, key("ca1"))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		bad := bytes.Clone(good)
		if i%3 == 0 {
			bad = bad[:random.IntN(len(bad))]
		} else {
			at := random.IntN(len(bad))
			if i%3 == 1 {
				at = len(bad) - 1 - random.IntN(80)
			}
			bad[at] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := d.Open(t.Context(), "ca1", 0, false)
		if err != nil {
			continue
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err == nil && string(got) != text {
			t.Errorf("%d: damage is not noticed: %d bytes", i, len(got))
		}
	}
}

func TestOpenBucket(t *testing.T) {
	dir := t.TempDir()
	for _, address := range []string{dir, dir + "/deep/er", "file://" + dir + "/url"} {
		b, err := OpenBucket(t.Context(), address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		b.Close()
	}
	if _, err := OpenBucket(t.Context(), "s4://user:hidden@bucket"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

// TestRecoverKeepsLonger starts a daemon that has the beginning of a log, while
// another one has archived the whole in the same place.
func TestRecoverKeepsLonger(t *testing.T) {
	a := newDir(t)
	b := &Dir{Path: t.TempDir(), Bucket: a.Bucket}
	for run, begun := range map[string]string{"ca1": "", "ca2": "begun\n", "ca3": "begun, and much longer than that\n"} {
		if l := create(t, &Dir{Path: a.Path}, run); begun != "" {
			write(t, l, "a", begun)
		}
		l := create(t, b, run)
		write(t, l, "", "all of the log\n")
		if err := errors.Join(l.Close(), b.Archive(t.Context(), run)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Recover(t.Context(), func(context.Context, string) (bool, error) { return true, nil }); err != nil {
		t.Fatal(err)
	}
	for run, want := range map[string]string{"ca1": "all of the log", "ca2": "all of the log", "ca3": "much longer"} {
		r, err := a.Open(t.Context(), run, 0, false)
		if got := all(t, r, err); !strings.Contains(got, want) {
			t.Errorf("%s: %q", run, got)
		}
	}
	if left, _ := os.ReadDir(a.Path); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
