package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"acrd/internal/pattern"
	"acrd/steps"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// BuildKit's parser and lexer trust the file in places: nested substitutions
// and chains of ONBUILD cost the square of their depth, doc comments are
// compared with every ARG below them, and ARGs that use each other grow
// without bound. The limits below are far above what people write, and keep
// every file under a second.
const (
	maxSize          = 1 << 20  // of the file
	maxSubstitutions = 500      // ${ in one instruction
	maxStages        = 10_000   // FROM
	maxTriggers      = 10_000   // ONBUILD, and each again for every stage on top of it
	maxWord          = 16 << 10 // of a word that has something to substitute
	maxReplacements  = 3        // ${name/pattern/text} in one word
	maxPlatforms     = 32       // each is a scan of its own

	// substitutionBudget bounds the work of all substitutions of a file,
	// roughly in bytes.
	substitutionBudget = 8 << 20
)

func (s *source) checkSize() error {
	if len(s.text) > maxSize {
		return &steps.Error{File: s.name, Msg: fmt.Sprintf("larger than %d KiB", maxSize>>10)}
	}
	return s.checkSubstitutions()
}

// checkSubstitutions looks at each instruction before BuildKit lexes it. It
// knows neither heredocs nor the escape directive, so what it takes for one
// instruction may be more than one, and is never less.
func (s *source) checkSubstitutions() error {
	n, first, dollars := 0, 1, 0
	glue := false // the last line ended in a $ that continues
	for line := range bytes.Lines(s.text) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		if isComment(line) {
			continue
		}
		if glue && bytes.HasPrefix(line, []byte("{")) {
			dollars++
		}
		dollars += bytes.Count(line, []byte("${"))
		if dollars > maxSubstitutions {
			return &steps.Error{File: s.name, Line: first, Msg: fmt.Sprintf("more than %d substitutions in one instruction", maxSubstitutions)}
		}
		line = bytes.TrimRight(line, " \t")
		if len(line) == 0 || bytes.HasSuffix(line, []byte(`\`)) || bytes.HasSuffix(line, []byte("`")) {
			if len(line) > 1 {
				glue = bytes.HasSuffix(line[:len(line)-1], []byte("$"))
			}
			continue
		}
		first, dollars, glue = n+1, 0, false
	}
	return nil
}

// checkTree refuses what BuildKit would refuse after hard work, and takes the
// comments away, which no scan needs.
func (s *source) checkTree(root *parser.Node) error {
	stages, triggers := 0, 0
	for _, node := range root.Children {
		node.PrevComment = nil
		switch strings.ToUpper(node.Value) {
		case "FROM":
			stages++
		case "ONBUILD":
			triggers++
			if holdsOnbuild(node) {
				return s.fault(node.Location(), "", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
			}
		}
		if stages > maxStages {
			return s.fault(node.Location(), "", fmt.Sprintf("more than %d stages", maxStages))
		}
		if triggers > maxTriggers {
			return s.fault(node.Location(), "", fmt.Sprintf("more than %d ONBUILD instructions", maxTriggers))
		}
	}
	return nil
}

func holdsOnbuild(node *parser.Node) bool {
	return node.Next != nil && len(node.Next.Children) > 0 && strings.EqualFold(node.Next.Children[0].Value, "ONBUILD")
}

var (
	errWord   = errors.New("is too long a word to substitute in")
	errBudget = errors.New("the substitutions of this file are too much work")
	// replacement is where ${name/pattern/text} begins.
	replacement = pattern.New(`\$\{(?:[\pL\pN_]+|[@*#?$!-])/`)
	// expansion is where a substitution begins that matches a pattern.
	expansion = pattern.New(`\$\{(?:[\pL\pN_]+|[@*#?$!-])[/#%]`)
)

// meter is what a word may look variables up in. Each look-up costs what the
// substitution may do with the value.
type meter struct {
	env    map[string]string
	budget *int
	length int // of the word, for substitutions that match a pattern; else 0
	power  int // how often one replacement may stand in another
	over   bool
}

func (m *meter) Get(name string) (string, bool) {
	value, ok := m.env[name]
	cost := len(value)
	if m.length > 0 {
		cost *= m.length
		for range m.power - 1 {
			cost = min(cost*max(len(value), 1), 1<<40)
		}
	}
	if cost > *m.budget {
		m.over = true
		return "", ok
	}
	*m.budget -= cost
	return value, ok
}

func (m *meter) Keys() []string { return nil }

// expand substitutes the variables of a word, and says which were not there.
func (f *file) expand(word string, env map[string]string) (string, map[string]struct{}, error) {
	if !strings.ContainsAny(word, "$'\"\\`") {
		return word, nil, nil
	}
	m := &meter{env: env, budget: &f.budget}
	if len(word) > maxWord {
		return "", nil, errWord
	}
	if expansion().MatchString(word) {
		m.length, m.power = len(word), len(replacement().FindAllStringIndex(word, maxReplacements+1))
	}
	if m.power > maxReplacements {
		return "", nil, fmt.Errorf("has more than %d replacements in one word", maxReplacements)
	}
	result, err := f.lex.ProcessWordWithMatches(word, m)
	if m.over {
		return "", nil, errBudget
	}
	return result.Result, result.Unmatched, err
}
