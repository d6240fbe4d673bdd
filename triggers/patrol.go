package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A patrol is what Commits.Serve knows: it is one goroutine's. Looks have
// goroutines of their own, and report over done.
type patrol struct {
	*Commits
	version   string // of the tasks that were read
	repos     map[string]*repository
	byTrigger map[string]string
	listed    map[string]bool      // watches that are in the store
	suspended map[string]time.Time // watches that are not looked at any more
	held      map[string]Watch     // that were claimed here, and not saved since
	hooked    map[string]time.Time // a webhook wants them looked at
	busy      map[string]bool      // they have their turn, or wait for it
	again     map[string]bool      // and then another one
	asked     map[string]time.Time // when webhooks wanted looks
	blind     map[string]bool      // beginnings that a first look was asked for
	hosts     map[string]*gitHost
	done      chan outcome
	running   sync.WaitGroup
}

// A gitHost gets no more than a few looks at a time, and none while it says so.
type gitHost struct {
	queue   []job
	running int
	until   time.Time
}

// A job is one look.
type job struct {
	watch  Watch
	repo   *repository
	hooked time.Time // when the webhook came that it is for; zero: none
}

// An outcome is a job done.
type outcome struct {
	job
	before, sight sight
	told          map[string]bool // what it has seen to
	moved         bool
	err           error
}

func newPatrol(c *Commits) *patrol {
	return &patrol{
		Commits: c, repos: map[string]*repository{}, suspended: map[string]time.Time{}, held: map[string]Watch{},
		hooked: map[string]time.Time{}, busy: map[string]bool{}, again: map[string]bool{}, hosts: map[string]*gitHost{},
		asked: map[string]time.Time{}, blind: map[string]bool{},
		done: make(chan outcome),
	}
}

// wait lets looks end.
func (p *patrol) wait() {
	go func() {
		for range p.done { // their outcomes are for the next daemon to see
		}
	}()
	p.running.Wait()
	close(p.done)
}

// sync makes the watches those that the tasks want, if a task has changed.
func (p *patrol) sync(ctx context.Context) error {
	version, err := p.Tasks.TasksVersion(ctx)
	if err != nil || version == p.version && p.listed != nil {
		return err
	}
	repos, byTrigger, err := p.repositories(ctx)
	if err != nil {
		return err
	}
	if p.listed == nil {
		if err := p.list(ctx); err != nil {
			return err
		}
	}
	var fresh []string // what is new in them is to be known before it moves
	blind := map[string]bool{}
	for id, r := range repos {
		if first := p.firstLook(r, blind); p.repos[id] != nil && (first || !slices.Equal(p.repos[id].refs, r.refs)) {
			fresh = append(fresh, id)
		}
		if err := p.watch(ctx, id, r); err != nil {
			return err
		}
	}
	for id := range p.listed {
		if repos[id] == nil {
			if err := p.Watches.DeleteWatch(ctx, repositories, id); err != nil {
				return err
			}
			delete(p.listed, id)
			delete(p.held, id)
			delete(p.suspended, id)
		}
	}
	p.repos, p.byTrigger, p.version, p.blind = repos, byTrigger, version, blind
	for _, id := range fresh {
		p.ask(ctx, id)
	}
	return nil
}

// firstLook says that a repository is to be looked at for somebody who does not
// know what was there, and has not asked before. All of those it adds to blind.
func (p *patrol) firstLook(r *repository, blind map[string]bool) bool {
	first := false
	for i := range r.wants {
		for _, b := range r.wants[i].begun {
			if !b.Seen {
				first = first || !p.blind[b.id]
				blind[b.id] = true
			}
		}
	}
	return first
}

// list reads which watches there are.
func (p *patrol) list(ctx context.Context) error {
	all, err := p.Watches.Watches(ctx, repositories)
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, w := range all {
		listed[w.ID] = true
		if s := remembered(w.Doc); !s.Suspended.IsZero() {
			p.suspended[w.ID] = s.Suspended
		}
	}
	p.listed = listed
	return nil
}

// watch begins to watch a repository, or goes on with one that was suspended if
// somebody has edited a task.
func (p *patrol) watch(ctx context.Context, id string, r *repository) error {
	if at, ok := p.suspended[id]; ok && r.edited.After(at) {
		delete(p.suspended, id)
		return p.Watches.LookAt(ctx, repositories, id, time.Now())
	}
	if p.listed[id] {
		return nil
	}
	doc, err := p.inherit(ctx, r)
	if err != nil {
		return err
	}
	if err := p.Watches.AddWatch(ctx, repositories, id, doc, time.Now()); err != nil {
		return err
	}
	p.listed[id] = true
	return nil
}

// inherit is what a new watch knows: what one with another credential knew of
// the same repository, so that a change of credentials loses no commit.
func (p *patrol) inherit(ctx context.Context, r *repository) (json.RawMessage, error) {
	s := sight{URL: r.remote.URL}
	for _, old := range p.repos {
		if old.remote.URL != r.remote.URL {
			continue
		}
		all, err := p.Watches.Watches(ctx, repositories)
		if err != nil {
			return nil, err
		}
		for _, w := range all {
			if known := remembered(w.Doc); w.ID == old.id {
				s.Wanted, s.Refs, s.Head, s.Moves, s.Begun = known.Wanted, known.Refs, known.Head, known.Moves, known.Begun
			}
		}
		break
	}
	return json.Marshal(&s)
}

// answer sees to what webhooks ask for.
func (p *patrol) answer(ctx context.Context, asked map[string]bool) {
	for trigger := range asked {
		id, ok := p.byTrigger[trigger]
		if !ok {
			continue
		}
		if time.Since(p.asked[id]) < tick { // many webhooks are one look
			p.later(trigger)
			continue
		}
		p.asked[id], p.hooked[id] = time.Now(), time.Now()
		p.ask(ctx, id)
	}
}

// ask makes a look happen soon. Who holds the claim looks at once; otherwise it
// is whoever claims the watch next.
func (p *patrol) ask(ctx context.Context, id string) {
	if p.busy[id] {
		p.again[id] = true
		return
	}
	if w, ok := p.held[id]; ok {
		p.enqueue(ctx, w)
		return
	}
	if err := p.Watches.LookAt(ctx, repositories, id, time.Now()); err != nil {
		p.log().Warn("look could not be asked for", "err", err)
	}
}

// claim takes what is due. The lease is the usual interval, so that a look that
// sees nothing new need not write.
func (p *patrol) claim(ctx context.Context) {
	for {
		watches, err := p.Watches.ClaimWatches(ctx, repositories, time.Now(), claimed, p.every())
		if err != nil && ctx.Err() == nil {
			p.log().Warn("repositories to look at could not be claimed", "err", err)
		}
		for _, w := range watches {
			p.held[w.ID] = w
			p.enqueue(ctx, w)
		}
		if len(watches) < claimed {
			return
		}
	}
}

// enqueue gives a watch its place at its host.
func (p *patrol) enqueue(ctx context.Context, w Watch) {
	r := p.repos[w.ID]
	if r == nil || p.busy[w.ID] {
		return // another daemon knows of a newer task; or it is being looked at
	}
	p.busy[w.ID] = true
	h := p.hosts[r.host]
	if h == nil {
		h = &gitHost{}
		p.hosts[r.host] = h
	}
	h.queue = append(h.queue, job{watch: w, repo: r, hooked: p.hooked[w.ID]})
	delete(p.hooked, w.ID)
	p.start(ctx, h)
}

// start begins as many looks at a host as it may have.
func (p *patrol) start(ctx context.Context, h *gitHost) {
	if wait := time.Until(h.until); wait > 0 {
		for _, j := range h.queue { // they are due again when their leases are over
			delete(p.busy, j.watch.ID)
		}
		h.queue = nil
		return
	}
	for h.running < perHost && len(h.queue) > 0 {
		j := h.queue[0]
		h.queue = h.queue[1:]
		h.running++
		p.running.Go(func() { p.done <- p.do(ctx, j) })
	}
}

func (p *patrol) do(ctx context.Context, j job) outcome {
	ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, errors.New("the look took too long"))
	defer cancel()
	o := outcome{job: j}
	o.before = remembered(j.watch.Doc)
	o.sight = o.before
	o.sight.URL = j.repo.remote.URL
	how := "poll"
	if !j.hooked.IsZero() {
		how = "webhook"
	}
	moves := o.sight.Moves
	o.told, o.err = p.look(ctx, j.repo, &o.sight, how)
	o.moved = o.sight.Moves != moves
	return o
}

// note takes note of a look, and gives the host its next one.
func (p *patrol) note(ctx context.Context, o outcome) {
	id, h := o.watch.ID, p.hosts[o.repo.host]
	h.running--
	delete(p.busy, id)
	if next, save := p.judge(ctx, &o, h); save && p.save(ctx, &o, next) {
		p.forget(ctx, &o)
	}
	if p.again[id] {
		delete(p.again, id)
		p.hooked[id] = time.Now()
		p.ask(ctx, id)
	}
	p.start(ctx, h)
}

// judge says when to look again, and whether that is worth writing down.
func (p *patrol) judge(ctx context.Context, o *outcome, h *gitHost) (next time.Time, save bool) {
	now, s := time.Now(), &o.sight
	if o.err != nil {
		if ctx.Err() != nil {
			return next, false
		}
		pause, suspended := s.fail(o.err, p.every(), now)
		if refused := (*RefusedError)(nil); errors.As(o.err, &refused) && refused.RetryAfter > 0 {
			h.until = now.Add(pause)
		}
		if suspended {
			p.suspend(ctx, o)
			return never(), true
		}
		p.log().Warn("repository could not be looked at", "repository", RepositoryName(o.repo.remote.URL), "err", o.err, "failures", s.Failures)
		return now.Add(pause), true
	}
	delete(p.suspended, o.watch.ID)
	p.lookedAt(o.watch.ID, now)
	switch {
	case !o.hooked.IsZero():
		s.Hooked = o.hooked
	case o.moved: // no webhook has told it
		s.Hooked = time.Time{}
	}
	interval := s.interval(p.every(), now)
	next = now.Add(interval)
	if o.before.Wanted == nil { // from now on everything has its own time
		next = now.Add(phase(o.watch.ID, p.every()))
	}
	return next, o.moved || len(o.told) > 0 || !o.hooked.IsZero() || interval != p.every() || o.before.differs(s)
}

// remembered is what a watch has of its repository: nothing, if it cannot be
// read.
func remembered(doc json.RawMessage) sight {
	var s sight
	if json.Unmarshal(doc, &s) != nil {
		return sight{}
	}
	return s
}

// save is true if the look is kept.
func (p *patrol) save(ctx context.Context, o *outcome, next time.Time) bool {
	doc, err := json.Marshal(&o.sight)
	if err == nil {
		o.watch.Doc = doc
		err = p.Watches.SaveWatch(ctx, repositories, o.watch, next)
	}
	delete(p.held, o.watch.ID)
	if err != nil && !errors.Is(err, runner.ErrFenced) && ctx.Err() == nil {
		p.log().Warn("look could not be kept", "repository", RepositoryName(o.repo.remote.URL), "err", err)
	}
	return err == nil
}

// forget ends the notes that a look has seen to. Who began without a look still
// minds what webhooks say of where the first one found it.
func (p *patrol) forget(ctx context.Context, o *outcome) {
	if o.err != nil {
		return
	}
	end := func(kind, id string) bool {
		err := p.Watches.DeleteWatch(ctx, kind, id)
		if err != nil && ctx.Err() == nil {
			p.log().Warn("note could not be removed", "id", id, "err", err)
		}
		return err == nil
	}
	for id := range o.told {
		end(toldRefs, id)
	}
	for i := range o.repo.wants {
		w := &o.repo.wants[i]
		w.begun = slices.DeleteFunc(slices.Clone(w.begun), func(b beginning) bool { return b.Seen && end(beginnings, b.id) })
	}
}

// suspend gives a repository up, and says so to whoever owns the tasks.
func (p *patrol) suspend(ctx context.Context, o *outcome) {
	p.suspended[o.watch.ID] = o.sight.Suspended
	name := RepositoryName(o.repo.remote.URL)
	p.log().Error("trigger suspended", "repository", name, "err", o.err)
	for _, w := range o.repo.wants {
		p.tell(ctx, eventing.TriggerSuspended, Intent{Task: w.task, Kind: Commit, Key: "repository " + name},
			"suspended: "+o.err.Error()+" three times: give the trigger "+w.trigger+" a credential that opens "+name+", or save the task again to try once more")
	}
}
