package steps

import "slices"

// A Graph hands out steps in the order that their "when" allows. It is not
// safe for concurrent use: the goroutine that runs the task owns it.
type Graph struct {
	steps   []*Step
	waiting map[string]int // how many steps it still waits for
	given   map[string]bool
	then    map[string][]string // id -> the steps that wait for it
	// failed is set by the first failure: from then on only steps start that
	// are for such a case. unmet are steps one of whose own did not succeed.
	failed bool
	unmet  map[string]bool
}

// Graph orders the steps of a file.
func (f *File) Graph() *Graph {
	g := &Graph{
		steps: f.Steps, waiting: map[string]int{}, given: map[string]bool{},
		then: map[string][]string{}, unmet: map[string]bool{},
	}
	for _, s := range f.Steps {
		for _, id := range s.When {
			g.waiting[s.ID]++
			g.then[id] = append(g.then[id], s.ID)
		}
	}
	return g
}

// Ready returns the steps that may start now, in file order, each one once.
// Steps that will not run for what has happened are passed over, which frees
// those that wait for them.
func (g *Graph) Ready() []*Step {
	var ready []*Step
	for _, s := range g.steps { // a step waits for earlier ones only: one round is enough
		if g.given[s.ID] || g.waiting[s.ID] > 0 {
			continue
		}
		g.given[s.ID] = true
		switch {
		case s.OnFailure && !g.unmet[s.ID]:
			g.end(s.ID, true) // not needed
		case g.failed && !s.Always && !s.OnFailure:
			g.end(s.ID, false)
		default:
			ready = append(ready, s)
		}
	}
	return ready
}

// Done frees the steps that waited for id, which has succeeded.
func (g *Graph) Done(id string) { g.end(id, true) }

// Fail frees the steps that waited for id whatever becomes of it. No others
// start from now on.
func (g *Graph) Fail(id string) {
	g.failed = true
	g.end(id, false)
}

func (g *Graph) end(id string, ok bool) {
	for _, next := range g.then[id] {
		g.waiting[next]--
		g.unmet[next] = g.unmet[next] || !ok
	}
	delete(g.then, id)
}

// Parallel says whether two steps of the file can be running at one time, so
// that what they print may mix.
func (f *File) Parallel() bool {
	g := f.Graph()
	for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
		if len(ready) > 1 {
			return true
		}
		if ready[0].Detach {
			return len(f.Steps) > 1
		}
		g.Done(ready[0].ID)
	}
	return slices.ContainsFunc(f.Steps, func(s *Step) bool { return !g.given[s.ID] })
}
