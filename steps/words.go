package steps

import (
	"strings"
)

// A word is one word of a line, and the byte of the line that it begins at.
// While it is told whether it is a flag, it may have marks in it: what the run
// itself brought is never one.
type word struct {
	text  string
	at    int
	marks *marks
	// brought says that marks were in it. What they stood for may be a
	// secret, so that no error repeats it.
	brought bool
}

// plain is the word with texts in place of marks.
func (w word) plain() word {
	w.brought = w.brought || strings.ContainsRune(w.text, markWord)
	w.text = w.marks.all(w.text)
	return w
}

// shown is the word as an error repeats it.
func (w word) shown() string {
	if w.brought || strings.ContainsRune(w.text, markWord) {
		return "{{...}}"
	}
	return brief(w.text)
}

// withMarks gives the words their table of marks.
func withMarks(words []word, m *marks) []word {
	for i := range words {
		words[i].marks = m
	}
	return words
}

// splitWords splits a command line into words as a POSIX shell would: quotes
// and backslashes are resolved, and nothing else is. No shell ever sees the
// line, so what only a shell could do is refused, with a word on what to write
// instead; $NAME and ${NAME} stay as they are written, and so do * and ~.
//
// An error is a *lineError.
func splitWords(line string) ([]string, error) {
	words, err := readWords(line)
	return wordTexts(words), err
}

// wordTexts are the words without their places.
func wordTexts(words []word) []string {
	var all []string
	for _, w := range words {
		all = append(all, w.text)
	}
	return all
}

// placeless are words that came as such, not in a line.
func placeless(all []string) []word {
	words := make([]word, len(all))
	for i, text := range all {
		words[i] = word{text: text, at: -1}
	}
	return words
}

// readWords is splitWords with the place of every word. It looks at each byte
// of the line a bounded number of times.
func readWords(line string) ([]word, error) {
	if at := strings.IndexByte(line, 0); at >= 0 {
		return nil, &lineError{at, "cannot be split into words: it has a NUL character, which no command takes"}
	}
	s := splitter{line: line}
	for {
		more, err := s.between()
		if err != nil {
			return nil, err
		}
		if !more {
			return s.words, nil
		}
		if err := s.word(); err != nil {
			return nil, err
		}
	}
}

// A splitter is somewhere in a line.
type splitter struct {
	line  string
	pos   int
	words []word
	// text is the word being read, and quoted says that some of it was
	// quoted, so that it is nothing but a word.
	text   []byte
	quoted bool
}

// between goes to the beginning of the next word, past blanks, comments and
// the ends of lines. Only one line may have words in it.
func (s *splitter) between() (more bool, err error) {
	ended := false
	for s.pos < len(s.line) {
		switch skip := s.continuation(s.pos) - s.pos; {
		case skip > 0:
			s.pos += skip
		case s.newline() > 0:
			s.pos += s.newline()
			ended = len(s.words) > 0
		case s.line[s.pos] == ' ' || s.line[s.pos] == '\t':
			s.pos++
		case s.line[s.pos] == '#':
			s.pos += lengthUntil(s.line[s.pos:], "\n")
		case ended:
			return false, s.refuse("more than one command: " + noShell + ": use a step for each line, or join them with IMAGE sh -c '...'")
		default:
			return true, nil
		}
	}
	return false, nil
}

// continuation is where the line goes on after backslashes at ends of lines.
func (s *splitter) continuation(at int) int {
	for strings.HasPrefix(s.line[at:], "\\\n") {
		at += 2
	}
	return at
}

// newline is the length of the end of a line, if one is here.
func (s *splitter) newline() int {
	switch {
	case strings.HasPrefix(s.line[s.pos:], "\n"):
		return 1
	case strings.HasPrefix(s.line[s.pos:], "\r\n"):
		return 2
	}
	return 0
}

// word reads one word.
func (s *splitter) word() error {
	at := s.pos
	s.text, s.quoted = s.text[:0], false
	for s.pos < len(s.line) && !s.atBlank() {
		if err := s.part(); err != nil {
			return err
		}
	}
	text := string(s.text)
	if len(s.words) == 0 && !s.quoted && reserved[text] {
		s.pos = at
		return s.refuse(text + needsShell)
	}
	s.words = append(s.words, word{text: text, at: at})
	return nil
}

func (s *splitter) atBlank() bool {
	c := s.line[s.pos]
	return c == ' ' || c == '\t' || s.newline() > 0
}

// part reads the piece of a word that is here: up to the next character that
// means something to a shell.
func (s *splitter) part() error {
	switch c := s.line[s.pos]; c {
	case '\'':
		return s.singleQuoted()
	case '"':
		return s.doubleQuoted()
	case '\\':
		s.escaped()
	case '$', '`':
		return s.substitution()
	case '|', '&', ';', '<', '>', '(', ')':
		return s.operator()
	case '\r': // and no newline after it
		s.take(1)
	default:
		s.take(lengthUntil(s.line[s.pos:], " \t\r\n'\"\\$`|&;<>()"))
	}
	return nil
}

// take adds the next n bytes to the word as they are.
func (s *splitter) take(n int) {
	s.text = append(s.text, s.line[s.pos:s.pos+n]...)
	s.pos += n
}

func (s *splitter) singleQuoted() error {
	n := strings.IndexByte(s.line[s.pos+1:], '\'')
	if n < 0 {
		return s.refuse("cannot be split into words: a single quote is not closed")
	}
	s.quoted = true
	s.pos++
	s.take(n)
	s.pos++
	return nil
}

// doubleQuoted reads to the closing quote. A backslash in there means
// something only before a few characters.
func (s *splitter) doubleQuoted() error {
	start := s.pos
	s.quoted = true
	s.pos++
	for s.pos < len(s.line) {
		s.take(lengthUntil(s.line[s.pos:], "\"\\$`"))
		switch {
		case s.pos == len(s.line):
		case s.line[s.pos] == '"':
			s.pos++
			return nil
		case s.line[s.pos] != '\\':
			if err := s.substitution(); err != nil {
				return err
			}
		case s.pos+1 < len(s.line) && strings.IndexByte("\"\\$`\n", s.line[s.pos+1]) >= 0:
			s.escaped()
		default:
			s.take(1)
		}
	}
	s.pos = start
	return s.refuse("cannot be split into words: a double quote is not closed")
}

// escaped reads a backslash and what it quotes. At the end of a line both go;
// at the end of everything it stands for itself.
func (s *splitter) escaped() {
	switch {
	case s.pos+1 == len(s.line):
		s.take(1)
		return
	case s.line[s.pos+1] == '\n':
		s.pos += 2
		return
	}
	s.quoted = true
	s.pos++
	s.take(1)
}

// substitution reads a $, and keeps it as it is written. What would run
// something, or compute, is refused.
func (s *splitter) substitution() error {
	next := byte(0)
	if at := s.continuation(s.pos + 1); at < len(s.line) {
		next = s.line[at]
	}
	switch {
	case s.line[s.pos] == '`':
		return s.refuse("`...`" + needsShell)
	case next == '(':
		return s.refuse("$(...)" + needsShell)
	case next == '{':
		n := parameter(s.line[s.pos:])
		if n == 0 {
			return s.refuse("only ${NAME} is kept: anything more between the braces" + needsShell)
		}
		s.take(n)
	case next != 0 && strings.IndexByte(specialParameters, next) >= 0 && s.line[s.pos+1] == next:
		s.take(2)
	default:
		s.take(1)
	}
	return nil
}

const specialParameters = "$#?!-@*0123456789"

// parameter is the length of the ${NAME} that text begins with, or 0.
func parameter(text string) int {
	name, ok := strings.CutPrefix(text, "${")
	if !ok || name == "" {
		return 0
	}
	n := 0
	for n < len(name) && isName(name[n]) && (isDigit(name[n]) || !isDigit(name[0])) {
		n++
	}
	if n == 0 && strings.IndexByte(specialParameters, name[0]) >= 0 {
		n = 1
	}
	if n == 0 || n == len(name) || name[n] != '}' {
		return 0
	}
	return len("${") + n + len("}")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isName(c byte) bool {
	return c == '_' || isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Ends of refusals: what there is not, and what to write instead.
const (
	noShell    = "there is no shell around a step"
	needsShell = " needs a shell, and " + noShell + ": run one in the container, IMAGE sh -c '...', with what is meant for it in single quotes"
)

// operator refuses what connects commands to each other and to files.
func (s *splitter) operator() error {
	rest := s.line[s.pos:]
	switch {
	case strings.HasPrefix(rest, "&&"), strings.HasPrefix(rest, "||"):
		return s.refuse(rest[:2] + " needs a shell, and " + noShell + ": use a step for each command (when: orders them), or IMAGE sh -c '...'")
	case rest[0] == '|':
		return s.refuse(pipeRefusal(rest[1:]))
	case rest[0] == '&':
		return s.refuse("& needs a shell, and " + noShell + ": detach: true runs a step in the background, and a & that is meant needs quotes")
	case rest[0] == ';':
		return s.refuse("more than one command: " + noShell + ": use a step for each command, or IMAGE sh -c '...'; a ; that is meant needs quotes")
	case rest[0] == '<', rest[0] == '>':
		return s.refuse("a redirection, " + rest[:1] + ", needs a shell, and " + noShell + ": IMAGE sh -c '... > file' writes into /workspace, which all steps share")
	}
	return s.refuse(rest[:1] + needsShell)
}

// pipeRefusal knows the two commands of docker that tasks like to pipe into.
func pipeRefusal(after string) string {
	switch fields := strings.Fields(after[:min(len(after), 100)]); {
	case len(fields) > 1 && fields[0] == "docker" && fields[1] == "login":
		return "| docker login: " + dockerRefusals["login"]
	case len(fields) > 1 && fields[0] == "docker":
		return "| docker " + brief(fields[1]) + ": there is no docker engine around a step, and no pipe to it; " +
			"let the container write to a file in /workspace, which all steps share"
	}
	return "| needs a shell, and " + noShell + ": IMAGE sh -c '... | ...' pipes inside the container; between steps use a file in /workspace"
}

// reserved are the words that begin what is more than a simple command.
var reserved = map[string]bool{
	"!": true, "{": true, "}": true, "case": true, "do": true, "done": true, "elif": true, "else": true, "esac": true,
	"fi": true, "for": true, "if": true, "then": true, "until": true, "while": true,
}

func (s *splitter) refuse(msg string) error { return &lineError{s.pos, msg} }

// lengthUntil counts the bytes before the first of a set, which is ASCII.
func lengthUntil(text, set string) int {
	if at := strings.IndexAny(text, set); at >= 0 {
		return at
	}
	return len(text)
}
