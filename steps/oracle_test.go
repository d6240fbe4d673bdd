package steps

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// shellWords is what a shell's parser makes of a line: its words, and whether
// it is no more than one simple command that needs no shell. What is no syntax
// at all is not ok.
func shellWords(line string) (words []string, simple, ok bool) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, false, false
	}
	if len(file.Stmts) == 0 {
		return nil, true, true
	}
	stmt := file.Stmts[0]
	call, isCall := stmt.Cmd.(*syntax.CallExpr)
	if len(file.Stmts) > 1 || len(stmt.Redirs) > 0 || stmt.Background || stmt.Negated || stmt.Semicolon.IsValid() || !isCall {
		return nil, false, true
	}
	for _, a := range call.Assigns {
		text := a.Name.Value + "="
		if a.Value != nil {
			value, plain := shellWord(a.Value.Parts)
			if !plain {
				return nil, false, true
			}
			text += value
		}
		words = append(words, text)
	}
	for _, w := range call.Args {
		text, plain := shellWord(w.Parts)
		if !plain {
			return nil, false, true
		}
		words = append(words, text)
	}
	return words, true, true
}

func shellWord(parts []syntax.WordPart) (text string, plain bool) {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(p.Value, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			for _, inner := range p.Parts {
				if lit, ok := inner.(*syntax.Lit); ok {
					b.WriteString(unescape(lit.Value, "$`\"\\\n"))
				} else if text, plain := shellWord([]syntax.WordPart{inner}); plain {
					b.WriteString(text)
				} else {
					return "", false
				}
			}
		case *syntax.ParamExp:
			switch text := p.Param.Value; {
			case p.Short:
				b.WriteString("$" + text)
			case p.Length || p.Exp != nil:
				return "", false
			default:
				b.WriteString("${" + text + "}")
			}
		default:
			return "", false
		}
	}
	return b.String(), true
}

// unescape removes backslashes: all of them, or those before one of a set.
func unescape(s, before string) string {
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
