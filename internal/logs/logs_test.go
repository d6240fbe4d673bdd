package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
)

func create(t *testing.T, d *Dir, run string) runner.Log {
	t.Helper()
	l, err := d.Create(run)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func write(t *testing.T, l runner.Log, step, text string) {
	t.Helper()
	if err := l.Write(step, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, r io.ReadCloser, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadBack(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	l := create(t, d, "ca1")
	write(t, l, "", "start\n")
	write(t, l, "web", "web 1\n")
	write(t, l, "job", "job 1\n")
	write(t, l, "web", "web 2\n")

	read := func(when string) {
		t.Helper()
		r, err := d.Open(t.Context(), "ca1", 0, false)
		if got, want := all(t, r, err), "start\nweb 1\njob 1\nweb 2\n"; got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
		r, err = d.Open(t.Context(), "ca1", 12, false)
		if got, want := all(t, r, err), "job 1\nweb 2\n"; got != want {
			t.Errorf("%s, from 12: got %q, want %q", when, got, want)
		}
		for step, want := range map[string]string{"web": "web 1\nweb 2\n", "job": "job 1\n", "": "start\n", "none": ""} {
			r, err = d.Step(t.Context(), "ca1", step, false)
			if got := all(t, r, err); got != want {
				t.Errorf("%s, step %q: got %q, want %q", when, step, got, want)
			}
		}
	}
	read("while it is written")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	read("after its end")
	if err := l.Write("", nil); err == nil {
		t.Error("a closed log takes more")
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dir{Path: t.TempDir()}
		l := create(t, d, "ca1")
		var want strings.Builder
		var readers sync.WaitGroup
		got := make([]string, 5)
		for i := range got {
			readers.Go(func() {
				r, err := d.Open(t.Context(), "ca1", 0, true)
				got[i] = all(t, r, err)
			})
		}
		for i := range 100 {
			line := fmt.Sprintf("line %d\n", i)
			want.WriteString(line)
			write(t, l, "s", line)
			time.Sleep(time.Second)
		}
		l.Close()
		readers.Wait()
		for i := range got {
			if got[i] != want.String() {
				t.Errorf("reader %d has %d bytes of %d", i, len(got[i]), want.Len())
			}
		}
	})
}

func TestFollowStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dir{Path: t.TempDir()}
		l := create(t, d, "ca1")
		var readers sync.WaitGroup
		got := map[string]*string{"a": new(string), "b": new(string), "c": new(string)}
		for step, text := range got {
			readers.Go(func() {
				r, err := d.Step(t.Context(), "ca1", step, true)
				*text = all(t, r, err)
			})
		}
		want := map[string]string{}
		for i := range 200 {
			step := []string{"a", "b", ""}[i*i%7%3]
			line := fmt.Sprintf("%s: line %d\n", step, i)
			want[step] += line
			write(t, l, step, line)
			if i%5 > 2 {
				time.Sleep(time.Second)
			}
		}
		l.Close()
		readers.Wait()
		for step, text := range got {
			if *text != want[step] {
				t.Errorf("step %q: got\n%s\nwant\n%s", step, *text, want[step])
			}
		}
	})
}

func TestFollowEndsWithContext(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	create(t, d, "ca1")
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the reader has left")
	r, err := d.Open(ctx, "ca1", 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel(gone)
	if _, err := io.ReadAll(r); !errors.Is(err, gone) {
		t.Errorf("got %v, want %v", err, gone)
	}
}

func TestLatest(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	for _, run := range []string{"", "ca1", "caz", "ca9", "ca10"} {
		if run != "" {
			create(t, d, run)
		}
		want := map[string]string{"": "", "ca1": "ca1", "caz": "caz", "ca9": "caz", "ca10": "ca10"}[run]
		if got, err := d.Latest(t.Context()); got != want || err != nil {
			t.Errorf("after %q: got %q, %v, want %q", run, got, err, want)
		}
	}
}

func TestNone(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	for _, run := range []string{"ca1", "../etc", "", "CA1"} {
		if _, err := d.Open(t.Context(), run, 0, true); !errors.Is(err, ErrNone) {
			t.Errorf("Open(%q) = %v, want ErrNone", run, err)
		}
	}
	if _, err := d.Create("../x"); err == nil {
		t.Error("a run id may not be a path")
	}
}
