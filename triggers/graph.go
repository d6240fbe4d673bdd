package triggers

import (
	"maps"
	"slices"
)

// A Graph says which tasks build on images that other tasks make. Images are
// canonical references with a tag, see [Canonical].
type Graph struct {
	// Makes and Uses are the images of each task.
	Makes, Uses map[string][]string

	up map[string][]string // tasks, by the task that builds on them
}

// NewGraph joins what tasks make with what tasks use.
func NewGraph(makes, uses map[string][]string) *Graph {
	g := &Graph{Makes: makes, Uses: uses, up: make(map[string][]string, len(uses))}
	makers := map[string][]string{}
	for task, refs := range makes {
		for _, ref := range refs {
			makers[ref] = append(makers[ref], task)
		}
	}
	for task, refs := range uses {
		var up []string
		for _, ref := range refs {
			up = append(up, makers[ref]...)
		}
		slices.Sort(up)
		g.up[task] = slices.Compact(up)
	}
	return g
}

// Up are the tasks that a task builds on, directly.
func (g *Graph) Up(task string) []string { return g.up[task] }

// Makers are the tasks that make an image.
func (g *Graph) Makers(ref string) []string {
	var all []string
	for task, refs := range g.Makes {
		if slices.Contains(refs, ref) {
			all = append(all, task)
		}
	}
	slices.Sort(all)
	return all
}

// Tasks are all of them, by name.
func (g *Graph) Tasks() []string {
	all := map[string]bool{}
	for t := range g.Makes {
		all[t] = true
	}
	for t := range g.Uses {
		all[t] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// Loops are the groups of tasks that build, by way of each other, on
// themselves; each sorted. A task that builds on its own image alone is none:
// that is how some images are updated, and it starts nothing.
func (g *Graph) Loops() [][]string {
	members := map[int][]string{}
	for task, rank := range g.loops() {
		members[rank] = append(members[rank], task)
	}
	var all [][]string
	for _, m := range members {
		if len(m) > 1 {
			slices.Sort(m)
			all = append(all, m)
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}

// loops gives tasks that reach each other the same number, and others
// different ones: the strongly connected components, by Tarjan, without
// recursion for a chain may be long.
func (g *Graph) loops() map[string]int {
	w := walk{graph: g, index: map[string]int{}, low: map[string]int{}, group: map[string]int{}}
	for task := range g.up {
		if _, seen := w.index[task]; !seen {
			w.from(task)
		}
	}
	return w.group
}

type walk struct {
	graph      *Graph
	index, low map[string]int
	group      map[string]int
	open       []string // whose group is not known yet
	groups     int
}

type visit struct {
	task string
	next int // of its ups
}

func (w *walk) from(task string) {
	path := []visit{w.enter(task)}
	for len(path) > 0 {
		v := &path[len(path)-1]
		ups := w.graph.up[v.task]
		if v.next < len(ups) {
			u := ups[v.next]
			v.next++
			if _, seen := w.index[u]; !seen {
				path = append(path, w.enter(u))
			} else if _, closed := w.group[u]; !closed {
				w.low[v.task] = min(w.low[v.task], w.index[u])
			}
			continue
		}
		w.leave(v.task)
		done := v.task
		if path = path[:len(path)-1]; len(path) > 0 {
			above := path[len(path)-1].task
			w.low[above] = min(w.low[above], w.low[done])
		}
	}
}

func (w *walk) enter(task string) visit {
	w.index[task], w.low[task] = len(w.index), len(w.index)
	w.open = append(w.open, task)
	return visit{task: task}
}

// leave closes a group if the task is the first that was seen of it.
func (w *walk) leave(task string) {
	if w.low[task] != w.index[task] {
		return
	}
	w.groups++
	for {
		last := w.open[len(w.open)-1]
		w.open = w.open[:len(w.open)-1]
		w.group[last] = w.groups
		if last == task {
			return
		}
	}
}

// equal says that nobody builds on others than before.
func (g *Graph) equal(o *Graph) bool {
	return maps.EqualFunc(g.Makes, o.Makes, slices.Equal) && maps.EqualFunc(g.Uses, o.Uses, slices.Equal)
}
