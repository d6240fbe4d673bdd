package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// ScanWatch is the kind of watches of sources that are to be scanned. Their ids
// are names of tasks with a slash.
const ScanWatch = "scans"

// Scans find out what tasks will be built on before they were built: each
// source is read once after its task was saved, in the background. What the
// next successful run says takes the place of it.
type Scans struct {
	Bases *Bases
	Tasks Tasks
	// Scan reads what the builds of a task start from, without building, and
	// without asking a registry. What it returns with an error counts.
	Scan func(ctx context.Context, t *runner.Task) ([]*steps.Image, error)
	Log  *slog.Logger // nil discards

	once sync.Once
	wake chan struct{}
}

const (
	// scanPatience bounds a scan.
	scanPatience = 2 * time.Minute
	// scanAgain is how long it takes until a source that could not be read is
	// tried again, times the number of times; scanTries is how often.
	scanAgain = time.Minute
	scanTries = 3
	scanTick  = 5 * time.Second
)

// A scanning is what is known of a scan that has found nothing yet.
type scanning struct {
	// Since is when the task was saved.
	Since time.Time `json:"since"`
	Tries int       `json:"tries,omitempty"`
	Err   string    `json:"error,omitempty"`
}

func scanWatch(task string, now time.Time) NewWatch {
	doc, _ := json.Marshal(scanning{Since: now}) // cannot fail: only plain values
	return NewWatch{Kind: ScanWatch, ID: task + "/", Doc: doc, Next: now, InPlaceOf: task + "/"}
}

// unknownBases says that nobody knows what a task is built on that waits for
// base images: it is new, or what it does has changed.
func unknownBases(old, t *runner.Task) bool {
	if !waitsForBases(t) {
		return false
	}
	if old == nil || old.Platform != t.Platform {
		return true
	}
	a, b := old.Step, t.Step
	a.BaseImages, b.BaseImages = nil, nil
	return !reflect.DeepEqual(a, b) || !waitsForBases(old) && len(old.Step.BaseImages) == 0
}

func waitsForBases(t *runner.Task) bool {
	return t.Status.Active() && t.Trigger != nil && t.Trigger.BaseImage != nil && t.Trigger.BaseImage.Status.Active()
}

func (s *Scans) init() { s.once.Do(func() { s.wake = make(chan struct{}, 1) }) }

// Wake says that a task was saved.
func (s *Scans) Wake() {
	s.init()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Serve scans, one source after the other, until ctx has ended.
func (s *Scans) Serve(ctx context.Context) error {
	s.init()
	tick := time.NewTicker(scanTick)
	defer tick.Stop()
	for {
		for s.next(ctx) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// next scans one source, if one is due.
func (s *Scans) next(ctx context.Context) bool {
	due, err := s.Bases.Store.ClaimWatches(ctx, ScanWatch, time.Now(), 1, scanPatience+time.Minute)
	if err != nil && ctx.Err() == nil {
		s.log().Warn("scans cannot be read", "err", err)
	}
	for _, w := range due {
		if err := s.scan(ctx, w); err != nil && ctx.Err() == nil && !errors.Is(err, runner.ErrFenced) {
			s.log().Warn("scan of a source", "task", w.ID, "err", err)
		}
	}
	return len(due) > 0 && ctx.Err() == nil
}

func (s *Scans) scan(ctx context.Context, w Watch) error {
	var doc scanning
	if err := json.Unmarshal(w.Doc, &doc); err != nil {
		return err
	}
	name := w.ID[:len(w.ID)-1]
	t, err := s.Tasks.Task(ctx, name)
	if errors.Is(err, runner.ErrNotFound) {
		return s.Bases.Store.DeleteWatch(ctx, ScanWatch, w.ID)
	}
	if err != nil {
		return err
	}
	scanning, cancel := context.WithTimeoutCause(ctx, scanPatience, fmt.Errorf("the source could not be read within %v", scanPatience))
	defer cancel()
	images, err := s.Scan(scanning, t)
	if err != nil && len(images) == 0 {
		return s.failed(ctx, w, doc, err)
	}
	return s.Bases.found(ctx, w, name, images, doc.Since)
}

// failed keeps why there is no result, and tries again if that may help.
func (s *Scans) failed(ctx context.Context, w Watch, doc scanning, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // whoever claims it next begins anew
	}
	doc.Tries++
	doc.Err = err.Error()
	next := time.Now().Add(time.Duration(doc.Tries) * scanAgain)
	if source := (*runner.SourceError)(nil); doc.Tries >= scanTries || !errors.As(err, &source) {
		next = never()
	}
	w.Doc, _ = json.Marshal(doc) // cannot fail: only plain values
	s.log().Info("source could not be scanned for base images", "task", w.ID[:len(w.ID)-1], "tries", doc.Tries, "err", err)
	return s.Bases.Store.SaveWatch(ctx, ScanWatch, w, next)
}

func (s *Scans) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// found keeps what a scan has found, and looks at what was not known. What the
// last build was on already stays as it is.
func (b *Bases) found(ctx context.Context, scan Watch, task string, images []*steps.Image, since time.Time) error {
	old, err := b.Store.BasesOf(ctx, task)
	if err != nil {
		return err
	}
	bases := scannedBases(task, images, since, old)
	if err := b.Store.SaveScan(ctx, scan, task, bases); err != nil {
		return err
	}
	if err := b.refresh(ctx, task); err != nil {
		return err
	}
	b.watch(ctx, task, bases)
	seen := map[string]bool{}
	for _, base := range bases {
		if base.unseen() && !seen[base.Ref] {
			seen[base.Ref] = true
			b.firstLook(ctx, base.Ref, since)
		}
	}
	if bases, err = b.Store.BasesOf(ctx, task); err != nil {
		return err
	}
	b.show(ctx, task, bases)
	return nil
}

// firstLook looks at an image in its turn. If that is long in coming, it is
// looked at by poll.
func (b *Bases) firstLook(ctx context.Context, ref string, since time.Time) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errors.New("the registry does not answer"))
	defer cancel()
	for next, ok := b.admit(ref); !ok; next, ok = b.admit(ref) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
	}
	if err := b.look(ctx, ref, sighting{how: "pushed after the task was saved", at: since}); err != nil {
		b.log().Warn("image could not be looked at", "image", ref, "err", err)
	}
}

// scannedBases are what images will be built on. Images that the same task
// builds are none.
func scannedBases(task string, images []*steps.Image, since time.Time, old []Base) []Base {
	var all []Base
	for _, base := range old {
		if base.Role == Output {
			all = append(all, base)
		}
	}
	var own []string
	for _, image := range images {
		for _, tag := range image.Tags {
			own = append(own, Canonical(tag))
		}
	}
	for _, image := range images {
		add := func(d steps.Dependency, role string) {
			ref := Canonical(d.Ref)
			if ref == "" || slices.Contains(own, ref) {
				return
			}
			for _, platform := range platformsOf(image) {
				all = addBase(all, carried(old, Base{Task: task, Ref: ref, Platform: platform, Role: role, Scanned: since}))
			}
		}
		if image.Runtime != nil {
			add(*image.Runtime, RunTime)
		}
		for _, d := range image.BuildTime {
			add(d, BuildTime)
		}
	}
	return all
}

// carried is the base as the last build was on it, if it was.
func carried(old []Base, base Base) Base {
	for _, o := range old {
		if o.Ref == base.Ref && o.Platform == base.Platform && o.Role != Output {
			o.Role = base.Role
			return o
		}
	}
	return base
}

func addBase(all []Base, base Base) []Base {
	if slices.ContainsFunc(all, func(b Base) bool { return b.Ref == base.Ref && b.Platform == base.Platform && b.Role == base.Role }) {
		return all
	}
	return append(all, base)
}
