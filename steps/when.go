package steps

import (
	"slices"
)

// What a "when" may say beside the ids of steps. The words are such only in a
// file in which no step has them as its id.
const (
	whenNow     = "-"
	whenAlways  = "always"
	whenFailure = "failure"
)

// when fills in for which steps out waits, and how they must have ended.
func (p *parser) when(s *rawStep, out *Step, i int) {
	ids := p.conditions(s, out)
	before := p.raw.steps[:i]
	switch {
	case len(ids) == 0 && (out.Always || out.OnFailure):
		for _, b := range before {
			out.When = append(out.When, b.id)
		}
		return
	case len(ids) == 0:
		if i > 0 {
			out.When = []string{before[i-1].id}
		}
		return
	case len(s.when) == 1 && ids[0].text == whenNow:
		return
	}
	for _, id := range s.when {
		if id.text == whenNow {
			p.fault(id.node, "step cannot contain other IDs in when if the immediate execution token is specified")
			return
		}
	}
	p.whenIDs(ids, s, out, before)
}

// conditions takes always and failure out of the list.
func (p *parser) conditions(s *rawStep, out *Step) (ids []item) {
	for _, w := range s.when {
		switch {
		case w.text == whenAlways && !p.isID(whenAlways):
			out.Always = true
		case w.text == whenFailure && !p.isID(whenFailure):
			out.OnFailure = true
		default:
			ids = append(ids, w)
		}
	}
	if out.Always && out.OnFailure {
		p.fault(p.find(s.node, "when"), "a step runs always or on failure, not both: leave out one of them")
	}
	return ids
}

func (p *parser) isID(id string) bool {
	return slices.ContainsFunc(p.raw.steps, func(s *rawStep) bool { return s.id == id })
}

func (p *parser) whenIDs(ids []item, s *rawStep, out *Step, before []*rawStep) {
	for _, w := range ids {
		id := w.text
		switch {
		case id == s.id:
			p.fault(w.node, "Step ID: %s is self-referenced", id)
		case id == "":
			p.fault(w.node, "from cannot be empty")
		case !slices.ContainsFunc(before, func(b *rawStep) bool { return b.id == id }):
			p.fault(w.node, "%s does not exist as a vertex [from: %s, to: %s]%s", id, id, s.id, p.whyNot(id, before))
		case !slices.Contains(out.When, id):
			out.When = append(out.When, id)
		}
	}
}

// whyNot says what is wrong with an id that no earlier step has.
func (p *parser) whyNot(id string, before []*rawStep) string {
	if p.isID(id) {
		return ": that step is further down, and a step can only wait for earlier ones"
	}
	before = before[max(0, len(before)-100):]
	ids := make([]string, 0, len(before)+2)
	for _, b := range before {
		ids = append(ids, b.id)
	}
	if near := nearest(id, append(ids, whenAlways, whenFailure)); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}
