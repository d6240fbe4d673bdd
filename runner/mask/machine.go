package mask

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// A needle is a text to be found: without blanks, but it says where it may
// have some.
type needle struct {
	text string
	gaps []int // sorted; a gap is before the byte with that index
}

// Blanks between two bytes of a needle are looked through where the needle has
// a gap, and once so much of it has been seen that it is no accident.
const (
	sure      = 8
	widestGap = 64
	mostGaps  = 4 << 10
)

// A machine is the automaton: the trie of all needles, in the order of a walk
// by breadth, so that the children of a node stand side by side.
type machine struct {
	nodes []node
	keys  []byte     // keys[n] leads to node n
	first [256]int32 // the root's children

	// What a needle may begin with. Most of a text is passed over by a look
	// at four bytes.
	grams [gramBits / 64]uint64
	loose [256]bool // begins a needle that has a gap in its first four bytes
}

type node struct {
	child int32 // the first
	fail  int32 // where the longest proper end of this text is that begins a needle
	depth int32
	match int32 // length of the longest needle that ends here, 0 if none does
	count uint16
	gap   bool // blanks may follow
}

const (
	root     = 0
	gramSize = 4 // no needle is shorter
	gramBits = 1 << 18
)

func gram(b []byte) uint32 { return binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> (32 - 18) }

// build makes the machine of needles that are sorted, and different from each
// other.
func build(needles []needle) *machine {
	size := count(needles)
	m := &machine{nodes: make([]node, 1, size), keys: make([]byte, 1, size)}
	type part struct{ from, to int }
	parts := append(make([]part, 0, size), part{0, len(needles)}) // of the needles, that pass a node
	for n := 0; n < len(m.nodes); n++ {
		p, depth := parts[n], int(m.nodes[n].depth)
		m.nodes[n].match = m.nodes[m.nodes[n].fail].match
		m.nodes[n].child = int32(len(m.nodes)) //nolint:gosec // longestSecret bounds it
		for _, x := range needles[p.from:p.to] {
			_, gap := slices.BinarySearch(x.gaps, depth)
			m.nodes[n].gap = m.nodes[n].gap || gap
		}
		if p.from < p.to && len(needles[p.from].text) == depth {
			m.nodes[n].match = int32(depth) //nolint:gosec // see above
			p.from++
		}
		for p.from < p.to {
			key, end := needles[p.from].text[depth], p.from
			for end < p.to && needles[end].text[depth] == key {
				end++
			}
			m.add(n, key)
			parts = append(parts, part{p.from, end})
			p.from = end
		}
	}
	for i := range m.nodes[root].count {
		m.first[m.keys[1+i]] = int32(1 + i)
	}
	for _, x := range needles {
		h := gram([]byte(x.text))
		m.grams[h/64] |= 1 << (h % 64)
		m.loose[x.text[0]] = m.loose[x.text[0]] || len(x.gaps) > 0 && x.gaps[0] < gramSize
	}
	return m
}

// count is how many nodes the trie has: each needle adds what it does not share
// with the one before it.
func count(needles []needle) int {
	nodes, last := 1, ""
	for _, x := range needles {
		shared := 0
		for shared < min(len(last), len(x.text)) && last[shared] == x.text[shared] {
			shared++
		}
		nodes, last = nodes+len(x.text)-shared, x.text
	}
	return nodes
}

func (m *machine) add(parent int, key byte) {
	fail := int32(root)
	if parent != root {
		fail = m.next(m.nodes[parent].fail, key)
	}
	m.nodes[parent].count++
	m.nodes = append(m.nodes, node{depth: m.nodes[parent].depth + 1, fail: fail})
	m.keys = append(m.keys, key)
}

// next is where key leads to.
func (m *machine) next(state int32, key byte) int32 {
	for state != root {
		n := &m.nodes[state]
		switch keys := m.keys[n.child : n.child+int32(n.count)]; {
		case n.count == 1 && keys[0] == key:
			return n.child
		case n.count > 1:
			if i := bytes.IndexByte(keys, key); i >= 0 {
				return n.child + int32(i) //nolint:gosec // below 256
			}
		}
		state = n.fail
	}
	if m.first[key] != 0 || m.nodes[root].count == 0 {
		return m.first[key]
	}
	// While the machine is built, the table is not there yet.
	n := &m.nodes[root]
	if i := bytes.IndexByte(m.keys[n.child:n.child+int32(n.count)], key); i >= 0 {
		return n.child + int32(i) //nolint:gosec // below 256
	}
	return root
}

// A cursor is how far a text has been looked at.
type cursor struct {
	pos    int
	state  int32
	blanks int   // since the last byte that is none
	gaps   []gap // that were looked through since the state's text began
	found  []span
}

type gap struct{ from, to int }

// A span of the text is secret. It is told when its mark is out, and only its
// end is not known yet.
type span struct {
	from, to int
	told     bool
}

// scan looks at b from where the cursor stands to the end.
func (m *machine) scan(c *cursor, b []byte) {
	for c.pos < len(b) {
		if c.state == root {
			c.gaps, c.blanks = c.gaps[:0], 0
			if c.pos = m.skip(b, c.pos); c.pos == len(b) {
				return
			}
		}
		if isBlank(b[c.pos]) {
			m.blank(c)
			continue
		}
		c.blanks = 0
		grown := m.nodes[c.state].depth + 1
		c.state = m.next(c.state, b[c.pos])
		c.pos++
		n := &m.nodes[c.state]
		if n.match > 0 {
			c.find(c.back(int(n.match)), c.pos)
		}
		for n.count == 0 && c.state != root { // nothing longer can come
			c.state = n.fail
			n = &m.nodes[c.state]
		}
		if n.depth < gramSize && n.depth != grown {
			// That was nothing. What it leaves is looked at as if it were
			// new, for most texts that begin as little begin nothing.
			c.pos, c.state = c.start(m), root
		}
	}
}

// skip is the next place where a needle may begin.
func (m *machine) skip(b []byte, i int) int {
	for ; i+gramSize <= len(b); i++ {
		h := gram(b[i:])
		if m.grams[h/64]&(1<<(h%64)) != 0 {
			return i
		}
		if m.loose[b[i]] && (isBlank(b[i+1]) || isBlank(b[i+2]) || isBlank(b[i+3])) {
			return i
		}
	}
	for ; i < len(b) && m.first[b[i]] == root; i++ {
	}
	return i
}

// blank takes one blank: it is looked through, or what was begun is not a
// needle.
func (m *machine) blank(c *cursor) {
	c.blanks++
	for n := &m.nodes[c.state]; c.state != root && !n.gap && n.depth < sure; n = &m.nodes[c.state] {
		c.state = n.fail
	}
	if c.blanks > widestGap || len(c.gaps) > mostGaps {
		c.state = root
	}
	if last := len(c.gaps) - 1; last >= 0 && c.gaps[last].to == c.pos {
		c.gaps[last].to++
	} else {
		c.gaps = append(c.gaps, gap{c.pos, c.pos + 1})
	}
	c.pos++
}

func isBlank(b byte) bool { return b == ' ' || b == '\n' || b == '\r' || b == '\t' }

// start is where the text of the state began: before it, nothing is open.
func (c *cursor) start(m *machine) int { return c.back(int(m.nodes[c.state].depth)) }

// back is the place n bytes before the cursor, not counting gaps.
func (c *cursor) back(n int) int {
	pos := c.pos
	for i := len(c.gaps) - 1; i >= 0 && n > pos-c.gaps[i].to; i-- {
		n -= pos - c.gaps[i].to
		pos = c.gaps[i].from
	}
	return pos - n
}

// find adds a span, and what it overlaps with to it.
func (c *cursor) find(from, to int) {
	f := span{from: from, to: to}
	for last := len(c.found) - 1; last >= 0 && c.found[last].to > f.from; last-- {
		f.from, f.told = min(f.from, c.found[last].from), f.told || c.found[last].told
		c.found = c.found[:last]
	}
	c.found = append(c.found, f)
}

// forget makes what is at n the beginning of the text.
func (c *cursor) forget(n int) {
	c.pos -= n
	for i := range c.gaps {
		c.gaps[i].from -= n
		c.gaps[i].to -= n
	}
	c.gaps = slices.DeleteFunc(c.gaps, func(g gap) bool { return g.to <= 0 })
	kept := c.found[:0]
	for _, f := range c.found {
		if f.to > n {
			kept = append(kept, span{from: max(f.from-n, 0), to: f.to - n, told: f.told || f.from < n})
		}
	}
	c.found = kept
}

// newNeedles are what to look for, sorted by text.
func newNeedles(secrets []string) []needle {
	gaps := map[string][]int{}
	for _, s := range secrets {
		for _, form := range forms(s) {
			if n := fold(form); len(n.text) >= Shortest {
				gaps[n.text] = append(gaps[n.text], n.gaps...)
			}
		}
	}
	needles := make([]needle, 0, len(gaps))
	for text, g := range gaps {
		slices.Sort(g)
		needles = append(needles, needle{text, slices.Compact(g)})
	}
	slices.SortFunc(needles, func(a, b needle) int { return strings.Compare(a.text, b.text) })
	return needles
}

// fold takes the blanks out of a text.
func fold(form string) needle {
	var n needle
	text := make([]byte, 0, min(len(form), math.MaxInt32))
	for _, c := range []byte(form) {
		if !isBlank(c) {
			text = append(text, c)
		} else if at := len(text); at > 0 && (len(n.gaps) == 0 || n.gaps[len(n.gaps)-1] != at) {
			n.gaps = append(n.gaps, at)
		}
	}
	if last := len(n.gaps) - 1; last >= 0 && n.gaps[last] == len(text) {
		n.gaps = n.gaps[:last]
	}
	n.text = string(text)
	return n
}
