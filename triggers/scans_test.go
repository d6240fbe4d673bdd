package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

const (
	ownBase   = "localhost:5000/base/os:1"
	otherBase = "docker.io/library/node:22"
)

// A scanShelf keeps what a scan needs, and registries as they are in time.
type scanShelf struct {
	*shelf
	scans  map[string]Watch
	images map[string]string    // digests, by reference
	pushed map[string]time.Time // the last that is known of
	digest string               // that was pushed then
	down   bool
	// after is called when a method has done its work, once: something else
	// happens in that moment.
	after map[string]func()
}

func (s *scanShelf) did(method string) {
	if f := s.after[method]; f != nil {
		delete(s.after, method)
		f()
	}
}

func (s *scanShelf) SaveScan(_ context.Context, w Watch, _ string, bases []Base) error {
	if _, ok := s.scans[w.ID]; !ok {
		return runner.ErrFenced
	}
	delete(s.scans, w.ID)
	s.bases = bases
	s.did("SaveScan")
	return nil
}

func (s *scanShelf) SaveBases(_ context.Context, task string, bases []Base) error {
	delete(s.scans, task+"/")
	s.bases = bases
	return nil
}

func (s *scanShelf) SeeBase(_ context.Context, base Base) error {
	for i, b := range s.bases {
		if b.Ref == base.Ref && b.Digest == "" {
			s.bases[i].Digest = base.Digest
		}
	}
	s.did("SeeBase")
	return nil
}

func (s *scanShelf) PushedSince(_ context.Context, repository, tag string, since time.Time) (string, error) {
	defer s.did("PushedSince")
	if at, ok := s.pushed["localhost:5000/"+repository+":"+tag]; ok && !at.Before(since) {
		return s.digest, nil
	}
	return "", nil
}

func (s *scanShelf) ToldSince(_ context.Context, repository, tag string, since time.Time) (bool, error) {
	at, ok := s.pushed["docker.io/"+repository+":"+tag]
	return ok && !at.Before(since), nil
}

func (s *scanShelf) Head(ctx context.Context, ref string, as *Login) (string, error) {
	image, err := s.Image(ctx, ref, as)
	if err != nil {
		return "", err
	}
	return image.Digest, nil
}

func (s *scanShelf) Image(_ context.Context, ref string, _ *Login) (*Image, error) {
	defer s.did("Image")
	digest, ok := s.images[ref]
	switch {
	case s.down:
		return nil, errors.New("no route to host")
	case !ok:
		return nil, &StatusError{Status: http.StatusNotFound, Err: errors.New("MANIFEST_UNKNOWN")}
	}
	return &Image{Digest: digest}, nil
}

func (s *scanShelf) Tags(_ context.Context, repository string, _ *Login) ([]string, error) {
	var all []string
	for ref := range s.images {
		if r, tag := split(ref); r == repository {
			all = append(all, tag)
		}
	}
	if all == nil {
		return nil, &StatusError{Status: http.StatusNotFound, Err: errors.New("NAME_UNKNOWN")}
	}
	return all, nil
}

// A scanRig is a task on one image whose source is to be scanned.
type scanRig struct {
	*scanShelf
	t     *testing.T
	bases *Bases
	base  string
	since time.Time
}

func withScan(t *testing.T, base string, f func(r *scanRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{desk: newDesk(NewGraph(nil, nil), "app"), watches: map[string]Watch{}}
		sh.tasks["app"].Trigger = &runner.TaskTrigger{BaseImage: &runner.BaseImageTrigger{Type: runner.RuntimeBases}}
		s := &scanShelf{shelf: sh, scans: map[string]Watch{}, images: map[string]string{base: "sha256:old"}, pushed: map[string]time.Time{}, after: map[string]func(){}}
		r := &scanRig{scanShelf: s, t: t, base: base, since: time.Now()}
		r.bases = &Bases{Store: s, Tasks: s, Records: s, Registries: s, Intents: s, Events: s, Own: "localhost:5000"}
		time.Sleep(time.Millisecond)
		f(r)
	})
}

// push pushes the base. The draft of it is kept before, and who listens is
// told after.
func (r *scanRig) push(digest string) {
	r.pushed[r.base], r.digest = time.Now(), digest
	r.images[r.base] = digest
	if host(r.base) == r.bases.Own {
		repository, tag := split(r.base[len("localhost:5000/"):])
		r.bases.Pushed(repository, tag)
	}
}

// heard lets Bases hear of pushes.
func (r *scanRig) heard() {
	r.t.Helper()
	for len(r.bases.queue()) > 0 {
		p := <-r.bases.queue()
		if err := r.bases.look(r.t.Context(), p.ref, sighting{how: "registry event", at: p.at}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// announce lets another registry tell of the push that was last.
func (r *scanRig) announce() {
	r.t.Helper()
	if err := r.bases.Announced(r.t.Context(), r.base, "notice of hub", r.pushed[r.base]); err != nil {
		r.t.Fatal(err)
	}
}

func (r *scanRig) scan() {
	r.t.Helper()
	s := &Scans{Bases: r.bases, Tasks: r, Scan: func(context.Context, *runner.Task) ([]*steps.Image, error) {
		r.did("Scan")
		return []*steps.Image{{Tags: []string{"localhost:5000/app:1"}, Runtime: &steps.Dependency{Ref: r.base}, Platforms: []string{"linux/amd64"}}}, nil
	}}
	w := scanWatch("app", r.since)
	r.scans[w.ID] = Watch{ID: w.ID, Doc: w.Doc}
	if err := s.scan(r.t.Context(), r.scans[w.ID]); err != nil && !errors.Is(err, runner.ErrFenced) {
		r.t.Fatal(err)
	}
}

// want compares the digests that runs are wanted for.
func (r *scanRig) want(what string, digests ...string) {
	r.t.Helper()
	var got []string
	for _, i := range r.open {
		got = append(got, i.Pins[r.base])
	}
	if diff := cmp.Diff(digests, got); diff != "" {
		r.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestScan: what was there when the task was saved is no news, what comes after
// is, whenever that is.
func TestScan(t *testing.T) {
	withScan(t, ownBase, func(r *scanRig) {
		r.scan()
		r.heard()
		r.want("what was there before")
		r.push("sha256:old")
		r.heard()
		r.want("the same again")
		r.push("sha256:new")
		r.heard()
		r.want("a push", "sha256:new")
		if i := r.open[0]; i.Reason != "base image localhost:5000/base/os:1 sha256:old -> sha256:new (registry event 0 ms ago)" {
			t.Errorf("the reason is %q", i.Reason)
		}
		if built, err := r.bases.Built(t.Context(), &r.open[0]); built || err != nil {
			t.Errorf("nothing was built yet, and the intent counts as built (%v)", err)
		}
	})
}

// TestScan_Race pushes at each moment between the creation of a task and the
// time when its bases are known. Each is a change, and one.
func TestScan_Race(t *testing.T) {
	for _, moment := range []string{"before", "Scan", "SaveScan", "Image", "PushedSince", "SeeBase", "after"} {
		t.Run(moment, func(t *testing.T) {
			withScan(t, ownBase, func(r *scanRig) {
				r.after[moment] = func() { r.push("sha256:new") }
				r.did("before")
				r.scan()
				r.did("after")
				r.heard()
				r.want("a push", "sha256:new")
				r.push("sha256:new")
				r.heard()
				r.want("the same again", "sha256:new")
			})
		})
	}
}

// TestScan_Drafted has a push under way: its draft is kept, and the tag is not
// put yet.
func TestScan_Drafted(t *testing.T) {
	for _, there := range []bool{false, true} {
		withScan(t, ownBase, func(r *scanRig) {
			if !there {
				delete(r.images, ownBase)
			}
			r.pushed[ownBase], r.digest = time.Now(), "sha256:new"
			r.scan()
			r.want("not yet")
			r.push("sha256:new")
			r.heard()
			r.want("then it is", "sha256:new")
		})
	}
}

// TestScan_Absent: an image that is not there yet is a change when it comes.
func TestScan_Absent(t *testing.T) {
	withScan(t, ownBase, func(r *scanRig) {
		delete(r.images, ownBase)
		r.scan()
		r.want("nothing is there")
		r.push("sha256:new")
		r.heard()
		r.want("the first", "sha256:new")
		if i := r.open[0]; i.Reason != "base image localhost:5000/base/os:1 not there -> sha256:new (registry event 0 ms ago)" {
			t.Errorf("the reason is %q", i.Reason)
		}
	})
}

// TestScan_Pattern is on the newest of several tags, of which there is none yet.
func TestScan_Pattern(t *testing.T) {
	withScan(t, ownBase, func(r *scanRig) {
		r.tasks["app"].Trigger.BaseImage.TagPatterns = []string{"localhost:5000/base/os:*"}
		delete(r.images, ownBase)
		r.scan()
		r.want("nothing is there")
		r.push("sha256:new")
		r.heard()
		r.want("the first", "sha256:new")
	})
}

// TestScan_Other is on an image of another registry: what that tells between
// the creation and the first look is a change, and so is what it tells later of
// the very image that the first look found.
func TestScan_Other(t *testing.T) {
	for _, moment := range []string{"before", "Scan", "SaveScan", "Image", "SeeBase", "after"} {
		for _, when := range []string{"at once", "later"} {
			t.Run(fmt.Sprint(moment, " ", when), func(t *testing.T) {
				withScan(t, otherBase, func(r *scanRig) {
					late := time.Time{}
					r.after[moment] = func() {
						r.push("sha256:new")
						if late = r.pushed[otherBase]; when == "later" {
							delete(r.pushed, otherBase) // nobody has heard of it
							return
						}
						r.announce()
					}
					r.did("before")
					r.scan()
					r.did("after")
					r.pushed[otherBase] = late
					for range 2 {
						r.announce()
					}
					r.want("a push", "sha256:new")
				})
			})
		}
	}
	t.Run("before the creation", func(t *testing.T) {
		withScan(t, otherBase, func(r *scanRig) {
			r.pushed[otherBase] = r.since.Add(-time.Second)
			r.scan()
			r.announce()
			r.want("what was told before")
		})
	})
}

// TestScan_Down: a registry that cannot be asked at first is asked by poll.
// What it has then was there before, unless it has told of it.
func TestScan_Down(t *testing.T) {
	for _, told := range []bool{false, true} {
		withScan(t, otherBase, func(r *scanRig) {
			r.down = true
			r.scan()
			r.want("nobody knows")
			r.down = false
			var want []string
			if told {
				r.push("sha256:new")
				want = append(want, "sha256:new")
			}
			serveBases(r.t, r.bases)
			time.Sleep(2 * time.Hour)
			r.want(fmt.Sprint("told ", told), want...)
			r.images[otherBase] = "sha256:newer"
			time.Sleep(2 * time.Hour)
			r.want(fmt.Sprint("told ", told), append(want, "sha256:newer")...)
		})
	}
}

// TestScan_Update: a scan after a change of the task keeps what the last build
// was on, and a build ends it.
func TestScan_Update(t *testing.T) {
	withScan(t, ownBase, func(r *scanRig) {
		built := Base{Task: "app", Ref: ownBase, Platform: "linux/amd64", Role: BuildTime, Digest: "sha256:older", Run: "r1"}
		r.shelf.bases = []Base{built, {Task: "app", Ref: "localhost:5000/gone:1", Platform: "linux/amd64", Role: RunTime, Run: "r1"}}
		r.scan()
		built.Role = RunTime
		if diff := cmp.Diff([]Base{built}, r.shelf.bases); diff != "" {
			t.Errorf("bases (-want +got):\n%s", diff)
		}
		r.want("what is already known stays known")
		r.after["Scan"] = func() {
			_ = r.SaveBases(t.Context(), "app", []Base{{Task: "app", Ref: otherBase, Run: "r2"}})
		}
		r.scan()
		if len(r.shelf.bases) != 1 || r.shelf.bases[0].Run != "r2" {
			t.Errorf("a scan has replaced what a build says: %+v", r.shelf.bases)
		}
	})
}

// TestScan_Failed: a source that cannot be had is tried again, a file that is
// wrong is not.
func TestScan_Failed(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{{&runner.SourceError{Err: errors.New("no route to host")}, scanTries}, {errors.New("Dockerfile:1: no FROM"), 1}} {
		withScan(t, ownBase, func(r *scanRig) {
			w := scanWatch("app", time.Now())
			r.watches[w.ID] = Watch{ID: w.ID, Doc: w.Doc}
			tries := 0
			s := &Scans{Bases: r.bases, Tasks: r, Scan: func(context.Context, *runner.Task) ([]*steps.Image, error) {
				tries++
				return nil, tt.err
			}}
			for range 24 * 60 {
				s.next(r.t.Context())
				time.Sleep(time.Minute)
			}
			var doc scanning
			if err := json.Unmarshal(r.watches[w.ID].Doc, &doc); err != nil || tries != tt.want || doc.Err != tt.err.Error() {
				t.Errorf("%d tries, then %+v (%v); want %d", tries, doc, err, tt.want)
			}
		})
	}
}

// TestUnknownBases: a scan is for what has changed.
func TestUnknownBases(t *testing.T) {
	task := func(change func(*runner.Task)) *runner.Task {
		t := commitTask("app", nil)
		t.Trigger.BaseImage = &runner.BaseImageTrigger{Type: runner.RuntimeBases, Status: runner.Enabled}
		if change != nil {
			change(t)
		}
		return t
	}
	for _, tt := range []struct {
		what   string
		old, t *runner.Task
		want   bool
	}{
		{"new", nil, task(nil), true},
		{"without the trigger", nil, task(func(t *runner.Task) { t.Trigger.BaseImage = nil }), false},
		{"the same", task(nil), task(func(t *runner.Task) { t.Timeout = 7 }), false},
		{"built since", task(nil), task(func(t *runner.Task) { t.Step.BaseImages = []runner.BaseImage{{}} }), false},
		{"another Dockerfile", task(nil), task(func(t *runner.Task) { t.Step.Dockerfile = "other" }), true},
		{"enabled", task(func(t *runner.Task) { t.Status = runner.Disabled }), task(nil), true},
		{"disabled", task(nil), task(func(t *runner.Task) { t.Status = runner.Disabled; t.Step.Target = "x" }), false},
	} {
		if got := unknownBases(tt.old, tt.t); got != tt.want {
			t.Errorf("%s: %v; want %v", tt.what, got, tt.want)
		}
	}
}
