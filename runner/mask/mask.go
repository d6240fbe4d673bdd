// Package mask hides secrets in text that is about to be stored or shown.
//
// A secret is found in every form in which tools print one: as it is, in
// base64 at each offset, percent-encoded, in hex, escaped for JSON, HTML and
// shells. All forms of all secrets are one Aho-Corasick automaton, so that the
// time does not depend on how many there are. Line breaks and blanks inside a
// form are looked through: base64 tools wrap their lines.
package mask

// Mark is what stands for a secret.
const Mark = "***"

// Shortest is the length in bytes below which a value, or a form of it, is not
// hidden: so short a text is everywhere, and hiding it would make logs useless
// and tell what it is.
const Shortest = 4

// A Masker knows secrets. It is safe for concurrent use.
type Masker struct{ machine *machine }

// New makes a Masker of secrets. One of none costs nothing.
func New(secrets []string) *Masker {
	needles := newNeedles(secrets)
	if len(needles) == 0 {
		return &Masker{}
	}
	return &Masker{machine: build(needles)}
}

// Empty says that there is nothing to hide.
func (m *Masker) Empty() bool { return m.machine == nil }

// Text hides the secrets in a text that is whole. Text without one is returned
// as it is.
func (m *Masker) Text(b []byte) []byte {
	if m.machine == nil {
		return b
	}
	s := Stream{machine: m.machine}
	s.machine.scan(&s.at, b)
	if len(s.at.found) == 0 {
		return b
	}
	return s.emit(b, len(b))
}

// String is Text for strings.
func (m *Masker) String(text string) string {
	if m.machine == nil {
		return text
	}
	return string(m.Text([]byte(text)))
}

// Stream hides secrets in a text that comes in pieces, however it is cut.
func (m *Masker) Stream() *Stream { return &Stream{machine: m.machine} }

// A Stream is one text. It holds back no more than what may be the beginning
// of a secret.
type Stream struct {
	machine *machine
	at      cursor
	held    []byte
	out     []byte
}

// Next takes the next piece and returns what may be shown by now. The result
// is good until the next call.
func (s *Stream) Next(b []byte) []byte {
	if s.machine == nil {
		return b
	}
	if len(s.held) == 0 {
		s.machine.scan(&s.at, b)
		hold := s.at.start(s.machine)
		s.held = append(s.held, b[hold:]...)
		if len(s.at.found) == 0 {
			s.at.forget(hold)
			return b[:hold]
		}
		return s.emit(b, hold)
	}
	s.held = append(s.held, b...)
	s.machine.scan(&s.at, s.held)
	hold := s.at.start(s.machine)
	out := s.emit(s.held, hold)
	if hold > 0 {
		s.held = append(s.held[:0], s.held[hold:]...)
	}
	return out
}

// Rest returns what was held back. After it, a new text may begin.
func (s *Stream) Rest() []byte {
	if len(s.held) == 0 {
		s.at = cursor{}
		return nil
	}
	out := s.emit(s.held, len(s.held))
	s.held, s.at = s.held[:0], cursor{}
	return out
}

// emit is the beginning of b up to hold, with marks for what was found.
func (s *Stream) emit(b []byte, hold int) []byte {
	out, shown := s.out[:0], 0
	for _, f := range s.at.found {
		if f.from >= hold {
			break
		}
		out = append(out, b[shown:f.from]...)
		if !f.told {
			out = append(out, Mark...)
		}
		shown = min(f.to, hold)
	}
	s.out = append(out, b[shown:hold]...)
	s.at.forget(hold)
	return s.out
}
