package steps

import (
	"errors"
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// splitWords splits a command line into words as a POSIX shell would: quotes
// and backslashes are resolved, and nothing else is. No shell ever sees the
// line, so what only a shell could do is refused, with a word on what to write
// instead; a $NAME stays as it is written.
func splitWords(line string) ([]string, error) {
	parser := syntax.NewParser(syntax.Variant(syntax.LangPOSIX))
	file, err := parser.Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, shellError(err)
	}
	if len(file.Stmts) == 0 {
		return nil, nil
	}
	if len(file.Stmts) > 1 {
		return nil, errors.New("more than one command: there is no shell around the container, so give each its own step, or run one in it: IMAGE sh -c '...'")
	}
	return words(line, file.Stmts[0])
}

func words(line string, stmt *syntax.Stmt) ([]string, error) {
	call, ok := stmt.Cmd.(*syntax.CallExpr)
	switch {
	case len(stmt.Redirs) > 0:
		return nil, errors.New("a redirection (< or >) needs a shell: run one in the container, IMAGE sh -c '... > file'")
	case stmt.Background:
		return nil, errors.New("& needs a shell: use detach: true to run a step in the background")
	case !ok:
		return nil, fmt.Errorf("%s needs a shell: run one in the container, IMAGE sh -c '...', or use a step for each command", construct(stmt.Cmd))
	}
	var split []string
	for _, a := range call.Assigns { // A=b before a command is a word like others here
		split = append(split, line[a.Pos().Offset():a.End().Offset()])
	}
	for _, w := range call.Args {
		s, err := word(line, w.Parts)
		if err != nil {
			return nil, err
		}
		split = append(split, s)
	}
	return split, nil
}

func word(line string, parts []syntax.WordPart) (string, error) {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(p.Value, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			s, err := quoted(line, p.Parts)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		default:
			s, err := verbatim(line, p)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		}
	}
	return b.String(), nil
}

// quoted is the inside of double quotes, where a backslash means something
// only before a few characters.
func quoted(line string, parts []syntax.WordPart) (string, error) {
	var b strings.Builder
	for _, p := range parts {
		if lit, ok := p.(*syntax.Lit); ok {
			b.WriteString(unescape(lit.Value, "$`\"\\\n"))
			continue
		}
		s, err := verbatim(line, p)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// verbatim keeps $NAME as written and refuses what would run something.
func verbatim(line string, p syntax.WordPart) (string, error) {
	if _, ok := p.(*syntax.ParamExp); ok {
		return line[p.Pos().Offset():p.End().Offset()], nil
	}
	return "", errors.New("$(...) and `...` need a shell: run one in the container, IMAGE sh -c '...'")
}

// unescape removes backslashes: all of them, or those before one of a set.
func unescape(s, before string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (before == "" || strings.IndexByte(before, s[i+1]) >= 0) {
			i++
			if s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func construct(c syntax.Command) string {
	if b, ok := c.(*syntax.BinaryCmd); ok {
		return b.Op.String()
	}
	return "this"
}

func shellError(err error) error {
	if p, ok := errors.AsType[syntax.ParseError](err); ok {
		return fmt.Errorf("cannot be split into words: %s", p.Text)
	}
	return fmt.Errorf("cannot be split into words: %w", err)
}
