package triggers

import (
	"slices"
	"strings"
	"unique"

	"acrd/runner"
)

const (
	headRef    = "HEAD"
	branchRefs = "refs/heads/"
	tagRefs    = "refs/tags/"
)

func shortBranch(ref string) string {
	if name, ok := strings.CutPrefix(ref, branchRefs); ok {
		return name
	}
	return ""
}

func shortTag(ref string) string {
	if name, ok := strings.CutPrefix(ref, tagRefs); ok {
		return name
	}
	return ""
}

// A want is a source trigger of a task that waits for commits.
type want struct {
	task, trigger         string
	branch                string // empty: the default one, if there are no patterns
	branches, tags, paths []string
	begun                 []beginning
}

func newWant(task string, t *runner.SourceTrigger) want {
	// Of thousands of triggers most have the same words.
	return want{
		task: task, trigger: unique.Make(t.Name).Value(), branch: unique.Make(strings.TrimPrefix(t.Repository.Branch, branchRefs)).Value(),
		branches: t.Branches, tags: t.Tags, paths: t.Paths,
	}
}

// patterned says that ACR's one branch is not what is meant.
func (w *want) patterned() bool { return len(w.branches) > 0 || len(w.tags) > 0 }

// refs are patterns of the full names of what it waits for.
func (w *want) refs() []string {
	if !w.patterned() {
		if w.branch == "" {
			return []string{headRef}
		}
		return []string{branchRefs + w.branch}
	}
	return append(fullPatterns(branchRefs, w.branches), fullPatterns(tagRefs, w.tags)...)
}

// fullPatterns are those that let something in.
func fullPatterns(under string, patterns []string) []string {
	var all []string
	for _, p := range patterns {
		if p = strings.TrimSpace(p); !strings.HasPrefix(p, "!") {
			all = append(all, under+strings.TrimPrefix(p, under))
		}
	}
	if all == nil && len(patterns) > 0 {
		all = []string{under + "**"}
	}
	return all
}

// match tells whether a move is what it waits for. The default branch has two
// names.
func (w *want) match(m *move) bool {
	switch {
	case !w.patterned() && w.branch == "":
		return m.head
	case m.head:
		return false // it comes by its own name, too
	case !w.patterned():
		return m.branch == w.branch
	case m.branch != "":
		return newGlob(w.branches).match(m.branch)
	}
	tag := shortTag(m.ref)
	return tag != "" && newGlob(w.tags).match(tag)
}

// touches tells whether one of the paths is among those it waits for.
func (w *want) touches(paths []string) bool {
	g := newPathGlob(w.paths)
	return slices.ContainsFunc(paths, g.match)
}

// skipWords in the message of a commit keep it from being built.
func skipWord(message string) string {
	low := strings.ToLower(message)
	for _, word := range []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip acr]", "[acr skip]", "***no_ci***"} {
		if strings.Contains(low, word) {
			return word
		}
	}
	return ""
}

func prefixes(refs []string) []string {
	var all []string
	for _, r := range refs {
		all = append(all, globPrefix(r))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
