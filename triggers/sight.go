package triggers

import (
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// A sight is what is known of a repository: what its watch remembers.
type sight struct {
	URL string `json:"url"`
	// Wanted are the refs that were looked for: what is new among others is
	// no news. Nil means that there was no look yet.
	Wanted []string `json:"wanted,omitempty"`
	// Refs are the commits of those that were there.
	Refs map[string]string `json:"refs,omitempty"`
	Head string            `json:"head,omitempty"`
	// Moves counts the looks that saw something new. It is part of the keys
	// of intents, so that a branch that is put back is built again.
	Moves int `json:"moves,omitempty"`

	Looked time.Time `json:"looked,omitzero"` // not every look is kept
	Moved  time.Time `json:"moved,omitzero"`
	// Hooked is when a webhook came, of which none was missed since.
	Hooked time.Time `json:"hooked,omitzero"`

	Failures  int       `json:"failures,omitempty"` // in a row
	Err       string    `json:"error,omitempty"`
	Suspended time.Time `json:"suspended,omitzero"`

	// Skipped are the latest commits that were not built.
	Skipped []Skip `json:"skipped,omitempty"`

	// Begun are the beginnings that a look has seen to, by their ids, each
	// with what that look saw if nobody had looked before.
	Begun map[string]map[string]string `json:"begun,omitempty"`
}

// A Skip is a commit that a task was not run for.
type Skip struct {
	Task   string    `json:"task"`
	Ref    string    `json:"ref"`
	Commit string    `json:"commit"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
}

// A move is a ref that points at another commit than it did. Before is empty
// for one that was not there.
type move struct {
	ref, before, after string
	branch             string // short, if ref is one
	head               bool   // it is what HEAD points at

	name string // in the listing
	// want, if not nil, is the only one that it is news for, and told says
	// that only a webhook knows that it has moved.
	want *want
	told bool
}

// newMove is of a ref by its name in a listing.
func newMove(name, before, after string, l *Listing) move {
	m := move{ref: name, before: before, after: after, head: name == headRef, name: name}
	if m.head && l.Head != "" {
		m.ref = l.Head
	}
	m.branch = shortBranch(m.ref)
	return m
}

// concerns says that a move is news for a want: for one that has only begun to
// wait for the ref, what everybody else knew before is none.
func (m *move) concerns(w *want, known *sight) bool {
	if m.want != nil {
		return m.want == w
	}
	return w.match(m) && w.open(m.name, known) == nil
}

// see takes note of a listing, and returns what has moved: in the order of
// names, each ref once, whatever happened in between.
func (s *sight) see(l *Listing, wanted []string, now time.Time) []move {
	known := newGlob(s.Wanted)
	first := s.Wanted == nil
	inWanted := newGlob(wanted)
	refs := map[string]string{}
	var moves []move
	for _, name := range slices.Sorted(maps.Keys(l.Refs)) {
		if !inWanted.match(name) {
			continue
		}
		after := l.Refs[name]
		refs[name] = after
		before := s.Refs[name]
		if first || before == after || !known.match(name) {
			continue
		}
		moves = append(moves, newMove(name, before, after, l))
	}
	s.Wanted, s.Refs, s.Head, s.Looked = wanted, refs, l.Head, now
	s.Failures, s.Err, s.Suspended = 0, "", time.Time{}
	return moves
}

// count takes note that something has moved.
func (s *sight) count(now time.Time) {
	s.Moves++
	s.Moved = now
}

// differs tells whether there is more to keep than that nothing has moved.
func (s *sight) differs(now *sight) bool {
	return !slices.Equal(s.Wanted, now.Wanted) || !maps.Equal(s.Refs, now.Refs) || s.Head != now.Head || s.Failures != now.Failures ||
		len(s.Skipped) != len(now.Skipped) || !maps.EqualFunc(s.Begun, now.Begun, maps.Equal)
}

const (
	// lookEvery is how long a repository is left alone, as a rule.
	lookEvery = time.Minute
	// quietAfter is when a repository that does not change is looked at less
	// often: quietTimes less.
	quietAfter = 7 * 24 * time.Hour
	quietTimes = 5
	// hookedEvery is the safety net below webhooks that work.
	hookedEvery = 15 * time.Minute
	// longestBackOff is the longest that is waited after failures, and the
	// longest that a server may ask for.
	longestBackOff = 30 * time.Minute
	// suspendAfter is how often a server may refuse before it is asked no
	// more.
	suspendAfter = 3
)

// interval is how long to wait when all is well.
func (s *sight) interval(every time.Duration, now time.Time) time.Duration {
	switch {
	case !s.Hooked.IsZero() && now.Sub(s.Hooked) < quietAfter:
		return max(every, hookedEvery)
	case !s.Moved.IsZero() && now.Sub(s.Moved) > quietAfter:
		return every * quietTimes
	}
	return every
}

// fail takes note of a look that went wrong, and returns how long to wait.
// Suspended is true if it is not to be looked at again.
func (s *sight) fail(err error, every time.Duration, now time.Time) (pause time.Duration, suspended bool) {
	s.Failures++
	s.Err, s.Looked = err.Error(), now
	pause = min(every<<min(s.Failures, 10), longestBackOff)
	refused := (*RefusedError)(nil)
	if !errors.As(err, &refused) {
		return pause, false
	}
	if refused.lasting() && s.Failures >= suspendAfter {
		s.Suspended = now
		return 0, true
	}
	if refused.RetryAfter > 0 {
		pause = min(max(refused.RetryAfter, time.Second), longestBackOff)
	}
	return pause, false
}

// skip keeps a commit that is not built, and forgets older ones.
func (s *sight) skip(k Skip) {
	const most = 20
	s.Skipped = append(s.Skipped, k)
	if over := len(s.Skipped) - most; over > 0 {
		s.Skipped = slices.Delete(s.Skipped, 0, over)
	}
}

// phase is a part of d that is always the same for an id, so that not
// everything is looked at in the same moment.
func phase(id string, d time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(id))
	return time.Duration(h.Sum64() % uint64(max(d, 1)))
}
