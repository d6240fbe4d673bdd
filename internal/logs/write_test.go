package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestStepLimit: beginning and end are kept, in whole lines, with one notice
// between them; other steps and the daemon have room of their own.
func TestStepLimit(t *testing.T) {
	for name, tt := range map[string]struct {
		lines int
		cut   bool
	}{
		"below the limit": {100, false},
		"at the limit":    {1600, false},
		"one more":        {1601, true},
		"far above":       {20000, true},
	} {
		for _, size := range []int{1, 7, 1000, 100000} { // of writes, in lines
			d := &Dir{Path: t.TempDir(), StepLimit: 16000}
			l := create(t, d, "ca1")
			var want strings.Builder
			var piece []byte
			for i := range tt.lines {
				line := fmt.Sprintf("line %4d\n", i%10000) // ten bytes
				want.WriteString(line)
				if piece = append(piece, line...); (i+1)%size == 0 || i == tt.lines-1 {
					write(t, l, "a", string(piece))
					piece = piece[:0]
				}
				if i == tt.lines/2 {
					write(t, l, "", "daemon\n")
					write(t, l, "b", "b\n")
				}
			}
			if err := l.End("a"); err != nil {
				t.Fatal(err)
			}
			write(t, l, "", "last\n")
			l.Close()
			r, err := d.Step(t.Context(), "ca1", "a", false)
			got := all(t, r, err)
			if !tt.cut && got != want.String() {
				t.Errorf("%s, writes of %d: %d bytes that are not the %d", name, size, len(got), want.Len())
			}
			if tt.cut {
				head, tail, ok := strings.Cut(got, "Step ID: a has reached the limit of its log")
				head = head[:strings.LastIndexByte(head, '\n')+1]
				tail = tail[strings.IndexByte(tail, '\n')+1:]
				if !ok || !strings.HasPrefix(want.String(), head) || !strings.HasSuffix(want.String(), tail) || strings.Contains(tail, "Step ID") ||
					len(head) < 14990 || len(tail) < 980 || len(head)+len(tail) > 16000 {
					t.Errorf("%s, writes of %d: %d bytes of the beginning, %d of the end", name, size, len(head), len(tail))
				}
			}
			r, err = d.Open(t.Context(), "ca1", 0, false)
			if text := all(t, r, err); !strings.HasSuffix(text, "last\n") || !strings.Contains(text, "daemon\n") || !strings.Contains(text, "b\n") {
				t.Errorf("%s: what others print is missing", name)
			}
			if left, _ := filepath.Glob(filepath.Join(d.Path, "*", "tail-*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		}
	}
}

// TestStepLimitWithoutLines: output without any line break is cut as well.
func TestStepLimitWithoutLines(t *testing.T) {
	d := &Dir{Path: t.TempDir(), StepLimit: 1600}
	l := create(t, d, "ca1")
	for range 100 {
		write(t, l, "a", strings.Repeat("x", 100))
	}
	l.Close() // the step did not end
	r, err := d.Open(t.Context(), "ca1", 0, false)
	if got := all(t, r, err); !regexp.MustCompile(`^x+\n\d{4}/.* Step ID: a has .*\nx+$`).MatchString(got) || strings.Count(got, "x") != 1600 {
		t.Errorf("got %q", got)
	}
}

// die leaves a log as a killed daemon does.
func die(d *Dir, run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[run].closeFiles()
	delete(d.live, run)
}

func TestReopen(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(t *testing.T, d *Dir, dir string)
		want   string
	}{
		"none":   {func(*testing.T, *Dir, string) {}, `^more\n$`},
		"queued": {func(t *testing.T, d *Dir, _ string) { create(t, d, "ca1"); die(d, "ca1") }, `^more\n$`},
		"closed": {func(t *testing.T, d *Dir, _ string) { l := create(t, d, "ca1"); write(t, l, "a", "one\n"); l.Close() }, `^one\nmore\n$`},
		"killed": {func(t *testing.T, d *Dir, _ string) {
			l := create(t, d, "ca1")
			write(t, l, "a", "one\n")
			die(d, "ca1")
		}, `^one\n\d{4}/\d\d/\d\d \d\d:\d\d:\d\d The daemon stopped [^\n]*\nmore\n$`},
		"killed in it": {func(t *testing.T, d *Dir, _ string) { l := create(t, d, "ca1"); write(t, l, "a", "on"); die(d, "ca1") }, `^on\n\d{4}/\d\d/\d\d \d\d:\d\d:\d\d The daemon stopped [^\n]*\nmore\n$`},
		"torn index": {func(t *testing.T, d *Dir, dir string) {
			l := create(t, d, "ca1")
			write(t, l, "a", "one\n")
			write(t, l, "b", "two\n")
			die(d, "ca1")
			index, err := os.ReadFile(filepath.Join(dir, indexFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, indexFile), append(index, `{"from":8,"st`...), 0o600); err != nil {
				t.Fatal(err)
			}
		}, `^one\ntwo\n\d{4}/\d\d/\d\d \d\d:\d\d:\d\d The daemon stopped [^\n]*\nmore\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Dir{Path: t.TempDir()}
			tt.before(t, d, d.folder("ca1"))
			l, err := d.Reopen("ca1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Reopen("ca1"); !errors.Is(err, ErrLive) {
				t.Errorf("opened twice: %v", err)
			}
			write(t, l, "a", "more\n")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := d.Open(t.Context(), "ca1", 0, true)
			if got := all(t, r, err); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("got %q, want %s", got, tt.want)
			}
			r, err = d.Step(t.Context(), "ca1", "a", true)
			if got := all(t, r, err); !regexp.MustCompile(`^(on|on\n|one\n)?more\n$`).MatchString(got) {
				t.Errorf("step a: got %q", got)
			}
		})
	}
}

// TestRecover: what a killed daemon has left is finished if the run has ended.
func TestRecover(t *testing.T) {
	d := newDir(t)
	for _, run := range []string{"ca1", "ca2", "ca3", "ca4"} {
		l := create(t, d, run)
		write(t, l, "a", "text of "+run+"\n")
		if run != "ca3" {
			die(d, run)
		}
	}
	if err := os.MkdirAll(filepath.Join(d.Path, leaving+"ca0"), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the store does not answer")
	err := d.Recover(t.Context(), func(_ context.Context, run string) (bool, error) {
		return run == "ca1", map[string]error{"ca4": broken}[run]
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	var left []string
	entries, _ := os.ReadDir(d.Path)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != "ca2 ca3 ca4" {
		t.Errorf("left are %s", got)
	}
	r, err := d.Open(t.Context(), "ca1", 0, true)
	if got := all(t, r, err); !strings.HasPrefix(got, "text of ca1\n") || !strings.Contains(got, "The daemon stopped") {
		t.Errorf("got %q", got)
	}
}

// TestConcurrentWriters: what steps write at a time stays whole.
func TestConcurrentWriters(t *testing.T) {
	d := newDir(t)
	l := create(t, d, "ca1")
	done := make(chan error)
	want := map[string]string{}
	for _, step := range []string{"a", "b", "c"} {
		text := strings.Repeat("output of "+step+"\n", 2000)
		want[step] = text
		go func() {
			for line := range bytes.Lines([]byte(text)) {
				if err := l.Write(step, line); err != nil {
					done <- err
					return
				}
			}
			done <- l.End(step)
		}()
	}
	r, err := d.Step(t.Context(), "ca1", "b", true)
	if err != nil {
		t.Fatal(err)
	}
	follower := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		follower <- string(b)
	}()
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	l.Close()
	if got := <-follower; got != want["b"] {
		t.Errorf("the follower got %d bytes of %d", len(got), len(want["b"]))
	}
	for step := range want {
		r, err := d.Step(t.Context(), "ca1", step, false)
		if got := all(t, r, err); got != want[step] {
			t.Errorf("step %s: %d bytes of %d", step, len(got), len(want[step]))
		}
	}
}
