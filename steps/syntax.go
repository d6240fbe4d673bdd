package steps

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

var yamlPrefix = pattern(`^yaml: (?:line (\d+): )?`)

// syntax notes what the YAML parser stumbled over. Its own words name a line,
// now and then the one before, and no column.
func (d *decoder) syntax(err error) {
	m := yamlPrefix().FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", ""}
	}
	s := &stumble{src: d.src, msg: strings.TrimPrefix(err.Error(), m[0])}
	s.line, _ = strconv.Atoi(m[1])
	if len(d.src) > exactly {
		d.faultAt(max(s.line, 1), 1, "yaml: %s", s.msg)
		return
	}
	line, column, hint := s.place(d.reach())
	d.faultAt(line, column, "yaml: %s%s", s.msg, hint)
}

// exactly is how long a file may be for a second look at where its fault is.
const exactly = 256 << 10

// lookAhead is how many characters the YAML scanner has in hand behind the one
// that it looks at.
const lookAhead = 4

// reach is the byte of the file that the YAML parser came to. It gets its text
// byte by byte here, so where it stops asking is just behind.
func (d *decoder) reach() int {
	tap := &dropper{text: append(slices.Clip(d.src), "\n\n\n\n"...)}
	stream := yaml.NewDecoder(tap)
	for stream.Decode(&yaml.Node{}) == nil {
	}
	return max(0, min(tap.at-lookAhead, len(d.src)))
}

// A dropper is a reader that gives one byte at a time and knows how many.
type dropper struct {
	text []byte
	at   int
}

func (r *dropper) Read(p []byte) (int, error) {
	if r.at == len(r.text) {
		return 0, io.EOF
	}
	p[0] = r.text[r.at]
	r.at++
	return 1, nil
}

// A stumble is an error of the YAML parser: its words, and the line in them,
// 0 if there is none.
type stumble struct {
	src  []byte
	msg  string
	line int
}

// place is where the fault is, from where the parser came to.
func (s *stumble) place(at int) (line, column int, hint string) {
	switch {
	case strings.HasPrefix(s.msg, "unknown anchor"):
		line, column = s.anchor()
	case s.msg == "found unexpected end of stream":
		line = max(s.line, 1)
		return line, openQuote(sourceLine(s.src, line)), ": a quote is not closed"
	case strings.Contains(s.msg, "',' or"), s.msg == "did not find expected node content":
		return s.bracket(at)
	case s.msg == "could not find expected ':'":
		line = max(s.line, 1)
		return line, indented(sourceLine(s.src, line)), ": a key ends in one"
	case s.msg == "did not find expected key", s.msg == "did not find expected '-' indicator":
		line, column = s.shrink(at)
		hint = ": is the line indented as those of its list or mapping?"
	case strings.HasPrefix(s.msg, "mapping values"):
		line, column = position(s.src, at)
		hint = ": put the value in quotes, or indent the line as the one above"
	case s.msg == "found character that cannot start any token":
		line, column = position(s.src, at)
		hint = cannotStart(s.src[at:])
	case strings.HasPrefix(s.msg, "found a tab"):
		at += max(0, bytes.IndexByte(s.src[at:], '\t'))
		line, column = position(s.src, at)
		hint = ": indent with spaces"
	case strings.HasPrefix(s.msg, "control characters"), strings.Contains(s.msg, "UTF-8"):
		line, column = position(s.src, min(at+lookAhead-1, len(s.src)))
	default:
		line, column = position(s.src, at)
	}
	return line, column, hint
}

func cannotStart(rest []byte) string {
	if r, _ := utf8.DecodeRune(rest); r != '\t' && len(rest) > 0 {
		return ": put the value in quotes, " + string(r) + " has a meaning of its own"
	}
	return ": indent with spaces"
}

// anchor finds the *name of nothing.
func (s *stumble) anchor() (line, column int) {
	name, _ := strconv.Unquote(strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(s.msg, "unknown anchor "), " referenced"), "'", `"`))
	return position(s.src, max(0, bytes.Index(s.src, []byte("*"+name))))
}

// bracket finds the [ or { that is not closed, on the line that the parser
// names or on the next, as it counts from 0 there. Other faults within
// brackets are where the parser stopped.
func (s *stumble) bracket(at int) (line, column int, hint string) {
	for _, line := range []int{s.line + 1, s.line} {
		if column := openBracket(sourceLine(s.src, line)); column > 0 {
			return line, column, ": a bracket is not closed"
		}
	}
	line, column = position(s.src, at)
	return line, column, ""
}

// shrinkable is how long a file may be for shrink to take its time.
const shrinkable = 64 << 10

// shrink goes back from where the parser stopped, word by word, as long as it
// says the same of what is left: the word that is missed is the culprit.
func (s *stumble) shrink(at int) (line, column int) {
	text := s.src[:at+len(s.src[at:])-len(bytes.TrimLeft(s.src[at:], ":"))]
	start := wordStart(text)
	for range 8 {
		if len(s.src) > shrinkable || start == 0 || !s.sameWithout(start) {
			break
		}
		start = wordStart(s.src[:start])
	}
	return position(s.src, start)
}

func (s *stumble) sameWithout(end int) bool {
	err := yaml.Unmarshal(s.src[:end], &yaml.Node{})
	return err != nil && strings.HasSuffix(err.Error(), s.msg)
}

func wordStart(text []byte) int {
	text = bytes.TrimRight(text, " \t\r\n")
	return 1 + bytes.LastIndexAny(text, " \t\r\n")
}

// openQuote is the column of a quote that does not end on its line.
func openQuote(line string) int {
	column, open, since := 0, rune(0), 1
	before := ' '
	for _, r := range line {
		column++
		switch {
		case open == 0 && (r == '\'' || r == '"') && strings.ContainsRune(" [{,:", before):
			open, since = r, column
		case r == open && before != '\\':
			open = 0
		}
		before = r
	}
	if open == 0 {
		return indented(line)
	}
	return since
}

// openBracket is the column of a bracket that does not end on its line, or 0.
func openBracket(line string) int {
	type bracket struct {
		closes rune
		column int
	}
	var open []bracket
	column := 0
	for _, r := range line {
		column++
		switch last := len(open) - 1; {
		case r == '[':
			open = append(open, bracket{']', column})
		case r == '{':
			open = append(open, bracket{'}', column})
		case last >= 0 && r == open[last].closes:
			open = open[:last]
		}
	}
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1].column
}

// indented is the column of the first character that is not blank.
func indented(line string) int {
	return 1 + len(line) - len(strings.TrimLeft(line, " "))
}
