package logs

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
)

// TestFollowAcrossRestart follows the log of a run that waits in the queue of a
// daemon that was started anew: nobody writes it until its turn has come.
func TestFollowAcrossRestart(t *testing.T) {
	for name, tt := range map[string]struct {
		ends runner.Status // "" is a run that was removed
		last string        // which comes after the end
		took time.Duration
	}{
		"gone on with":  {ends: runner.Succeeded, last: "last\n", took: lookAgain},
		"removed":       {took: lookAgain},
		"left as it is": {ends: runner.Canceled, took: lastLine + lookAgain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var status atomic.Value
				status.Store(runner.Queued)
				d := &Dir{Path: t.TempDir(), Key: []byte(strings.Repeat("k", keySize))}
				d.Outcome = func(context.Context, string) (runner.Status, error) {
					if s := status.Load().(runner.Status); s != "" {
						return s, nil
					}
					return "", runner.ErrNotFound
				}
				write(t, create(t, &Dir{Path: d.Path}, "ca1"), "a", "first\n")
				text, step := followed(t, d, nil), followed(t, d, new("a"))
				time.Sleep(time.Hour)
				if len(text)+len(step) > 0 {
					t.Fatal("the log has ended, and its run is queued")
				}
				if res, _ := get(t, d, "GET", d.Link("ca1", time.Now().Add(time.Hour))); res.Header.Get("X-Ms-Meta-Complete") != "" {
					t.Errorf("a link calls it complete: %v", res.Header)
				}
				start := time.Now()
				status.Store(tt.ends)
				if tt.ends == "" {
					if err := d.Remove(t.Context(), "ca1"); err != nil {
						t.Fatal(err)
					}
				}
				if tt.last != "" {
					time.Sleep(lastLine / 2)
					l, err := d.Reopen("ca1")
					if err != nil {
						t.Fatal(err)
					}
					write(t, l, "a", tt.last)
					start = time.Now()
					l.Close()
				}
				if got := <-step; got != "first\n"+tt.last {
					t.Errorf("the step's part is %q", got)
				}
				if got := <-text; !strings.HasPrefix(got, "first\n") || !strings.HasSuffix(got, tt.last) {
					t.Errorf("the log is %q", got)
				}
				if took := time.Since(start); took > tt.took {
					t.Errorf("its end took %v, more than %v", took, tt.took)
				}
			})
		})
	}
}

// followed is what a follower of a log, or of a step in it, has read when it
// has ended.
func followed(t *testing.T, d *Dir, step *string) <-chan string {
	t.Helper()
	var r io.ReadCloser
	var err error
	if step != nil {
		r, err = d.Step(t.Context(), "ca1", *step, true)
	} else {
		r, err = d.Open(t.Context(), "ca1", 0, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		read <- string(b)
	}()
	return read
}
