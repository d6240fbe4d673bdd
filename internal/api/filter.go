package api

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrd/internal/pattern"
	"acrd/runner"
)

// A filter is a $filter: a tree of conditions on a run. It is the part of OData
// that ACR has: and, or, parentheses, the six comparisons, and contains.
type filter struct {
	op          string // and, or, contains, or a comparison
	left, right *filter
	field       string // of a comparison, in lower case
	value       any    // string, bool or time.Time
}

// The fields that a filter may name, with what they are.
var filterFields = map[string]func(*runner.Run) any{
	"runid":                func(r *runner.Run) any { return r.ID },
	"runtype":              func(r *runner.Run) any { return string(r.Type) },
	"status":               func(r *runner.Run) any { return string(r.Status) },
	"createtime":           func(r *runner.Run) any { return r.Created },
	"finishtime":           func(r *runner.Run) any { return r.Finished },
	"outputimagemanifests": func(r *runner.Run) any { return manifests(r) },
	"isarchiveenabled":     func(r *runner.Run) any { return r.Archived },
	"taskname":             func(r *runner.Run) any { return r.Request.Task },
	"agentpoolname":        func(r *runner.Run) any { return r.Request.AgentPool },
}

// manifests are the images that a run has pushed, by tag and by digest.
func manifests(r *runner.Run) string {
	var all []string
	for _, p := range r.Pushed {
		i := image(p.Ref, p.Digest)
		name := i.Registry + "/" + i.Repository
		all = append(all, name+":"+i.Tag, name+"@"+i.Digest)
	}
	return strings.Join(all, ",")
}

// parseFilter reads a $filter. The empty one is nil and matches every run.
func parseFilter(text string) (*filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	p := &filterParser{}
	var err error
	if p.words, err = filterWords(text); err != nil {
		return nil, err
	}
	f, err := p.or(0)
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("'%s' is not expected here", p.words[0])
	}
	return f, err
}

// filterWords splits a filter. A text in quotes keeps its first quote.
func filterWords(text string) ([]string, error) {
	var words []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		n := 1
		switch {
		case text[0] == '\'':
			end := closingQuote(text)
			if end < 0 {
				return nil, errors.New("a quote is not closed")
			}
			words, text = append(words, "'"+strings.ReplaceAll(text[1:end], "''", "'")), text[end+1:]
			continue
		case !strings.ContainsRune("(),", rune(text[0])):
			if n = strings.IndexAny(text, " \t(),'"); n < 0 {
				n = len(text)
			}
		}
		words, text = append(words, text[:n]), text[n:]
	}
	return words, nil
}

// closingQuote is where the text that begins with a quote ends; -1 if it does
// not. A quote in it is doubled.
func closingQuote(text string) int {
	for i := 1; i < len(text); i++ {
		if text[i] != '\'' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '\'' {
			i++
			continue
		}
		return i
	}
	return -1
}

// maxFilterDepth bounds how deep parentheses go.
const maxFilterDepth = 20

type filterParser struct{ words []string }

// next takes the next word if it is one of those.
func (p *filterParser) next(words ...string) (string, bool) {
	if len(p.words) == 0 {
		return "", false
	}
	w := strings.ToLower(p.words[0])
	if !slices.Contains(words, w) {
		return "", false
	}
	p.words = p.words[1:]
	return w, true
}

func (p *filterParser) or(depth int) (*filter, error) {
	return p.joined("or", depth, func() (*filter, error) {
		return p.joined("and", depth, func() (*filter, error) { return p.one(depth) })
	})
}

func (p *filterParser) joined(op string, depth int, part func() (*filter, error)) (*filter, error) {
	if depth > maxFilterDepth {
		return nil, errors.New("it is too deep")
	}
	left, err := part()
	for err == nil {
		if _, ok := p.next(op); !ok {
			return left, nil
		}
		var right *filter
		right, err = part()
		left = &filter{op: op, left: left, right: right}
	}
	return nil, err
}

func (p *filterParser) one(depth int) (*filter, error) {
	if _, ok := p.next("("); ok {
		f, err := p.or(depth + 1)
		if _, ok := p.next(")"); err == nil && !ok {
			err = errors.New("a parenthesis is not closed")
		}
		return f, err
	}
	if _, ok := p.next("contains"); ok {
		return p.contains()
	}
	field, err := p.fieldName()
	if err != nil {
		return nil, err
	}
	op, ok := p.next("eq", "ne", "gt", "ge", "lt", "le")
	if !ok {
		return nil, fmt.Errorf("after %s comes one of eq, ne, gt, ge, lt, le", field)
	}
	value, err := p.value(field)
	return &filter{op: op, field: field, value: value}, err
}

func (p *filterParser) contains() (*filter, error) {
	_, open := p.next("(")
	field, err := p.fieldName()
	if err != nil {
		return nil, err
	}
	_, comma := p.next(",")
	value, err := p.value(field)
	if err != nil {
		return nil, err
	}
	if _, closed := p.next(")"); !open || !comma || !closed {
		return nil, errors.New("contains is written contains(field, 'text')")
	}
	if _, ok := value.(string); !ok {
		return nil, fmt.Errorf("contains is for texts, and %s is none", field)
	}
	return &filter{op: "contains", field: field, value: value}, nil
}

func (p *filterParser) fieldName() (string, error) {
	if len(p.words) == 0 {
		return "", errors.New("it ends too early")
	}
	name := strings.TrimPrefix(strings.ToLower(p.words[0]), "properties/")
	if _, ok := filterFields[name]; !ok {
		return "", fmt.Errorf("there is no field '%s' to filter by", p.words[0])
	}
	p.words = p.words[1:]
	return name, nil
}

// value reads a value of the kind that the field has.
func (p *filterParser) value(field string) (any, error) {
	if len(p.words) == 0 {
		return nil, fmt.Errorf("the value of %s is missing", field)
	}
	word := p.words[0]
	p.words = p.words[1:]
	if strings.EqualFold(word, "datetime") && len(p.words) > 0 {
		word, p.words = p.words[0], p.words[1:]
	}
	text, quoted := strings.CutPrefix(word, "'")
	switch filterFields[field](&runner.Run{}).(type) {
	case bool:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%s is true or false, not '%s'", field, text)
		}
		return v, nil
	case time.Time:
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("%s is a time like 2026-01-31T12:00:00Z, not '%s'", field, text)
		}
		return v, nil
	}
	if !quoted {
		return nil, fmt.Errorf("the text %s wants quotes", text)
	}
	return text, nil
}

// match tells whether r is one that f is for.
func (f *filter) match(r *runner.Run) bool {
	if f == nil {
		return true
	}
	switch f.op {
	case "and":
		return f.left.match(r) && f.right.match(r)
	case "or":
		return f.left.match(r) || f.right.match(r)
	}
	order, ok := f.compare(filterFields[f.field](r))
	if !ok {
		return f.op == "ne"
	}
	switch f.op {
	case "eq", "contains":
		return order == 0
	case "ne":
		return order != 0
	case "gt":
		return order > 0
	case "ge":
		return order >= 0
	case "lt":
		return order < 0
	}
	return order <= 0
}

// compare orders what a run has against what f says. It is not ok if the run
// has nothing there.
func (f *filter) compare(has any) (order int, ok bool) {
	switch want := f.value.(type) {
	case time.Time:
		at := has.(time.Time)
		return at.Compare(want), !at.IsZero()
	case bool:
		if has.(bool) == want {
			return 0, true
		}
		return 1, true
	case string:
		// ACR's words and names are equal whatever their case.
		a, b := strings.ToLower(has.(string)), strings.ToLower(want)
		if f.op == "contains" {
			return map[bool]int{true: 0, false: 1}[strings.Contains(a, b)], true
		}
		return cmp.Compare(a, b), true
	}
	return 0, false
}

// wholeManifest is what stores know runs by: part of it they would not find.
var wholeManifest = pattern.New(`(?i)^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$`)

// narrow is what of f a store can look for. What matches f matches it too; it
// is exact if that holds the other way round as well.
func (f *filter) narrow() (q runner.Filter, exact bool) {
	if f == nil {
		return q, true
	}
	exact = f.into(&q)
	return q, exact
}

// into adds the conditions that all must hold, and tells whether that was all
// of them.
func (f *filter) into(q *runner.Filter) bool {
	switch {
	case f.op == "and":
		left := f.left.into(q)
		return f.right.into(q) && left
	case f.op == "or":
		return f.statuses(q)
	case f.op == "contains" && f.field == "outputimagemanifests" && q.Image == "" && wholeManifest().MatchString(f.value.(string)):
		q.Image = strings.ToLower(f.value.(string))
		return true
	case f.field == "createtime":
		return f.bound(&q.CreatedFrom, &q.CreatedTo)
	case f.field == "finishtime":
		f.bound(&q.FinishedFrom, &q.FinishedTo)
		return false // a run that has not finished
	case f.op == "eq":
		return f.equal(q)
	}
	return false
}

func (f *filter) bound(from, to *time.Time) bool {
	at := f.value.(time.Time)
	switch {
	case f.op == "ge" && from.IsZero():
		*from = at
	case f.op == "gt" && from.IsZero():
		*from = at.Add(1)
	case f.op == "lt" && to.IsZero():
		*to = at
	case f.op == "le" && to.IsZero():
		*to = at.Add(1)
	default:
		return false
	}
	return true
}

func (f *filter) equal(q *runner.Filter) bool {
	switch f.field {
	case "taskname":
		// Names of tasks are told apart by case; so the store finds fewer
		// than match would, but never one too many.
		if q.Task == "" {
			q.Task = f.value.(string)
			return true
		}
	case "runtype":
		if t, ok := known(f.value.(string), runner.QuickBuild, runner.QuickRun, runner.AutoBuild, runner.AutoRun); ok && q.Type == "" {
			q.Type = t
			return true
		}
	case "isarchiveenabled":
		if v := f.value.(bool); q.Archived == nil {
			q.Archived = &v
			return true
		}
	case "status":
		return f.statuses(q)
	}
	return false
}

// statuses adds a condition that is one status or several with or.
func (f *filter) statuses(q *runner.Filter) bool {
	all, ok := f.anyOf()
	if !ok || q.Statuses != nil {
		return false
	}
	q.Statuses = all
	return true
}

func (f *filter) anyOf() ([]runner.Status, bool) {
	if f.op == "or" {
		left, ok1 := f.left.anyOf()
		right, ok2 := f.right.anyOf()
		return append(left, right...), ok1 && ok2
	}
	if f.op != "eq" || f.field != "status" {
		return nil, false
	}
	s, ok := known(f.value.(string), runner.Queued, runner.Started, runner.Running, runner.Succeeded, runner.Failed, runner.Canceled, runner.Timeout, runner.Error)
	return []runner.Status{s}, ok
}

// known finds a word whatever its case.
func known[S ~string](text string, words ...S) (S, bool) {
	for _, w := range words {
		if strings.EqualFold(string(w), text) {
			return w, true
		}
	}
	return "", false
}

// runID is the id of the only run that f can match, if it says one.
func (f *filter) runID() (string, bool) {
	switch {
	case f == nil:
		return "", false
	case f.op == "and":
		if id, ok := f.left.runID(); ok {
			return id, true
		}
		return f.right.runID()
	}
	id, ok := f.value.(string)
	return id, ok && f.op == "eq" && f.field == "runid"
}
