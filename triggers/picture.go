package triggers

import (
	"fmt"
	"slices"
	"strings"
)

// A Picture is a graph to be shown.
type Picture struct {
	Tasks []Drawn `json:"tasks"`
	Edges []Edge  `json:"edges"`
	// Loops are tasks that build on each other in a circle.
	Loops [][]string `json:"loops,omitempty"`
}

// Drawn is a task in a picture.
type Drawn struct {
	Task  string   `json:"task"`
	Makes []string `json:"makes,omitempty"`
}

// An Edge says that a task builds on an image. From is the task that makes it,
// empty if none does.
type Edge struct {
	From  string `json:"from,omitempty"`
	Image string `json:"image"`
	To    string `json:"to"`
}

// Picture draws the graph.
func (g *Graph) Picture() *Picture {
	p := &Picture{Tasks: []Drawn{}, Edges: []Edge{}, Loops: g.Loops()}
	for _, task := range g.Tasks() {
		d := Drawn{Task: task}
		for _, ref := range g.Makes[task] {
			d.Makes = append(d.Makes, familiar(ref))
		}
		slices.Sort(d.Makes)
		p.Tasks = append(p.Tasks, d)
		for _, ref := range g.Uses[task] {
			makers := g.Makers(ref)
			for _, from := range makers {
				p.Edges = append(p.Edges, Edge{From: from, Image: familiar(ref), To: task})
			}
			if len(makers) == 0 {
				p.Edges = append(p.Edges, Edge{Image: familiar(ref), To: task})
			}
		}
	}
	slices.SortFunc(p.Edges, func(a, b Edge) int {
		return strings.Compare(a.From+" "+a.Image+" "+a.To, b.From+" "+b.Image+" "+b.To)
	})
	return p
}

// Text is one line for each task, parents first where there are no loops, and
// below it what it builds on.
func (p *Picture) Text() string {
	var b strings.Builder
	for _, task := range p.sorted() {
		d := p.Tasks[slices.IndexFunc(p.Tasks, func(d Drawn) bool { return d.Task == task })]
		fmt.Fprintf(&b, "%s makes %s\n", d.Task, orNothing(d.Makes))
		for _, e := range p.Edges {
			if e.To != task {
				continue
			}
			fmt.Fprintf(&b, "  from %s", e.Image)
			if e.From != "" {
				fmt.Fprintf(&b, " of %s", e.From)
			}
			b.WriteByte('\n')
		}
	}
	for _, loop := range p.Loops {
		fmt.Fprintf(&b, "in a circle: %s\n", strings.Join(loop, ", "))
	}
	return b.String()
}

func orNothing(images []string) string {
	if len(images) == 0 {
		return "nothing yet"
	}
	return strings.Join(images, ", ")
}

// sorted are the tasks, each after those that it builds on as far as that goes.
func (p *Picture) sorted() []string {
	var order []string
	var visit func(task string)
	seen := map[string]bool{}
	visit = func(task string) {
		if seen[task] {
			return
		}
		seen[task] = true
		for _, e := range p.Edges {
			if e.To == task && e.From != "" {
				visit(e.From)
			}
		}
		order = append(order, task)
	}
	for _, d := range p.Tasks {
		visit(d.Task)
	}
	return order
}

// Dot is for Graphviz.
func (p *Picture) Dot() string {
	var b strings.Builder
	b.WriteString("digraph tasks {\n\trankdir=LR;\n\tnode [shape=box];\n")
	for _, d := range p.Tasks {
		fmt.Fprintf(&b, "\t%q;\n", d.Task)
	}
	for _, e := range p.Edges {
		if e.From == "" {
			fmt.Fprintf(&b, "\t%q [shape=ellipse];\n\t%q -> %q;\n", e.Image, e.Image, e.To)
			continue
		}
		fmt.Fprintf(&b, "\t%q -> %q [label=%q];\n", e.From, e.To, e.Image)
	}
	b.WriteString("}\n")
	return b.String()
}

// Mermaid is for Markdown.
func (p *Picture) Mermaid() string {
	var b strings.Builder
	b.WriteString("graph LR\n")
	ids := map[string]string{}
	id := func(name, shape string) string {
		if _, ok := ids[name]; !ok {
			ids[name] = fmt.Sprintf("n%d", len(ids))
			fmt.Fprintf(&b, "  %s"+shape+"\n", ids[name], name)
		}
		return ids[name]
	}
	for _, d := range p.Tasks {
		id(d.Task, `["%s"]`)
	}
	for _, e := range p.Edges {
		if e.From == "" {
			from := id(e.Image, `(["%s"])`)
			fmt.Fprintf(&b, "  %s --> %s\n", from, ids[e.To])
			continue
		}
		fmt.Fprintf(&b, "  %s -->|%s| %s\n", ids[e.From], e.Image, ids[e.To])
	}
	return b.String()
}
