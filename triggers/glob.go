package triggers

import (
	"fmt"
	"regexp"
	"strings"
)

// A glob is a list of patterns, of which the last that matches decides: * is
// anything but a slash, ** anything, ? one character, and ! in front takes out
// again. A list that only takes out begins with everything.
type glob []globPattern

type globPattern struct {
	out  bool
	name string         // what has no wildcard
	text *regexp.Regexp // and what has
}

// newGlob cannot fail: what is no wildcard is itself.
func newGlob(patterns []string) glob {
	var g glob
	for _, p := range patterns {
		rest, out := strings.CutPrefix(strings.TrimSpace(p), "!")
		if len(g) == 0 && out {
			g = append(g, globPattern{text: globText("**")})
		}
		one := globPattern{out: out, name: rest}
		if globPrefix(rest) != rest {
			one.text = globText(rest)
		}
		g = append(g, one)
	}
	return g
}

// newPathGlob is for paths: a folder's name matches all that is in it.
func newPathGlob(patterns []string) glob {
	var all []string
	for _, p := range patterns {
		p = strings.TrimSuffix(strings.TrimSpace(p), "/")
		sign := ""
		if rest, out := strings.CutPrefix(p, "!"); out {
			sign, p = "!", rest
		}
		p = strings.TrimPrefix(strings.TrimPrefix(p, "./"), "/")
		all = append(all, sign+p, sign+p+"/**")
	}
	return newGlob(all)
}

func globText(p string) *regexp.Regexp {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch {
		case strings.HasPrefix(p[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(p[i:], "**"):
			b.WriteString(".*")
			i++
		case p[i] == '*':
			b.WriteString("[^/]*")
		case p[i] == '?':
			b.WriteString("[^/]")
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	re, err := regexp.Compile("(?s)^" + b.String() + "$")
	if err != nil { // not UTF-8
		return regexp.MustCompile("^" + regexp.QuoteMeta(fmt.Sprintf("%q", p)) + "$")
	}
	return re
}

func (g glob) match(name string) bool {
	in := false
	for _, p := range g {
		if p.text == nil && p.name == name || p.text != nil && p.text.MatchString(name) {
			in = !p.out
		}
	}
	return in
}

// globPrefix is what every name begins with that p matches.
func globPrefix(p string) string {
	if i := strings.IndexAny(p, "*?"); i >= 0 {
		return p[:i]
	}
	return p
}
