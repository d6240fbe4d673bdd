package runner

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// mask is what stands for a secret in a log.
const mask = "***"

// shortestSecret is the length below which hiding a value would hide half of
// every log.
const shortestSecret = 4

// secretTexts are the values that must not be seen.
func (req *Request) secretTexts() []string {
	var all []string
	for _, v := range req.SecretValues {
		all = append(all, v)
	}
	for _, c := range req.Credentials {
		all = append(all, c.Password)
	}
	for _, v := range req.Secrets {
		all = append(all, string(v))
	}
	if req.Build != nil {
		for _, a := range req.Build.SecretArgs {
			_, v, _ := strings.Cut(a, "=")
			all = append(all, v)
		}
	}
	return all
}

// A redactor hides secrets, in the forms that tools print them in.
type redactor struct{ needles [][]byte }

func newRedactor(secrets []string) *redactor {
	r := &redactor{}
	for _, s := range secrets {
		for _, form := range []string{
			s, strings.TrimSpace(s), base64.StdEncoding.EncodeToString([]byte(s)), base64.URLEncoding.EncodeToString([]byte(s)), url.QueryEscape(s),
		} {
			if len(form) >= shortestSecret {
				r.needles = append(r.needles, []byte(form))
			}
		}
	}
	slices.SortFunc(r.needles, func(a, b []byte) int { // longer ones first: one may contain another
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return bytes.Compare(a, b)
	})
	r.needles = slices.CompactFunc(r.needles, bytes.Equal)
	return r
}

// once hides secrets in a text that is whole.
func (r *redactor) once(b []byte) []byte {
	for _, n := range r.needles {
		if bytes.Contains(b, n) {
			b = bytes.ReplaceAll(b, n, []byte(mask))
		}
	}
	return b
}

// stream hides secrets in a text that comes in pieces.
func (r *redactor) stream() *maskStream { return &maskStream{r: r} }

type maskStream struct {
	r    *redactor
	held []byte
}

// next returns what may be shown: everything but an end that could be the
// beginning of a secret.
func (m *maskStream) next(b []byte) []byte {
	if len(m.r.needles) == 0 {
		return b
	}
	text := m.r.once(append(m.held, b...))
	hold := m.r.suspicious(text)
	m.held = append([]byte(nil), text[len(text)-hold:]...)
	return text[:len(text)-hold]
}

// rest returns what was held back.
func (m *maskStream) rest() []byte {
	rest := m.held
	m.held = nil
	return rest
}

// suspicious is the length of the longest end of b that a secret begins with.
func (r *redactor) suspicious(b []byte) int {
	longest := 0
	for _, n := range r.needles {
		for k := min(len(n)-1, len(b)); k > longest; k-- {
			if bytes.HasPrefix(n, b[len(b)-k:]) {
				longest = k
			}
		}
	}
	return longest
}
