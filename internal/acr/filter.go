package acr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// A TagFilter chooses tags, as acr-cli's --filter does: REPOSITORY:TAG, both
// regular expressions. A repository's must match as a whole, a tag's anywhere.
type TagFilter struct {
	literal    string // the repository, if it is no expression
	repo, tags *regexp2.Regexp
}

// ParseTagFilter reads a filter whose matching may take so long for one name:
// acr-cli's expressions may look ahead and behind, which can take for ever.
func ParseTagFilter(text string, timeout time.Duration) (TagFilter, error) {
	repo, tags, ok := splitFilter(text)
	switch {
	case !ok:
		return TagFilter{}, fmt.Errorf("--filter %s: unable to correctly parse filter flag: want REPOSITORY:TAG, as expressions", text)
	case repo == "":
		return TagFilter{}, fmt.Errorf("--filter %s: missing repository name/expression", text)
	case tags == "":
		return TagFilter{}, fmt.Errorf("--filter %s: missing tag name/expression", text)
	}
	f := TagFilter{}
	if strings.IndexFunc(repo, func(r rune) bool { return strings.ContainsRune(`\*+?|{[()^$#. `, r) }) < 0 {
		f.literal = repo
	}
	var err error
	if f.repo, err = compile("^"+repo+"$", timeout); err != nil {
		return TagFilter{}, fmt.Errorf("--filter %s: %w", text, err)
	}
	if f.tags, err = compile(tags, timeout); err != nil {
		return TagFilter{}, fmt.Errorf("--filter %s: %w", text, err)
	}
	return f, nil
}

// splitFilter cuts at the one colon that belongs to no group, as in (?:x), and
// to no class, as in [[:alpha:]].
func splitFilter(text string) (repo, tags string, ok bool) {
	at := -1
	class, group := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '[':
			class++
		case c == ']' && class > 0:
			class--
		case c == '(' && strings.HasPrefix(text[i:], "(?"):
			group = true
		case group && (c == ')' || c == '=' || c == '!' || c == '<' || c == '>'):
			group = false
		case c == ':' && group:
			group = false
		case c == ':' && class == 0:
			if at >= 0 {
				return "", "", false
			}
			at = i
		}
	}
	if at < 0 {
		return "", "", false
	}
	return text[:at], text[at+1:], true
}

func compile(expr string, timeout time.Duration) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(expr, regexp2.RE2)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = timeout
	return re, nil
}

// repository is the one that the filter is for, if it is no expression.
func (f TagFilter) repository() (string, bool) { return f.literal, f.literal != "" }

func (f TagFilter) matchRepository(name string) (bool, error) { return f.repo.MatchString(name) }

func matchAny(filters []TagFilter, tag string) (bool, error) {
	for _, f := range filters {
		if ok, err := f.tags.MatchString(tag); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// maxAgo is acr-cli's: 150 years.
const maxAgo = 150 * 365 * 24 * time.Hour

// ParseAgo reads 1d2h30m: days, and a duration as Go writes it.
func ParseAgo(text string) (time.Duration, error) {
	rest := text
	var total time.Duration
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("--ago %s: want days and a duration, as 1d2h30m", text)
		}
		total, rest = time.Duration(min(n, 150*365))*24*time.Hour, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("--ago %s: want days and a duration, as 1d2h30m", text)
		}
		total += min(d, maxAgo)
	}
	return min(total, maxAgo), nil
}
