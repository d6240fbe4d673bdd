package steps

import (
	"slices"
	"strings"
)

// taskEnv splits entries at commas, as acb does with those of a task and of
// its command line, but not with those of a step.
func (p *parser) taskEnv() []string {
	given := make([]item, 0, len(p.options.Env))
	for _, e := range p.options.Env {
		given = append(given, item{e, p.find(p.raw.node, "env")})
	}
	return mergeEnv(p.splitEnv(p.raw.env), p.splitEnv(given))
}

func (p *parser) splitEnv(entries []item) []string {
	var all []string
	for _, e := range entries {
		for part := range strings.SplitSeq(e.text, ",") {
			if len(all) == maxEnv {
				p.fault(e.node, "the task has more than %d environment variables", maxEnv)
				return all
			}
			if !strings.Contains(part, "=") {
				p.fault(e.node, "cannot parse task environment variable %s correctly", part)
				continue
			}
			all = append(all, unquoteEnv(part))
		}
	}
	return all
}

// stepEnv is what a step says itself: flags of its cmd, and over those its
// env.
func (p *parser) stepEnv(s *rawStep, flags []string) []string {
	if len(s.env) > maxEnv {
		p.fault(p.find(s.node, "env"), "the step has more than %d environment variables", maxEnv)
		return nil
	}
	own := make([]string, 0, len(s.env))
	for _, e := range s.env {
		if !strings.Contains(e.text, "=") {
			p.fault(e.node, "failed to merge task and step environment variables: cannot parse step environment variable %s correctly", e.text)
			continue
		}
		own = append(own, unquoteEnv(e.text))
	}
	flags = slices.DeleteFunc(slices.Clone(flags), func(e string) bool {
		return !strings.Contains(e, "=") // docker would take it from its own environment: there is none
	})
	return mergeEnv(flags, own)
}

// unquoteEnv takes off the quotes that acb's shell would have: around the
// whole entry, or around the whole value.
func unquoteEnv(e string) string {
	if inner, ok := unquote(e); ok {
		return inner
	}
	name, value, _ := strings.Cut(e, "=")
	if inner, ok := unquote(value); ok {
		return name + "=" + inner
	}
	return e
}

func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '\'' && s[0] != '"') {
		return s, false
	}
	if inner := s[1 : len(s)-1]; !strings.ContainsAny(inner, "'\"\\$`") {
		return inner, true
	}
	words, err := splitWords(s)
	if err != nil || len(words) != 1 {
		return s, false
	}
	return words[0], true
}

// mergeEnv keeps the first list whole and adds what it lacks of the second.
func mergeEnv(first, second []string) []string {
	merged := slices.Clone(first)
	if len(second) == 0 {
		return merged
	}
	names := make(map[string]bool, len(first)+len(second))
	for _, e := range first {
		names[variable(e)] = true
	}
	for _, e := range second {
		if name := variable(e); !names[name] {
			names[name] = true
			merged = append(merged, e)
		}
	}
	return merged
}

func variable(e string) string {
	name, _, _ := strings.Cut(e, "=")
	return name
}
