package triggers

import (
	"fmt"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// A TagPattern lets tags of a repository stand for each other: a build on one
// of them gets the newest that matches.
type TagPattern struct {
	// Repository is canonical, without a tag.
	Repository string
	glob       string
	within     *semver.Constraints
}

// ParseTagPattern reads REPOSITORY:PATTERN. A pattern with * or ? in it, and no
// sign of a range, is a glob; anything else is a range of semantic versions
// such as ^1.2, ~1.2.3 or ">=1.2 <2".
func ParseTagPattern(text string) (*TagPattern, error) {
	at := strings.Index(text, ":")
	if slash := strings.LastIndexByte(text, '/'); at >= 0 && at < slash { // a port
		if at = strings.Index(text[slash:], ":"); at >= 0 {
			at += slash
		}
	}
	if at <= 0 || at == len(text)-1 {
		return nil, fmt.Errorf("%q: want REPOSITORY:PATTERN", text)
	}
	ref := Canonical(text[:at] + ":x")
	p := &TagPattern{Repository: strings.TrimSuffix(ref, ":x")}
	rest := text[at+1:]
	if strings.ContainsAny(rest, "*?[") && !strings.ContainsAny(rest, "^~<>=| ,") {
		if _, err := path.Match(rest, ""); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		p.glob = rest
		return p, nil
	}
	var err error
	if p.within, err = semver.NewConstraint(rest); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return p, nil
}

// Matches says that a tag is one of them.
func (p *TagPattern) Matches(tag string) bool {
	if p.within == nil {
		ok, _ := path.Match(p.glob, tag)
		return ok
	}
	v, err := semver.NewVersion(tag)
	return err == nil && p.within.Check(v)
}

// Newest is the greatest of the tags that match, empty if none does. Those
// that are versions are greater than those that are not; of one version, the
// longest text says most.
func (p *TagPattern) Newest(tags []string) string {
	best := ""
	for _, tag := range tags {
		if p.Matches(tag) && (best == "" || newer(tag, best)) {
			best = tag
		}
	}
	return best
}

func newer(a, b string) bool {
	v, e := semver.NewVersion(a)
	w, f := semver.NewVersion(b)
	switch {
	case e != nil && f != nil:
		return a > b
	case e != nil || f != nil:
		return e == nil
	}
	if c := v.Compare(w); c != 0 {
		return c > 0
	}
	return len(a) > len(b)
}

// patternFor is the pattern that decides about an image, nil if none does.
func patternFor(ref string, patterns []string) *TagPattern {
	for _, text := range patterns {
		p, err := ParseTagPattern(text)
		if err == nil && strings.HasPrefix(ref, p.Repository+":") {
			return p
		}
	}
	return nil
}
