package steps

import (
	"strings"
	"unicode/utf8"
)

// Marks stand for values between rendering and parsing. A template does not
// write a value into the YAML text, but a mark, made of characters that no
// file may have; the parser puts the value back into the scalar that the mark
// came to lie in. So no value, whatever is in it, can end a scalar, add a key
// or start a comment.
//
// There are two kinds. A value is split into words where it stands in a
// command line, as it would have been in acb. What the run itself brought
// (branch names, secrets) stays within its word.
const (
	markValue = '\uE000' // begins the mark of a value
	markWord  = '\uE001' // begins the mark of what stays one word
	markEnd   = '\uE002'
	markDigit = '\uE010' // and the 15 after it: hexadecimal digits
	markLast  = '\uE01F'
)

// marks is the table of what marks stand for. A nil table has none.
type marks struct {
	texts []string
	known map[string]string // kind and text -> mark
}

// harmless are texts that need no mark: put anywhere, they stay within the
// plain scalar that is there.
var harmless = pattern(`^[A-Za-z0-9_](?:[A-Za-z0-9_./:@+-]*[A-Za-z0-9_./+-])?$`)

// put returns what to write into the text in place of a value.
func (m *marks) put(value string) string {
	if value == "" || harmless().MatchString(value) {
		return value
	}
	return m.mark(markValue, value)
}

// putWord is put for what must stay one word.
func (m *marks) putWord(value string) string {
	if value == "" || harmless().MatchString(value) {
		return value
	}
	return m.mark(markWord, value)
}

// putSecret marks the value whatever it is: errors quote lines, but no marks.
func (m *marks) putSecret(value string) string {
	if value == "" {
		return ""
	}
	return m.mark(markWord, value)
}

func (m *marks) mark(kind rune, value string) string {
	key := string(kind) + value
	if mark, ok := m.known[key]; ok {
		return mark
	}
	if m.known == nil {
		m.known = map[string]string{}
	}
	mark := encodeMark(kind, len(m.texts))
	m.texts = append(m.texts, value)
	m.known[key] = mark
	return mark
}

func encodeMark(kind rune, n int) string {
	digits := []rune{markEnd}
	for ; n > 0 || len(digits) == 1; n >>= 4 {
		digits = append(digits, markDigit+rune(n&15))
	}
	digits = append(digits, kind)
	for i, j := 0, len(digits)-1; i < j; i, j = i+1, j-1 {
		digits[i], digits[j] = digits[j], digits[i]
	}
	return string(digits)
}

// values puts values back, but for those that must stay one word.
func (m *marks) values(s string) string { return m.replace(s, false) }

// all puts everything back.
func (m *marks) all(s string) string { return m.replace(s, true) }

func (m *marks) replace(s string, words bool) string {
	if m == nil || len(m.texts) == 0 {
		return s
	}
	var b strings.Builder
	for {
		at := strings.IndexFunc(s, func(r rune) bool { return r == markValue || words && r == markWord })
		if at < 0 {
			break
		}
		b.WriteString(s[:at])
		_, size := utf8.DecodeRuneInString(s[at:])
		n, length := 0, size
		for _, r := range s[at+size:] {
			length += utf8.RuneLen(r)
			if r == markEnd {
				break
			}
			n = n<<4 | int(r-markDigit)
		}
		if n >= 0 && n < len(m.texts) {
			b.WriteString(m.texts[n])
		}
		s = s[at+length:]
	}
	if b.Len() == 0 && !strings.ContainsRune(s, markValue) {
		return s
	}
	b.WriteString(s)
	return b.String()
}

// isMark says that no text of a user may have r: it could be taken for a
// part of a mark.
func isMark(r rune) bool {
	return r == markValue || r == markWord || r == markEnd || r >= markDigit && r <= markLast
}
