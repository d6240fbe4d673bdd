package triggers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"acrd/runner"
)

// A beginning is where a repository was when a trigger began to wait for refs
// of it: what was there before starts no run, and everything after does,
// whenever the first look happens to be.
//
// If the repository could not be looked at in that moment, the first look
// says what was there, but for what webhooks have told of since. See
// docs/decisions/0027-what-was-there-before.md.
type beginning struct {
	id string // of its watch: TASK/TRIGGER/TIME-RANDOM
	// Wanted are patterns of the refs that this is about, unless Before, those
	// that the trigger had waited for already, has them.
	Wanted []string `json:"wanted"`
	Before []string `json:"before,omitempty"`
	// Seen says that somebody has looked, and Refs what was there.
	Seen bool              `json:"seen,omitempty"`
	Refs map[string]string `json:"refs,omitempty"`
}

// The kinds of watches that nobody looks at: they are notes of what is to be
// minded by the next look at something else.
const (
	beginnings = "beginnings"
	// toldRefs are refs that webhooks have told of. Their ids are
	// TASK/TRIGGER/REF.
	toldRefs = "told"
)

// TaskWatches are the kinds of watches that end with their task. Their ids begin
// with its name and a slash.
func TaskWatches() []string { return []string{beginnings, toldRefs, ScanWatch} }

// A NewWatch is a watch that is made in the transaction that saves a task.
type NewWatch struct {
	Kind, ID string
	Doc      json.RawMessage
	Next     time.Time
	// InPlaceOf ends the watches of the kind whose ids begin so. Empty ends
	// none.
	InPlaceOf string
}

// An onset is a trigger that begins to wait for something.
type onset struct {
	task, trigger string
	remote        Remote
	beginning
}

// onsets are the triggers of a task that wait for more than they did, or for
// something else.
func onsets(old, t *runner.Task) []onset {
	var all []onset
	was := committing(old)
	for name, s := range committing(t) {
		w, remote := newWant(t.Name, s), remoteOf(t, s)
		one := onset{t.Name, name, remote, beginning{Wanted: w.refs()}}
		if o := was[name]; o != nil && remoteOf(old, o).URL == remote.URL {
			before := newWant(t.Name, o)
			one.Before = before.refs()
		}
		if !slices.Equal(one.Before, one.Wanted) {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b onset) int { return strings.Compare(a.trigger, b.trigger) })
	return all
}

// committing are the triggers of a task that wait for commits.
func committing(t *runner.Task) map[string]*runner.SourceTrigger {
	all := map[string]*runner.SourceTrigger{}
	if t == nil || t.Trigger == nil || !t.Status.Active() {
		return all
	}
	for i := range t.Trigger.Sources {
		if s := &t.Trigger.Sources[i]; s.Status.Active() && slices.Contains(s.Events, runner.CommitEvent) {
			all[s.Name] = s
		}
	}
	return all
}

// watch is the note of an onset. What was noted of the trigger before counts no
// more, unless it had waited for the repository already.
func (s *onset) watch(now time.Time) NewWatch {
	doc, _ := json.Marshal(&s.beginning) // cannot fail: only plain values
	prefix := s.task + "/" + s.trigger + "/"
	w := NewWatch{Kind: beginnings, ID: fmt.Sprintf("%s%d-%s", prefix, now.UnixMicro(), rand.Text()), Doc: doc, Next: never()}
	if s.Before == nil {
		w.InPlaceOf = prefix
	}
	return w
}

// about says that a ref, by its name in a listing, is one of those that this is
// about.
func (b *beginning) about(name string) bool {
	return newGlob(b.Wanted).match(name) && !newGlob(b.Before).match(name)
}

// addBeginnings tells the wants of their beginnings, the oldest first.
func (c *Commits) addBeginnings(ctx context.Context, all map[string]*repository) error {
	notes, err := c.Watches.Watches(ctx, beginnings)
	if err != nil || len(notes) == 0 {
		return err
	}
	byTrigger := map[string][]beginning{}
	for _, note := range notes { // in the order of their ids
		b := beginning{id: note.ID}
		if err := json.Unmarshal(note.Doc, &b); err != nil {
			return fmt.Errorf("watch %s: %w", note.ID, err)
		}
		trigger := note.ID[:max(strings.LastIndexByte(note.ID, '/'), 0)]
		byTrigger[trigger] = append(byTrigger[trigger], b)
	}
	for _, r := range all {
		for i := range r.wants {
			w := &r.wants[i]
			w.begun = byTrigger[w.task+"/"+w.trigger]
		}
	}
	return nil
}

// open is the first beginning of a want that is about a ref, and that no look
// has seen to; nil if there is none.
func (w *want) open(name string, s *sight) *beginning {
	for i := range w.begun {
		b := &w.begun[i]
		if _, done := s.Begun[b.id]; !done && b.about(name) {
			return b
		}
	}
	return nil
}

// Told takes note of what a webhook says has moved, as far as the trigger does
// not know what was there when it began. It may be called again.
func (c *Commits) Told(ctx context.Context, task, trigger string, refs []string) error {
	notes, err := c.Watches.Watches(ctx, beginnings)
	if err != nil {
		return err
	}
	prefix := task + "/" + trigger + "/"
	blind := slices.ContainsFunc(notes, func(note Watch) bool {
		var b beginning
		return strings.HasPrefix(note.ID, prefix) && json.Unmarshal(note.Doc, &b) == nil && !b.Seen
	})
	if !blind {
		return nil
	}
	const most = 100 // refs in a push
	for _, ref := range refs[:min(most, len(refs))] {
		if err := c.Watches.AddWatch(ctx, toldRefs, prefix+ref, json.RawMessage("{}"), never()); err != nil {
			return err
		}
	}
	return nil
}

// told are the ids of what webhooks have told of a repository for those who do
// not know where it began.
func (c *Commits) told(ctx context.Context, r *repository) (map[string]bool, error) {
	blind := slices.ContainsFunc(r.wants, func(w want) bool {
		return slices.ContainsFunc(w.begun, func(b beginning) bool { return !b.Seen })
	})
	if !blind {
		return nil, nil
	}
	notes, err := c.Watches.Watches(ctx, toldRefs)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, note := range notes {
		if slices.ContainsFunc(r.wants, func(w want) bool { return strings.HasPrefix(note.ID, w.task+"/"+w.trigger+"/") }) {
			all[note.ID] = true
		}
	}
	return all, nil
}

// begin adds what has moved for wants since they began, and takes note in s
// that their beginnings are seen to.
func (s *sight) begin(r *repository, before *sight, l *Listing, told map[string]bool) []move {
	var moves []move
	begun := map[string]map[string]string{}
	names := slices.Sorted(maps.Keys(s.Refs))
	for i := range r.wants {
		w := &r.wants[i]
		for _, name := range names {
			if m, ok := w.sinceBegun(name, s.Refs[name], before, l, told); ok {
				moves = append(moves, m)
			}
		}
		for j := range w.begun {
			b := &w.begun[j]
			first, done := before.Begun[b.id]
			if !done {
				first = b.first(s.Refs)
			}
			begun[b.id] = unmoved(first, s.Refs)
		}
	}
	s.Begun = nil
	if len(begun) > 0 {
		s.Begun = begun
	}
	return moves
}

// first is what the first look saw, for those who do not know better.
func (b *beginning) first(refs map[string]string) map[string]string {
	if b.Seen {
		return nil
	}
	first := map[string]string{}
	for name, commit := range refs {
		if b.about(name) {
			first[name] = commit
		}
	}
	return first
}

// unmoved are those of the first refs that are where they were.
func unmoved(first, refs map[string]string) map[string]string {
	still := maps.Clone(first)
	maps.DeleteFunc(still, func(name, commit string) bool { return refs[name] != commit })
	return still
}

// sinceBegun is the move of a ref since the want began, if there is one that
// only its beginning tells of.
func (w *want) sinceBegun(name, after string, before *sight, l *Listing, told map[string]bool) (move, bool) {
	if len(w.begun) == 0 {
		return move{}, false
	}
	m := newMove(name, "", after, l)
	m.want = w
	if !w.match(&m) {
		return m, false
	}
	if b := w.open(name, before); b != nil {
		if b.Seen {
			m.before = b.Refs[name]
			return m, m.before != after
		}
		m.told = w.hears(&m, told)
		return m, m.told
	}
	for _, b := range w.begun { // the first look came before the webhook
		m.told = m.told || before.Begun[b.id][name] == after && w.hears(&m, told)
	}
	return m, m.told
}

// hears says that a webhook has told the want of a ref.
func (w *want) hears(m *move, told map[string]bool) bool {
	prefix := w.task + "/" + w.trigger + "/"
	if m.ref != headRef {
		return told[prefix+m.ref]
	}
	for id := range told { // nobody knows what HEAD is called
		if strings.HasPrefix(id, prefix) {
			return true
		}
	}
	return false
}
