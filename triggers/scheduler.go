package triggers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A Scheduler turns intents into runs: parents first, each task once. A task
// is held while anything upstream of it is wanted, queued or running, and then
// runs once with all that is new; see [chain] for the rules, which are pure.
//
// What it decides survives a crash: a run and the settling of the intents that
// it fulfils are one transaction, so that of several schedulers on one store
// one starts the run and the others find that there is nothing left to do.
type Scheduler struct {
	Intents Intents
	Tasks   Tasks
	Runs    Runs
	Submit  Submitter
	Images  Images
	// Events, if not nil, is told which tasks are held.
	Events Events
	// Quiet is how long a base image has to be left alone before it counts, 0
	// means 5 s and less than that not at all; Most is how long that may be
	// put off, 0 means 30 s. Timers and commits start at once.
	Quiet, Most time.Duration
	// Patience is how long a task is held for others at most; 0 means 4 h.
	Patience time.Duration
	// Limit is how many automatic runs may be queued or running, so that
	// there is always room for a person's; 0 means 3.
	Limit int
	// Changed returns a channel that is closed when runs or intents have
	// changed. It may miss changes, for the scheduler looks every Every; 0
	// means each second.
	Changed func() <-chan struct{}
	Every   time.Duration
	Log     *slog.Logger // nil discards
}

// Tasks are where tasks are looked up.
type Tasks interface {
	// Task is runner.ErrNotFound if there is none.
	Task(ctx context.Context, name string) (*runner.Task, error)
}

// A Submitter queues runs. If somebody else has decided the request's Intents,
// it is runner.ErrDecided.
type Submitter interface {
	Submit(ctx context.Context, req runner.Request) (*runner.Run, error)
}

// Runs are what the scheduler sees of runs of tasks.
type Runs interface {
	// ActiveRuns lists those that are queued or in progress.
	ActiveRuns(ctx context.Context) ([]Active, error)
	// EndedRuns lists those that have ended since, the oldest first.
	EndedRuns(ctx context.Context, since time.Time) ([]Active, error)
}

// An Active run is one of a task.
type Active struct {
	Run, Task string
	Automatic bool
}

// Images are what the scheduler asks about images. *Bases is it.
type Images interface {
	// Graph is who builds on whom, and whether that has changed since the
	// last call.
	Graph(ctx context.Context) (g *Graph, changed bool, err error)
	// Ended takes note of a run that has ended: what it built on, and what it
	// has pushed, for which intents are made before it returns.
	Ended(ctx context.Context, run string) error
	// Origin says which run pushed what the intent is about, with the tasks
	// that led to it; ok is false if no run has.
	Origin(ctx context.Context, i *Intent) (lineage []string, ok bool, err error)
	// Pins are what a run of the task resolves images to, whoever starts it.
	Pins(ctx context.Context, t *runner.Task) (map[string]string, error)
	// Built says that the task's last build used what the intent is about.
	Built(ctx context.Context, i *Intent) (bool, error)
}

// Events take what others are to be told.
type Events interface {
	AddEvents(ctx context.Context, events ...eventing.Event) error
}

// overlap is how far back runs are looked for again that have ended: clocks of
// daemons differ, and transactions take a while.
const overlap = time.Minute

// A schedule is what Serve remembers between two looks.
type schedule struct {
	*Scheduler
	chain chain
	since time.Time            // of the last look for runs that have ended
	seen  map[string]time.Time // those that were, and when they were found
}

// Serve starts runs until ctx has ended. What goes wrong with the store is
// tried again.
func (s *Scheduler) Serve(ctx context.Context) error {
	state := s.schedule()
	every := cmp.Or(s.Every, time.Second)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var changed <-chan struct{}
		if s.Changed != nil {
			changed = s.Changed()
		}
		again, err := state.turn(ctx)
		if err != nil && ctx.Err() == nil {
			s.log().Error("triggers could not be looked after", "err", err)
		}
		timer.Reset(pauseUntil(again, every))
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-timer.C:
		}
	}
}

func pauseUntil(at time.Time, most time.Duration) time.Duration {
	if at.IsZero() {
		return most
	}
	return min(max(time.Until(at), time.Millisecond), most)
}

func (s *Scheduler) schedule() *schedule {
	quiet := cmp.Or(s.Quiet, 5*time.Second)
	return &schedule{
		Scheduler: s, since: time.Now().Add(-overlap), seen: map[string]time.Time{},
		chain: chain{
			quiet: max(quiet, 0), most: cmp.Or(s.Most, 30*time.Second),
			limit: cmp.Or(s.Limit, 3), patience: cmp.Or(s.Patience, 4*time.Hour),
		},
	}
}

// turn looks at everything and starts what may start. The order matters: a run
// that ends while it looks is still taken for active, and what it has pushed
// is wanted already when it no longer is.
func (s *schedule) turn(ctx context.Context) (again time.Time, err error) {
	active, err := s.Runs.ActiveRuns(ctx)
	if err != nil {
		return again, err
	}
	ended, err := s.noteEnded(ctx)
	if err != nil {
		return again, err
	}
	graph, changed, err := s.Images.Graph(ctx)
	if err != nil {
		return again, err
	}
	if changed {
		s.chain.connect(graph)
		for _, loop := range graph.Loops() {
			s.log().Warn("tasks build on each other's images, in a circle", "tasks", strings.Join(loop, ", "))
		}
	}
	open, err := s.Intents.Open(ctx)
	if err != nil {
		return again, err
	}
	s.update(ctx, active, open)
	if ended {
		s.firm(ctx)
	}
	starts, holds, again := s.chain.next(time.Now())
	for _, h := range holds {
		s.tell(ctx, NewEvent(eventing.TriggerHeld, Intent{Task: h.task}, Decision{Why: "held for build of " + h.holder}, time.Now()))
	}
	for _, st := range starts {
		// One task whose record cannot be read keeps no others waiting.
		if err := s.start(ctx, &st); err != nil && ctx.Err() == nil {
			s.log().Error("task could not be started", "task", st.task, "err", err)
		}
	}
	return again, ctx.Err()
}

// noteEnded learns from runs that have ended since the last look, and says
// whether there were any.
func (s *schedule) noteEnded(ctx context.Context) (some bool, err error) {
	now := time.Now()
	ended, err := s.Runs.EndedRuns(ctx, s.since.Add(-overlap))
	if err != nil {
		return false, err
	}
	for _, r := range ended {
		if _, seen := s.seen[r.Run]; seen {
			continue
		}
		err := s.Images.Ended(ctx, r.Run)
		if errors.Is(err, runner.ErrUnavailable) || errors.Is(err, runner.ErrNoSpace) || ctx.Err() != nil {
			return some, fmt.Errorf("run %s: %w", r.Run, err)
		}
		if err != nil && !errors.Is(err, runner.ErrNotFound) {
			s.log().Error("nothing could be learnt from a run", "run", r.Run, "err", err)
		}
		s.seen[r.Run], some = now, true
	}
	s.since = now
	maps.DeleteFunc(s.seen, func(_ string, at time.Time) bool { return now.Sub(at) > 4*overlap })
	return some, nil
}

// firm lets wishes wait no longer for images that a run has pushed which has
// ended by now.
func (s *schedule) firm(ctx context.Context) {
	for _, w := range s.chain.loose() {
		if _, ok, err := s.Images.Origin(ctx, &w.Intent); err == nil {
			w.firm = ok
		}
	}
}

// update makes the chain know what the store knows.
func (s *schedule) update(ctx context.Context, active []Active, open []Intent) {
	runs := make(map[string]bool, len(active))
	for _, r := range active {
		runs[r.Run] = true
		s.chain.began(r.Task, r.Run, r.Automatic)
	}
	wanted := make(map[wishID]bool, len(open))
	for _, i := range open {
		id := wishID{i.Task, i.Key}
		wanted[id] = true
		if s.chain.known[id] {
			continue
		}
		if err := s.consider(ctx, i); err != nil && ctx.Err() == nil {
			s.log().Error("trigger could not be considered", "task", i.Task, "err", err)
		}
	}
	for id := range s.chain.known {
		if !wanted[id] {
			s.chain.settle(id.task, id.key)
		}
	}
	for run := range s.chain.runs {
		if !runs[run] {
			s.chain.ended(run)
		}
	}
}

// consider makes an intent a wish, unless there is a reason not to.
func (s *schedule) consider(ctx context.Context, i Intent) error {
	t, err := s.Tasks.Task(ctx, i.Task)
	switch {
	case errors.Is(err, runner.ErrNotFound):
		return s.skip(ctx, &i, "skipped: the task was deleted")
	case err != nil:
		return err
	case !t.Status.Active():
		return s.skip(ctx, &i, "skipped: the task is disabled")
	}
	if why := i.endless(); why != "" {
		return s.skip(ctx, &i, why)
	}
	w := wish{Intent: i}
	if i.Kind == BaseImage {
		lineage, ok, err := s.Images.Origin(ctx, &i)
		if err != nil {
			return err
		}
		if slices.Contains(lineage, i.Task) {
			return s.skip(ctx, &i, circular(lineage, i.Task))
		}
		w.Lineage, w.firm = union(i.Lineage, lineage), ok
	}
	s.chain.want(w)
	return nil
}

func (s *schedule) skip(ctx context.Context, i *Intent, why string) error {
	return s.Intents.Decide(ctx, i.Task, []string{i.Key}, Decision{Why: why, At: time.Now()})
}

// start queues one run, or settles why there is none.
func (s *schedule) start(ctx context.Context, st *start) error {
	if err := s.dropBuilt(ctx, st); err != nil {
		return err
	}
	if len(st.intents) == 0 {
		return nil
	}
	keys := keysOf(st.intents)
	t, err := s.Tasks.Task(ctx, st.task)
	if errors.Is(err, runner.ErrNotFound) {
		return s.settle(ctx, st, "skipped: the task was deleted")
	}
	if err != nil {
		return err
	}
	pins, err := s.Images.Pins(ctx, t)
	if err != nil {
		s.log().Warn("images could not be looked at", "task", t.Name, "err", err)
	}
	req, err := st.request(t, pins)
	if err != nil {
		return s.settle(ctx, st, "skipped: "+err.Error())
	}
	run, err := s.Submit.Submit(ctx, req)
	_, invalid := errors.AsType[*runner.InvalidError](err)
	switch {
	case errors.Is(err, runner.ErrDecided):
		s.chain.settle(st.task, keys...)
		return nil
	case invalid:
		return s.settle(ctx, st, "skipped: "+err.Error())
	case errors.Is(err, runner.ErrDraining):
		return nil
	case err != nil:
		return err
	}
	s.log().Info("trigger fired", "task", st.task, "run", run.ID, "reason", req.Reason)
	s.chain.began(st.task, run.ID, true)
	s.chain.settle(st.task, append(keys, req.Superseded...)...)
	return nil
}

// dropBuilt settles those intents that somebody's build has fulfilled in the
// meantime.
func (s *schedule) dropBuilt(ctx context.Context, st *start) error {
	var left []Intent
	for _, i := range st.intents {
		why, err := s.needless(ctx, &i)
		if err != nil {
			return err
		}
		if why == "" {
			left = append(left, i)
			continue
		}
		if err := s.skip(ctx, &i, why); err != nil {
			return err
		}
		s.chain.settle(i.Task, i.Key)
	}
	st.intents = left
	return nil
}

// needless says why an intent is not worth a run, now that the runs have ended
// that it has waited for; and notes which tasks have led to it.
func (s *schedule) needless(ctx context.Context, i *Intent) (string, error) {
	if i.Kind != BaseImage {
		return "", nil
	}
	built, err := s.Images.Built(ctx, i)
	if err != nil {
		return "", err
	}
	if built {
		return "skipped: the last build is on it already", nil
	}
	lineage, _, err := s.Images.Origin(ctx, i)
	if err != nil {
		return "", err
	}
	i.Lineage = union(i.Lineage, lineage)
	if slices.Contains(i.Lineage, i.Task) {
		return circular(i.Lineage, i.Task), nil
	}
	return "", nil
}

func circular(lineage []string, task string) string {
	return "skipped: the image was built on this task's own, so this would never end (" + strings.Join(append(slices.Clone(lineage), task), " -> ") + ")"
}

// settle decides everything about a start without a run.
func (s *schedule) settle(ctx context.Context, st *start, why string) error {
	keys := append(keysOf(st.intents), keysOf(st.superseded)...)
	err := s.Intents.Decide(ctx, st.task, keys, Decision{Why: why, At: time.Now()})
	if err == nil {
		s.chain.settle(st.task, keys...)
	}
	return err
}

// tell writes events. That is not worth a run that does not start.
func (s *schedule) tell(ctx context.Context, e eventing.Event) {
	if s.Events == nil {
		return
	}
	if err := s.Events.AddEvents(ctx, e); err != nil {
		s.log().Warn("event could not be written", "type", e.Type, "err", err)
	}
}

func (s *Scheduler) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func keysOf(intents []Intent) []string {
	keys := make([]string, len(intents))
	for i, in := range intents {
		keys[i] = in.Key
	}
	return keys
}

// request is what the run asks for: the task's own, and what the intents say.
func (st *start) request(t *runner.Task, pins map[string]string) (runner.Request, error) {
	req, err := t.Request(runner.Overrides{})
	if err != nil {
		return req, err
	}
	req.Intents, req.Superseded, req.Pins = keysOf(st.intents), keysOf(st.superseded), map[string]string{}
	maps.Copy(req.Pins, pins)
	var reasons []string
	for _, i := range st.intents {
		reasons = append(reasons, i.Reason)
		req.Lineage = union(req.Lineage, i.Lineage)
		maps.Copy(req.Pins, i.Pins)
		maps.Copy(req.Values, i.Values)
		if i.Kind == Event { // whoever publishes has said them
			req.Foreign = union(req.Foreign, slices.Sorted(maps.Keys(i.Values)))
		}
		req.Cause = mergeCause(req.Cause, i.Cause)
		req.Untrusted = req.Untrusted || i.Untrusted
		req.Source = cmp.Or(i.Source, req.Source)
		req.Commit, req.Branch = cmp.Or(i.Commit, req.Commit), cmp.Or(i.Branch, req.Branch)
		req.GitTag, req.Repository = cmp.Or(i.GitTag, req.GitTag), cmp.Or(i.Repository, req.Repository)
	}
	if req.Cause == nil { // whatever it was, it was no person
		req.Cause = &runner.Cause{}
	}
	req.Reason = strings.Join(slices.Compact(reasons), "; ")
	if st.held >= time.Second && st.holder != "" {
		req.Reason += fmt.Sprintf(", held %d s for build of %s", int(st.held.Seconds()), st.holder)
	}
	req.TriggeredBy = st.intents[0].Reason
	return req, nil
}

// mergeCause is the one cause that ACR's record of a run has room for: the
// first, with the images of all.
func mergeCause(a, b *runner.Cause) *runner.Cause {
	if a == nil || b == nil || a.Image == nil || b.Image == nil {
		return cmp.Or(a, b)
	}
	image := *a.Image
	image.Images = slices.Clone(image.Images)
	for _, i := range b.Image.Images {
		same := func(o runner.UpdatedImage) bool {
			return o.Registry == i.Registry && o.Repository == i.Repository && o.Tag == i.Tag
		}
		image.Images = append(slices.DeleteFunc(image.Images, same), i)
	}
	return &runner.Cause{Image: &image}
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
