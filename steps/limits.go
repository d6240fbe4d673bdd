package steps

import "gopkg.in/yaml.v3"

// What a task file may be at most. A file is measured before anything in it is
// looked at, so that a hostile one costs no more than reading it.
const (
	maxSource = 1 << 20
	maxDepth  = 64
	maxKeys   = 1000
	maxNodes  = 10_000 // with every alias counted as what it stands for
	maxSteps  = 1000
	maxEnv    = 1000 // of the task, and of each step
	maxFaults = 100
)

// measure refuses a document that is too deep, too wide or too large once its
// aliases are expanded. It takes time in proportion to the text, not to the
// expansion.
func (d *decoder) measure(root *yaml.Node) {
	m := &ruler{decoder: d, sizes: map[*yaml.Node]extent{}}
	m.extent(root)
}

// An extent is how many nodes there are in a node, and in how many levels.
// Zero says that it is being measured.
type extent struct{ nodes, levels int }

type ruler struct {
	*decoder
	sizes map[*yaml.Node]extent // of anchored nodes
	total int
}

// extent stops at the first fault: nothing is decoded then.
func (m *ruler) extent(n *yaml.Node) extent {
	if n.Kind == yaml.AliasNode {
		return m.alias(n)
	}
	if n.Anchor != "" {
		m.sizes[n] = extent{}
	}
	if n.Kind == yaml.MappingNode && len(n.Content)/2 > maxKeys {
		m.fault(n, "has more than %d keys", maxKeys)
	}
	m.add(n, 1)
	own := extent{nodes: 1}
	for _, c := range n.Content {
		if len(m.faults) > 0 {
			break
		}
		e := m.extent(c)
		own.nodes, own.levels = own.nodes+e.nodes, max(own.levels, e.levels)
	}
	own.levels++
	if own.levels > maxDepth && len(m.faults) == 0 {
		m.fault(n, "is nested more than %d levels deep", maxDepth)
	}
	if n.Anchor != "" {
		m.sizes[n] = own
	}
	return own
}

func (m *ruler) alias(n *yaml.Node) extent {
	e, known := m.sizes[n.Alias]
	if known && e.nodes == 0 {
		m.fault(n, "*%s is part of what it stands for", n.Value)
	}
	m.add(n, e.nodes)
	return e
}

func (m *ruler) add(n *yaml.Node, nodes int) {
	m.total += nodes
	if m.total > maxNodes && len(m.faults) == 0 {
		m.fault(n, "the file has more than %d values, with aliases (*name) counted as what they stand for", maxNodes)
	}
}
