package triggers

import (
	"slices"
	"time"
)

// A chain decides which tasks may start now. It knows what is wanted, what
// runs, and which task builds on images of which; it asks nobody, has no
// clock and no lock. [Scheduler] tells it what happens.
//
// A task is pending while something is wanted of it or a run of it has not
// ended. It is blocked while any task upstream of it, near or far, is pending:
// then it will be wanted anew, or has been and should wait. So each node
// counts those directly above it that are pending or blocked themselves, and a
// change of one is passed on downwards only where it changes something.
type chain struct {
	// quiet is how long a base image has to be left alone before it counts,
	// and most how long that may be put off.
	quiet, most time.Duration
	// limit is how many automatic runs may be queued or running; 0 is none.
	limit int
	// patience is how long a task is held at most; 0 is for ever.
	patience time.Duration

	nodes     map[string]*node
	wanted    []*node // in the order in which they came to be wanted
	runs      map[string]activeRun
	automatic int
	known     map[wishID]bool
}

// A node is one task.
type node struct {
	task     string
	up, down []*node // but for those of its own loop
	ring     []*node // those of up that are of its loop
	wishes   []wish
	active   int // runs that have not ended
	blocks   int // nodes of up that are pending or blocked
	listed   bool
	held     time.Time // since when, zero if it is not
	holder   string
	told     bool // that it is held
}

// A wish is an intent, and whether it may wait for more of its kind.
type wish struct {
	Intent
	// firm says that the image will not change again in a moment: the run
	// that pushed it has ended.
	firm bool
}

// wishID is what tells intents apart.
type wishID struct{ task, key string }

type activeRun struct {
	node      *node
	automatic bool
}

// A start is what should happen to a task now.
type start struct {
	task string
	// intents are what one run is to fulfil, superseded those that it makes
	// needless.
	intents, superseded []Intent
	// held is how long the task has waited for others, and holder the one of
	// them that it was.
	held   time.Duration
	holder string
}

// A hold says that a task began to wait.
type hold struct{ task, holder string }

func (c *chain) node(task string) *node {
	n, ok := c.nodes[task]
	if !ok {
		if c.nodes == nil {
			c.nodes = map[string]*node{}
		}
		n = &node{task: task}
		c.nodes[task] = n
	}
	return n
}

func (n *node) pending() bool { return len(n.wishes) > 0 || n.active > 0 }

// busy says that a run of the task goes on, or of one of its loop that makes
// what it builds on: who has led to what is known when that has ended.
func (n *node) busy() bool {
	return n.active > 0 || slices.ContainsFunc(n.ring, func(u *node) bool { return u.active > 0 })
}

func (n *node) hot() bool { return n.pending() || n.blocks > 0 }

// alter changes a node and lets those below know.
func (c *chain) alter(n *node, change func()) {
	before := n.hot()
	change()
	pass(n, before)
}

func pass(n *node, before bool) {
	if n.hot() == before {
		return
	}
	by := -1
	if !before {
		by = 1
	}
	for _, d := range n.down {
		was := d.hot()
		d.blocks += by
		pass(d, was)
	}
}

// connect replaces what is known about who builds on whom. What is wanted and
// runs stays.
func (c *chain) connect(g *Graph) {
	for _, n := range c.nodes {
		n.up, n.down, n.ring = nil, nil, nil
	}
	rank := g.loops()
	for task, ups := range g.up {
		n := c.node(task)
		for _, u := range ups {
			above := c.node(u)
			if rank[task] == rank[u] { // a loop: nobody in it may be held for the others
				if u != task {
					n.ring = append(n.ring, above)
				}
				continue
			}
			n.up, above.down = append(n.up, above), append(above.down, n)
		}
	}
	c.recount()
}

// recount counts blocks anew, from the top.
func (c *chain) recount() {
	waiting := make(map[*node]int, len(c.nodes))
	var ready []*node
	for _, n := range c.nodes {
		n.blocks = 0
		if waiting[n] = len(n.up); len(n.up) == 0 {
			ready = append(ready, n)
		}
	}
	for len(ready) > 0 {
		n := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		for _, d := range n.down {
			if n.hot() {
				d.blocks++
			}
			if waiting[d]--; waiting[d] == 0 {
				ready = append(ready, d)
			}
		}
	}
}

// want adds a wish that is not known yet.
func (c *chain) want(w wish) {
	id := wishID{w.Task, w.Key}
	if c.known[id] {
		return
	}
	if c.known == nil {
		c.known = map[wishID]bool{}
	}
	c.known[id] = true
	n := c.node(w.Task)
	c.alter(n, func() { n.wishes = append(n.wishes, w) })
	if !n.listed {
		n.listed = true
		c.wanted = append(c.wanted, n)
	}
}

// loose are the wishes for images that may change again in a moment.
func (c *chain) loose() []*wish {
	var all []*wish
	for _, n := range c.wanted {
		for i := range n.wishes {
			if w := &n.wishes[i]; w.Kind == BaseImage && !w.firm {
				all = append(all, w)
			}
		}
	}
	return all
}

// settle forgets wishes of a task.
func (c *chain) settle(task string, keys ...string) {
	n := c.node(task)
	c.alter(n, func() {
		n.wishes = slices.DeleteFunc(n.wishes, func(w wish) bool {
			if !slices.Contains(keys, w.Key) {
				return false
			}
			delete(c.known, wishID{task, w.Key})
			return true
		})
	})
	if len(n.wishes) == 0 {
		n.held, n.holder, n.told = time.Time{}, "", false
	}
}

// began says that a run of a task is queued or running.
func (c *chain) began(task, run string, automatic bool) {
	if _, ok := c.runs[run]; ok {
		return
	}
	if c.runs == nil {
		c.runs = map[string]activeRun{}
	}
	n := c.node(task)
	c.runs[run] = activeRun{n, automatic}
	if automatic {
		c.automatic++
	}
	c.alter(n, func() { n.active++ })
}

// ended says that a run has ended, however.
func (c *chain) ended(run string) {
	r, ok := c.runs[run]
	if !ok {
		return
	}
	delete(c.runs, run)
	if r.automatic {
		c.automatic--
	}
	c.alter(r.node, func() { r.node.active-- })
}

// next says what starts now, which tasks have begun to wait for others, and
// when to ask again if nothing happens; zero is never. What it returns is not
// wanted any more: settle and began are for the caller to tell.
func (c *chain) next(now time.Time) (starts []start, holds []hold, again time.Time) {
	left := c.wanted[:0]
	room := c.limit - c.automatic
	for _, n := range c.wanted {
		if len(n.wishes) == 0 {
			n.listed = false
			continue
		}
		left = append(left, n)
		if c.limit > 0 && room <= 0 {
			continue
		}
		if c.holds(n, now) {
			if !n.told {
				n.told = true
				holds = append(holds, hold{n.task, n.holder})
			}
			again = sooner(again, c.released(n))
			continue
		}
		for _, lane := range lanes(n.wishes) {
			if c.limit > 0 && room <= 0 {
				break
			}
			due := c.due(n, lane)
			if due.After(now) {
				again = sooner(again, due)
				continue
			}
			if lane.waits() && (n.busy() || slices.ContainsFunc(starts, func(s start) bool { return s.task == n.task })) {
				continue
			}
			starts = append(starts, n.start(lane, now))
			room--
		}
	}
	clear(c.wanted[len(left):])
	c.wanted = left
	return starts, holds, again
}

// holds says whether a task has to wait for others, and notes for whom.
func (c *chain) holds(n *node, now time.Time) bool {
	if n.blocks == 0 {
		return false
	}
	if n.held.IsZero() {
		n.held = now
	}
	n.holder = n.nearest()
	return c.patience == 0 || now.Sub(n.held) < c.patience
}

func (c *chain) released(n *node) time.Time {
	if c.patience == 0 {
		return time.Time{}
	}
	return n.held.Add(c.patience)
}

// nearest is a pending task upstream.
func (n *node) nearest() string {
	for {
		i := slices.IndexFunc(n.up, (*node).hot)
		if i < 0 {
			return ""
		}
		if n = n.up[i]; n.pending() {
			return n.task
		}
	}
}

// due is when a lane may start. Only base images wait for more of them.
func (c *chain) due(n *node, l lane) time.Time {
	var due time.Time
	if l.kind != BaseImage {
		return due
	}
	first, last := l.wishes[0].At, l.wishes[0].At
	loose := false
	for _, w := range l.wishes {
		if w.At.Before(first) {
			first = w.At
		}
		if w.At.After(last) {
			last = w.At
		}
		loose = loose || !w.firm
	}
	if !loose {
		return due
	}
	due = last.Add(c.quiet)
	if latest := first.Add(c.most); due.After(latest) {
		due = latest
	}
	return due
}

func (n *node) start(l lane, now time.Time) start {
	s := start{task: n.task, holder: n.holder}
	if !n.held.IsZero() {
		s.held = now.Sub(n.held)
	}
	for i, w := range l.wishes {
		if l.latest && i < len(l.wishes)-1 {
			s.superseded = append(s.superseded, w.Intent)
			continue
		}
		s.intents = append(s.intents, w.Intent)
	}
	for _, w := range l.bases {
		s.intents = append(s.intents, w.Intent)
	}
	return s
}

// A lane is those wishes of a task that one run fulfils.
type lane struct {
	name   string
	kind   Kind
	wishes []wish
	// latest says that only the last counts.
	latest bool
	// bases are wishes for base images, which any trusted run fulfils beside
	// its own.
	bases []wish
}

// waits says that such a run waits for earlier ones of its task, so that no
// older one overwrites what a newer one has pushed.
func (l *lane) waits() bool { return l.kind == Commit || l.kind == BaseImage }

// lanes sorts wishes by the run that fulfils them, the oldest first.
func lanes(wishes []wish) []lane {
	var all []lane
	for _, w := range wishes {
		name, latest := w.lane()
		i := slices.IndexFunc(all, func(l lane) bool { return l.name == name })
		if i < 0 {
			all = append(all, lane{name: name, kind: w.Kind, latest: latest})
			i = len(all) - 1
		}
		all[i].wishes = append(all[i].wishes, w)
	}
	bases := slices.IndexFunc(all, func(l lane) bool { return l.kind == BaseImage })
	host := slices.IndexFunc(all, func(l lane) bool { return l.kind == Timer || l.kind == Commit && !l.wishes[0].Untrusted })
	if bases < 0 || host < 0 {
		return all
	}
	all[host].bases = all[bases].wishes
	return slices.Delete(all, bases, bases+1)
}

// lane names what one run fulfils together. Each timer is a run of its own, as
// in ACR; of a branch or a pull request the newest commit is built.
func (w *wish) lane() (name string, latest bool) {
	switch w.Kind {
	case BaseImage:
		return string(BaseImage), false
	case Commit:
		if w.GitTag == "" {
			return string(Commit) + " " + w.Repository + " " + w.Branch, true
		}
	case PullRequest:
		if w.Cause != nil && w.Cause.Source != nil && w.Cause.Source.PullRequestID != "" {
			return string(PullRequest) + " " + w.Repository + " " + w.Cause.Source.PullRequestID, true
		}
	}
	return "key " + w.Key, false
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
