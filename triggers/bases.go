package triggers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// Bases watch the images that tasks build on, and make an intent for each task
// whose last build was on another one than there is now.
//
// What a task builds on is what BuildKit resolved in its last successful run,
// of every stage; before there is one, what [Scans] have found in its source.
// What a registry says now is compared with that platform by
// platform. Pushes to our own registry are told at once, by Pushed; all images
// are looked at now and then besides, see [Bases.poll].
type Bases struct {
	Store      BaseStore
	Tasks      Tasks
	Records    Records
	Registries Registries
	Intents    Intents
	// Events, if not nil, is told of images that cannot be looked at.
	Events Events
	// Own is the host of our own registry, as images name it.
	Own string
	// Every is how often an image of our own registry is looked at, and
	// Others the same for others, both by chance up to half as often; 0
	// means 5 minutes, and 20.
	Every, Others time.Duration
	// Pace is the time between two looks at one registry; 0 means 500 ms.
	Pace time.Duration
	Log  *slog.Logger // nil discards

	once   sync.Once
	pushes chan push

	mu     sync.Mutex // guards what follows
	read   time.Time  // when the store was
	built  map[string][]Base
	graph  *Graph
	sent   *Graph               // that Graph returned last
	paces  map[string]time.Time // by registry: when the next look may be
	images map[string]*Image    // by reference with digest, which never changes
}

// A BaseStore keeps what tasks were built on, and what is watched.
type BaseStore interface {
	// SaveBases replaces them by those of a build, and ends the scan of the
	// task's source, if there is one.
	SaveBases(ctx context.Context, task string, bases []Base) error
	// SaveScan replaces them by what a scan has found, and ends the scan. It
	// is runner.ErrFenced if the scan is not the caller's any more.
	SaveScan(ctx context.Context, scan Watch, task string, bases []Base) error
	// SeeBase keeps the digest of a base that has none.
	SeeBase(ctx context.Context, base Base) error
	AllBases(ctx context.Context) ([]Base, error)
	BasesOf(ctx context.Context, task string) ([]Base, error)
	// PushedSince is what a tag of our own registry was put to last since a
	// time, or is being put to; empty if there was no push.
	PushedSince(ctx context.Context, repository, tag string, since time.Time) (digest string, err error)
	// ToldSince says that another registry has told of a push since a time.
	ToldSince(ctx context.Context, repository, tag string, since time.Time) (bool, error)
	// ChangeTask saves what change makes of a task, nil if there is none, or
	// nothing if change fails.
	ChangeTask(ctx context.Context, name string, change func(old *runner.Task) (*runner.Task, error)) (*runner.Task, error)
	WatchStore
}

// Records are where runs are looked up.
type Records interface {
	// Run is runner.ErrNotFound if there is none.
	Run(ctx context.Context, id string) (*runner.Run, error)
	// Runs are the newest first.
	Runs(ctx context.Context, f runner.Filter) ([]*runner.Run, error)
}

// The roles of bases. Output is none: it is what the task made itself.
const (
	RunTime   = "RunTime"
	BuildTime = "BuildTime"
	Output    = "Output"
)

// A push is a tag that was set in our own registry.
type push struct {
	ref string
	at  time.Time
}

// reread is how long what the store says counts as known: another daemon may
// have written to it, or a task may be gone.
const reread = 30 * time.Second

// Pushed tells of a tag that was set in our own registry. It does not wait: if
// too many come at once, the next look finds the rest.
func (b *Bases) Pushed(repository, tag string) {
	select {
	case b.queue() <- push{b.Own + "/" + repository + ":" + tag, time.Now()}:
	default:
	}
}

func (b *Bases) queue() chan push {
	b.once.Do(func() { b.pushes = make(chan push, 4096) })
	return b.pushes
}

// Serve looks at images until ctx has ended.
func (b *Bases) Serve(ctx context.Context) error {
	if err := b.catchUp(ctx); err != nil && ctx.Err() == nil {
		b.log().Error("what tasks were built on could not be read", "err", err)
	}
	var polling sync.WaitGroup
	defer polling.Wait()
	polling.Go(func() { b.poll(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-b.queue():
			if err := b.look(ctx, p.ref, sighting{how: "registry event", at: p.at}); err != nil && ctx.Err() == nil {
				b.log().Warn("image could not be looked at", "image", p.ref, "err", err)
			}
		}
	}
}

// load reads what tasks were built on, unless that is known.
func (b *Bases) load(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.read) < reread {
		return nil
	}
	all, err := b.Store.AllBases(ctx)
	if err != nil {
		return err
	}
	b.read, b.built = time.Now(), map[string][]Base{}
	for _, base := range all {
		b.built[base.Task] = append(b.built[base.Task], base)
	}
	b.draw()
	return nil
}

// draw makes the graph anew, if it would be another. The mutex is held.
func (b *Bases) draw() {
	makes, uses := map[string][]string{}, map[string][]string{}
	for task, bases := range b.built {
		for _, base := range bases {
			if base.Role == Output {
				makes[task] = append(makes[task], base.Ref)
			} else if !slices.Contains(uses[task], base.Ref) {
				uses[task] = append(uses[task], base.Ref)
			}
		}
	}
	g := NewGraph(makes, uses)
	if b.graph == nil || !b.graph.equal(g) {
		b.graph = g
	}
}

// Graph implements Images.
func (b *Bases) Graph(ctx context.Context) (*Graph, bool, error) {
	if err := b.load(ctx); err != nil {
		return nil, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := b.sent != b.graph
	b.sent = b.graph
	return b.graph, changed, nil
}

// Of lists what a task's last successful build was built on.
func (b *Bases) Of(ctx context.Context, task string) ([]Base, error) {
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.built[task]), nil
}

// A usage is an image that a task was built on, by platform and role.
type usage struct {
	task, ref string
	bases     []Base
}

// usages are those of an image and of other tags of its repository, by task,
// without those of images that the task itself makes.
func (b *Bases) usages(ref string) []usage {
	repository, _ := split(ref)
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []usage
	for task, bases := range b.built {
		of := map[string][]Base{}
		for _, base := range bases {
			if r, _ := split(base.Ref); r == repository {
				of[base.Ref] = append(of[base.Ref], base)
			}
		}
		for used, bases := range of {
			if !slices.ContainsFunc(bases, func(b Base) bool { return b.Role == Output }) {
				all = append(all, usage{task, used, bases})
			}
		}
	}
	slices.SortFunc(all, func(a, b usage) int { return strings.Compare(a.task+" "+a.ref, b.task+" "+b.ref) })
	return all
}

// Ended implements Images.
func (b *Bases) Ended(ctx context.Context, id string) error {
	run, err := b.Records.Run(ctx, id)
	if err != nil {
		return err
	}
	if err := b.load(ctx); err != nil {
		return err
	}
	if run.Status == runner.Succeeded && run.Request.Task != "" && len(run.Images) > 0 && !b.outdated(run) {
		if err := b.record(ctx, run); err != nil {
			return err
		}
	}
	for _, p := range run.Pushed {
		if ref := Canonical(p.Ref); ref != "" {
			err := b.look(ctx, ref, sighting{how: "run " + run.ID, at: run.Finished, pushed: p})
			if err != nil {
				b.log().Warn("image could not be looked at", "image", ref, "err", err)
			}
		}
	}
	return nil
}

// outdated says that a run was made before its task was changed to build on
// something else, which is known.
func (b *Bases) outdated(run *runner.Run) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.built[run.Request.Task], func(base Base) bool { return base.Scanned.After(run.Created) })
}

// record keeps what a successful run was built on, and looks whether that has
// changed while it ran.
func (b *Bases) record(ctx context.Context, run *runner.Run) error {
	task := run.Request.Task
	bases := b.basesOf(ctx, run)
	if err := b.Store.SaveBases(ctx, task, bases); err != nil {
		return err
	}
	b.mu.Lock()
	b.built[task] = bases
	b.draw()
	b.mu.Unlock()
	b.watch(ctx, task, bases)
	b.show(ctx, task, bases)
	for _, base := range bases {
		if base.Role != Output && host(base.Ref) == b.Own {
			if err := b.look(ctx, base.Ref, sighting{how: "while run " + run.ID + " was building", at: time.Now()}); err != nil {
				b.log().Warn("image could not be looked at", "image", base.Ref, "err", err)
			}
		}
	}
	return nil
}

// show writes what ACR shows of it into the task.
func (b *Bases) show(ctx context.Context, task string, bases []Base) {
	var shown []runner.BaseImage
	for _, base := range bases {
		if base.Role != Output {
			shown = append(shown, base.shown())
		}
	}
	_, err := b.Store.ChangeTask(ctx, task, func(old *runner.Task) (*runner.Task, error) {
		if old == nil || slices.Equal(old.Step.BaseImages, shown) {
			return nil, errNothing
		}
		old.Step.BaseImages = shown
		return old, nil
	})
	if err != nil && !errors.Is(err, errNothing) {
		b.log().Warn("base images of task are not shown", "task", task, "err", err)
	}
}

func (b *Base) shown() runner.BaseImage {
	digest := b.Digest
	if digest == absent {
		digest = ""
	}
	r := runner.NewReference(b.Ref, digest)
	i := runner.BaseImage{Type: b.Role, Registry: r.Registry, Repository: r.Repository, Tag: r.Tag, Digest: r.Digest}
	if !b.Scanned.IsZero() {
		i.KnownFrom = runner.KnownFromScan
	}
	return i
}

// errNothing says that there is nothing to change.
var errNothing = errors.New("nothing to change")

// basesOf are all images that a run was built on, by platform, and those that
// it has pushed.
func (b *Bases) basesOf(ctx context.Context, run *runner.Run) []Base {
	seen := map[Base]bool{}
	var all []Base
	add := func(base Base) {
		key := base
		key.Digest = ""
		if base.Ref != "" && !seen[key] {
			seen[key] = true
			all = append(all, base)
		}
	}
	for _, p := range run.Pushed {
		add(Base{Task: run.Request.Task, Ref: Canonical(p.Ref), Role: Output, Digest: p.Digest, Run: run.ID})
	}
	for _, image := range run.Images {
		one := func(d steps.Dependency, role string) {
			for _, platform := range platformsOf(image) {
				add(Base{Task: run.Request.Task, Ref: Canonical(d.Ref), Platform: platform, Role: role, Digest: b.platformDigest(ctx, d, platform, run), Run: run.ID})
			}
		}
		if image.Runtime != nil {
			one(*image.Runtime, RunTime)
		}
		for _, d := range image.BuildTime {
			one(d, BuildTime)
		}
	}
	return all
}

func platformsOf(image *steps.Image) []string {
	if len(image.Platforms) == 0 {
		return []string{"linux/" + runtime.GOARCH}
	}
	return image.Platforms
}

// platformDigest is what a platform got of a dependency. If that cannot be
// found out, it is the digest that was resolved; and if that is not known
// either, what there is now.
func (b *Bases) platformDigest(ctx context.Context, d steps.Dependency, platform string, run *runner.Run) string {
	ref := Canonical(d.Ref)
	if ref == "" {
		return d.Digest
	}
	if d.Digest != "" {
		ref = withDigest(ref, d.Digest)
	}
	image, err := b.image(ctx, ref, b.login(ctx, run.Request.Task, host(ref)))
	if err != nil {
		b.log().Warn("image could not be looked at", "image", ref, "err", err)
		return d.Digest
	}
	return cmp.Or(image.For(platform), d.Digest)
}

// withDigest is a canonical reference with a digest in place of its tag.
func withDigest(ref, digest string) string {
	return ref[:strings.LastIndexByte(ref, ':')] + "@" + digest
}

// image looks an image up. What has a digest is looked up once.
func (b *Bases) image(ctx context.Context, ref string, as *Login) (*Image, error) {
	fixed := strings.Contains(ref, "@")
	b.mu.Lock()
	known := b.images[ref]
	b.mu.Unlock()
	if fixed && known != nil {
		return known, nil
	}
	image, err := b.Registries.Image(ctx, ref, as)
	if err != nil || !fixed {
		return image, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.images == nil || len(b.images) > 10_000 {
		b.images = map[string]*Image{}
	}
	b.images[ref] = image
	return image, nil
}

// A sighting is how and when it came about that an image is looked at.
type sighting struct {
	how    string
	at     time.Time
	pushed *steps.Pushed // what is known of it
	told   bool          // by another registry
}

func (s sighting) String() string {
	ago := time.Since(s.at)
	switch {
	case ago < time.Second:
		return fmt.Sprintf("%s %d ms ago", s.how, max(ago.Milliseconds(), 0))
	case ago < time.Minute:
		return fmt.Sprintf("%s %d s ago", s.how, int(ago.Seconds()))
	}
	return s.how
}

// look compares an image as it is now with what tasks were built on, and makes
// intents for those for whom it has changed.
func (b *Bases) look(ctx context.Context, ref string, s sighting) error {
	if err := b.load(ctx); err != nil {
		return err
	}
	var all []Intent
	var seen []Base
	for _, u := range b.usages(ref) {
		trigger, err := b.trigger(ctx, u.task)
		if err != nil {
			return err
		}
		if trigger == nil || u.ref != ref && patternFor(u.ref, trigger.TagPatterns) == nil {
			continue
		}
		target, image, err := b.target(ctx, u, trigger)
		if u.scanned() && isAbsent(err) {
			target, image, err = cmp.Or(target, u.ref), &Image{Digest: absent}, nil
		}
		if err != nil {
			return err
		}
		first, err := b.first(ctx, &u, image, target, s)
		if err != nil {
			return err
		}
		seen = append(seen, first...)
		if i := wants(trigger, u, image, target, s); i != nil {
			all = append(all, *i)
		}
	}
	if len(all) > 0 {
		if _, err := b.Intents.Intend(ctx, all...); err != nil {
			return err
		}
	}
	return b.saw(ctx, seen)
}

// target is what an image stands for: itself, or the newest tag that a pattern
// of the task lets take its place.
func (b *Bases) target(ctx context.Context, u usage, trigger *runner.BaseImageTrigger) (ref string, image *Image, err error) {
	as := b.login(ctx, u.task, host(u.ref))
	ref = u.ref
	if p := patternFor(u.ref, trigger.TagPatterns); p != nil {
		tags, err := b.Registries.Tags(ctx, p.Repository, as)
		if err != nil {
			return "", nil, err
		}
		if tag := p.Newest(tags); tag != "" {
			ref = p.Repository + ":" + tag
		}
	}
	image, err = b.image(ctx, ref, as)
	return ref, image, err
}

// Pins are the images of a task that patterns have put others in the place of.
func (b *Bases) Pins(ctx context.Context, t *runner.Task) (map[string]string, error) {
	if t.Trigger == nil || t.Trigger.BaseImage == nil || len(t.Trigger.BaseImage.TagPatterns) == 0 || !t.Trigger.BaseImage.Status.Active() {
		return nil, nil
	}
	bases, err := b.Of(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	pins := map[string]string{}
	for _, base := range bases {
		if base.Role == Output || patternFor(base.Ref, t.Trigger.BaseImage.TagPatterns) == nil {
			continue
		}
		ref, image, err := b.target(ctx, usage{task: t.Name, ref: base.Ref}, t.Trigger.BaseImage)
		if err != nil {
			return nil, fmt.Errorf("base image %s: %w", familiar(base.Ref), err)
		}
		if ref != base.Ref {
			pins[base.Ref] = image.Digest
		}
	}
	return pins, nil
}

// trigger is the task's, if it may fire.
func (b *Bases) trigger(ctx context.Context, task string) (*runner.BaseImageTrigger, error) {
	t, err := b.Tasks.Task(ctx, task)
	if errors.Is(err, runner.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !t.Status.Active() || t.Trigger == nil || t.Trigger.BaseImage == nil || !t.Trigger.BaseImage.Status.Active() {
		return nil, nil
	}
	return t.Trigger.BaseImage, nil
}

// wants is the intent that follows from an image for a task that was built on
// it; nil if there is none.
func wants(trigger *runner.BaseImageTrigger, u usage, image *Image, target string, s sighting) *Intent {
	for _, base := range u.bases {
		if base.Role == BuildTime && trigger.Type != runner.AllBases {
			continue
		}
		now := image.For(base.Platform)
		same := now == base.Digest || base.Digest == image.Digest
		if now == "" || now == absent || same && !s.tells(&base) {
			continue
		}
		ref := runner.NewReference(target, image.Digest)
		name := familiar(base.Ref)
		if target != base.Ref {
			_, tag := split(target)
			name += " by tag " + tag
		}
		return &Intent{
			Task: base.Task, Kind: BaseImage,
			// Once for what there is now, for as long as the last build is
			// the last.
			Key:    fmt.Sprintf("image/%s@%s/%s", base.Ref, now, base.from()),
			Reason: fmt.Sprintf("base image %s %s -> %s (%s)", name, base.was(now), short(now), s),
			Cause: &runner.Cause{Image: &runner.ImageCause{ID: rand.Text(), Time: s.at, Images: []runner.UpdatedImage{
				{Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag, Digest: image.Digest},
			}}},
			Pins: map[string]string{base.Ref: image.Digest},
			At:   time.Now(),
		}
	}
	return nil
}

// Origin implements Images.
func (b *Bases) Origin(ctx context.Context, i *Intent) (lineage []string, ok bool, err error) {
	ok = len(i.Pins) > 0
	for ref, digest := range i.Pins {
		r := runner.NewReference(ref, digest)
		runs, err := b.Records.Runs(ctx, runner.Filter{Image: r.Registry + "/" + r.Repository + "@" + digest, Limit: 1})
		if err != nil {
			return nil, false, err
		}
		if len(runs) == 0 {
			ok = false
			continue
		}
		lineage = union(lineage, runs[0].Request.Lineage)
		if task := runs[0].Request.Task; task != "" {
			lineage = union(lineage, []string{task})
		}
	}
	return lineage, ok, nil
}

// Built implements Images.
func (b *Bases) Built(ctx context.Context, i *Intent) (bool, error) {
	bases, err := b.Of(ctx, i.Task)
	if err != nil {
		return false, err
	}
	for _, base := range bases {
		digest, pinned := i.Pins[base.Ref]
		if !pinned || base.Role == Output {
			continue
		}
		if !base.Scanned.IsZero() {
			return false, nil // nothing was built on it yet
		}
		image, err := b.image(ctx, withDigest(base.Ref, digest), b.login(ctx, i.Task, host(base.Ref)))
		if err != nil || image.For(base.Platform) != base.Digest {
			return false, nil //nolint:nilerr // then it is built, to be on the safe side
		}
	}
	return len(bases) > 0, nil
}

// login is the task's own for a registry. Those in vaults are for runs only.
func (b *Bases) login(ctx context.Context, task, registry string) *Login {
	if registry == b.Own {
		return nil
	}
	t, err := b.Tasks.Task(ctx, task)
	if err != nil {
		return nil
	}
	req, err := t.Request(runner.Overrides{})
	if err != nil {
		return nil
	}
	for _, c := range req.Credentials {
		if c.Registry == registry {
			return &Login{c.Username, c.Password}
		}
	}
	return nil
}

// catchUp learns from runs that ended while nobody was there, and looks at the
// images of our own registry.
func (b *Bases) catchUp(ctx context.Context) error {
	if err := b.load(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	built := make(map[string][]Base, len(b.built))
	refs := map[string]bool{}
	for task, bases := range b.built {
		built[task] = bases
		for _, base := range bases {
			refs[base.Ref] = refs[base.Ref] || base.Role != Output && host(base.Ref) == b.Own
		}
	}
	b.mu.Unlock()
	runs, err := b.Records.Runs(ctx, runner.Filter{Statuses: []runner.Status{runner.Succeeded}, Limit: 1000})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, run := range runs { // the newest first
		task := run.Request.Task
		if task == "" || seen[task] || len(run.Images) == 0 {
			continue
		}
		seen[task] = true
		if bases := built[task]; len(bases) > 0 && bases[0].Run == run.ID || b.outdated(run) {
			continue
		}
		if _, err := b.Tasks.Task(ctx, task); err != nil {
			continue
		}
		if err := b.record(ctx, run); err != nil {
			return err
		}
	}
	for ref, own := range refs {
		if own {
			if err := b.look(ctx, ref, sighting{how: "look at start", at: time.Now()}); err != nil {
				b.log().Warn("image could not be looked at", "image", ref, "err", err)
			}
		}
	}
	return nil
}

func (b *Bases) log() *slog.Logger {
	if b.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.Log
}
