package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A shelf keeps bases and watches in memory.
type shelf struct {
	*desk
	bases   []Base
	watches map[string]Watch
}

func (s *shelf) SaveBases(_ context.Context, _ string, bases []Base) error {
	s.bases = bases
	return nil
}

func (s *shelf) AllBases(context.Context) ([]Base, error) { return slices.Clone(s.bases), nil }

func (s *shelf) BasesOf(context.Context, string) ([]Base, error)       { return slices.Clone(s.bases), nil }
func (s *shelf) SaveScan(context.Context, Watch, string, []Base) error { return nil }
func (s *shelf) SeeBase(context.Context, Base) error                   { return nil }

func (s *shelf) PushedSince(context.Context, string, string, time.Time) (string, error) {
	return "", nil
}

func (s *shelf) ToldSince(context.Context, string, string, time.Time) (bool, error) {
	return false, nil
}

func (s *shelf) ChangeTask(context.Context, string, func(*runner.Task) (*runner.Task, error)) (*runner.Task, error) {
	return nil, nil
}
func (s *shelf) Watches(context.Context, string) ([]Watch, error) { return nil, nil }
func (s *shelf) AddWatch(_ context.Context, _, id string, doc json.RawMessage, next time.Time) error {
	s.watches[id] = Watch{ID: id, Doc: doc, Next: next}
	return nil
}

func (s *shelf) ClaimWatches(_ context.Context, _ string, now time.Time, _ int, _ time.Duration) ([]Watch, error) {
	var due []Watch
	for _, w := range s.watches {
		if !w.Next.After(now) {
			due = append(due, w)
		}
	}
	return due, nil
}

func (s *shelf) SaveWatch(_ context.Context, _ string, w Watch, next time.Time) error {
	w.Next = next
	s.watches[w.ID] = w
	return nil
}

func (s *shelf) DeleteWatch(_ context.Context, _, id string) error {
	delete(s.watches, id)
	return nil
}

func (s *shelf) Run(context.Context, string) (*runner.Run, error) { return nil, runner.ErrNotFound }
func (s *shelf) Runs(context.Context, runner.Filter) ([]*runner.Run, error) {
	return nil, nil
}

// A registry answers what it is told to, and notes when it was asked.
type fakeRegistry struct {
	image Image
	err   error
	heads []time.Time
	reads int
}

func (r *fakeRegistry) Head(context.Context, string, *Login) (string, error) {
	r.heads = append(r.heads, time.Now())
	return r.image.Digest, r.err
}

func (r *fakeRegistry) Image(context.Context, string, *Login) (*Image, error) {
	r.reads++
	image := r.image
	return &image, r.err
}

func (r *fakeRegistry) Tags(context.Context, string, *Login) ([]string, error) { return nil, r.err }

// watching is a task on an image of another registry, and what looks at it.
func watching(r *fakeRegistry) (*Bases, *shelf) {
	s := &shelf{desk: newDesk(NewGraph(nil, nil), "app"), watches: map[string]Watch{}, bases: []Base{
		{Task: "app", Ref: "docker.io/library/node:22", Platform: "linux/amd64", Role: RunTime, Digest: "sha256:amd1", Run: "r1"},
	}}
	s.tasks["app"].Trigger = &runner.TaskTrigger{BaseImage: &runner.BaseImageTrigger{Type: runner.RuntimeBases}}
	s.watches["docker.io/library/node:22"] = Watch{ID: "docker.io/library/node:22"}
	return &Bases{Store: s, Tasks: s, Records: s, Registries: r, Intents: s, Events: s, Own: "localhost:5000"}, s
}

func serveBases(t *testing.T, b *Bases) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = b.Serve(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// TestPoll: a registry is asked by HEAD every 20 to 30 minutes, an image that
// has changed is read once, and one whose platform has not starts nothing.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRegistry{image: Image{Digest: "sha256:index1", Platforms: map[string]string{"linux/amd64": "sha256:amd1"}}}
		b, s := watching(r)
		serveBases(t, b)
		time.Sleep(6 * time.Hour)
		if n := len(r.heads); n < 12 || n > 19 || r.reads != 1 {
			t.Errorf("%d looks and %d reads in 6 hours", n, r.reads)
		}
		r.image = Image{Digest: "sha256:index2", Platforms: map[string]string{"linux/amd64": "sha256:amd1", "linux/arm64": "sha256:arm2"}}
		time.Sleep(time.Hour)
		if len(s.open) != 0 || r.reads != 2 {
			t.Errorf("for another platform there are %+v, after %d reads", s.open, r.reads)
		}
		r.image = Image{Digest: "sha256:index3", Platforms: map[string]string{"linux/amd64": "sha256:amd3"}}
		time.Sleep(3 * time.Hour)
		if len(s.open) != 1 || s.open[0].Pins["docker.io/library/node:22"] != "sha256:index3" {
			t.Fatalf("there are %+v", s.open)
		}
		if i := s.open[0].Cause.Image.Images[0]; i.Registry != runner.DockerHub || i.Repository != "library/node" || i.Tag != "22" {
			t.Errorf("ACR is told %+v", i)
		}
	})
}

// TestRefused: a registry that refuses is asked three times, then once a day,
// and the owner is told once.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRegistry{err: &StatusError{Status: http.StatusUnauthorized, Err: errors.New("UNAUTHORIZED")}}
		b, s := watching(r)
		serveBases(t, b)
		time.Sleep(10*24*time.Hour + time.Minute)
		if n := len(r.heads); n < 11 || n > 13 {
			t.Errorf("%d looks in ten days: %v", n, r.heads)
		}
		told := slices.DeleteFunc(slices.Clone(s.events), func(e eventing.Event) bool { return e.Type != eventing.TriggerSuspended })
		if len(told) != 1 || told[0].Subject != "app" {
			t.Errorf("told: %+v", told)
		}
	})
}

// TestTooMany: a registry that wants to be left alone is.
func TestTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeRegistry{err: &StatusError{Status: http.StatusTooManyRequests, After: 3 * time.Hour, Err: errors.New("slow down")}}
		b, _ := watching(r)
		serveBases(t, b)
		time.Sleep(7 * time.Hour)
		if len(r.heads) < 2 || len(r.heads) > 3 || r.heads[1].Sub(r.heads[0]) < 3*time.Hour {
			t.Errorf("looks at %v", r.heads)
		}
	})
}

// TestForPlatforms: what counts is what the platform gets.
func TestForPlatforms(t *testing.T) {
	single, list := Image{Digest: "d"}, Image{Digest: "i", Platforms: map[string]string{"linux/arm64/v8": "a", "linux/amd64": "x"}}
	for _, tt := range []struct {
		image          Image
		platform, want string
	}{{single, "linux/s390x", "d"}, {list, "linux/amd64", "x"}, {list, "linux/arm64", "a"}, {list, "linux/arm", ""}} {
		if got := tt.image.For(tt.platform); got != tt.want {
			t.Errorf("%v for %s is %q; want %q", tt.image, tt.platform, got, tt.want)
		}
	}
}
