package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pem is a secret of several lines, longer than what base64 tools put on one.
const pem = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIKb7zgHNtT1/4/HG0pE3ciIQH5uXkAbN0VJVYr3zrFo/
Zm9vYmFyYmF6cXV1eDEyMzQ1Njc4OTBhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5
-----END PRIVATE KEY-----
`

// awkward has a character for every way of quoting.
const awkward = `p@ss w/"rd'$x\&<é>!+=%` + "`~"

var encodings = map[string]func(string) string{
	"raw":           func(s string) string { return s },
	"trimmed":       strings.TrimSpace,
	"CRLF":          func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	"one line":      func(s string) string { return strings.ReplaceAll(s, "\n", " ") },
	"no line":       func(s string) string { return strings.ReplaceAll(s, "\n", "") },
	"indented":      func(s string) string { return strings.ReplaceAll(s, "\n", "\n        ") },
	"base64":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 echo":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s + "\n")) },
	"base64 raw":    func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64url":     func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"base64url raw": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 76":     func(s string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(s)), 76) },
	"base64 64":     func(s string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(s)), 64) },
	"base64 twice": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	},
	"base64 in query": func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"hex":             func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":             func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex 60":          func(s string) string { return wrap(hex.EncodeToString([]byte(s)), 60) },
	"hex bytes":       func(s string) string { return fmt.Sprintf("% x", s) },
	"query":           url.QueryEscape,
	"path":            url.PathEscape,
	"component":       func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") },
	"lower percent":   func(s string) string { return lowerPercent(url.QueryEscape(s)) },
	"every percent":   func(s string) string { return everyByte(s, "%%%02X") },
	"JSON":            func(s string) string { b, _ := json.Marshal(s); return inner(string(b)) },
	"JSON utf8":       func(s string) string { return jsonText(s, false) },
	"JSON ascii":      func(s string) string { return asciiJSON(jsonText(s, false), "%04x") },
	"JSON in JSON":    func(s string) string { return jsonText(jsonText(s, false), false) },
	"Go":              func(s string) string { return inner(strconv.Quote(s)) },
	"Go ascii":        func(s string) string { return inner(strconv.QuoteToASCII(s)) },
	"HTML":            html.EscapeString,
	"single quotes":   func(s string) string { return strings.ReplaceAll(s, "'", `'\''`) },
	"double quotes":   func(s string) string { return escape(s, "\\$\"`") },
	"backslashes":     func(s string) string { return escape(s, shellSpecial) },
	"repr":            func(s string) string { return strings.ReplaceAll(jsonText(s, false), `\"`, `"`) },
}

func wrap(s string, width int) string {
	var lines []string
	for ; len(s) > width; s = s[width:] {
		lines = append(lines, s[:width])
	}
	return strings.Join(append(lines, s), "\n")
}

func lowerPercent(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// masked is what a stream shows of a text that is cut at the given places.
func masked(m *Masker, text string, cuts ...int) string {
	s := m.Stream()
	var out []byte
	last := 0
	for _, cut := range append(cuts, len(text)) {
		out = append(out, s.Next([]byte(text[last:cut]))...)
		last = cut
	}
	return string(append(out, s.Rest()...))
}

var secrets = []string{"hunter2", "s3cr3t/value+1", awkward, pem, "aaaaaaaa", "line one is long\nline two as well\n", "ÿþý?>>~~"}

func TestEveryEncodingAtEverySplit(t *testing.T) {
	for _, secret := range secrets {
		m := New([]string{secret})
		for name, encode := range encodings {
			text := "{before: " + encode(secret) + " ends}\nand on"
			want := "{before: ***"
			whole := masked(m, text)
			if !strings.HasPrefix(whole, want) || !strings.HasSuffix(strings.TrimLeft(whole[len(want):], "\n\\n%0DA+ "), "ends}\nand on") {
				t.Errorf("%q as %s: %q becomes %q", secret, name, text, whole)
				continue
			}
			for cut := 0; cut < len(text); cut += 1 + len(text)/300 {
				if got := masked(m, text, cut); got != whole {
					t.Errorf("%q as %s, cut at %d: got %q, want %q", secret, name, cut, got, whole)
				}
			}
			every := make([]int, len(text))
			for i := range every {
				every[i] = i
			}
			if got := masked(m, text, every...); got != whole {
				t.Errorf("%q as %s, byte by byte: got %q, want %q", secret, name, got, whole)
			}
		}
	}
}

// TestBase64AtEveryOffset looks for what base64 says of the secret alone: the
// digits at its sides say of their neighbours too.
func TestBase64AtEveryOffset(t *testing.T) {
	for _, secret := range secrets {
		m := New([]string{secret})
		for before := range 7 {
			for after := range 7 {
				for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
					data := strings.Repeat("u", before) + secret + strings.Repeat("v", after)
					text := e.EncodeToString([]byte(data))
					own := (before+len(secret))*8/6 - (before*8+5)/6 // digits that say nothing else
					got := string(m.Text([]byte(text)))
					if most := len(text) - own + len(Mark); len(got) > most {
						t.Errorf("%q between %d and %d: %q is left", secret, before, after, got)
					}
				}
			}
		}
	}
}

// TestShell asks a real shell how it quotes.
func TestShell(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	for _, secret := range []string{"it's $HOME", `a"b\c`, "hunter2!x", "x=y;z&w|v<u>t(s)", "#hash *star ?q [b]"} {
		for _, script := range []string{`printf '%q\n' "$1"`, `echo "${1@Q}"`, `set -x; : "$1"`, `declare -p 1 2>&1; x=$1; declare -p x`} {
			cmd := exec.CommandContext(t.Context(), bash, "-c", script, "sh", secret)
			out, _ := cmd.CombinedOutput()
			got := New([]string{secret}).String(string(out))
			if !strings.Contains(got, Mark) || strings.Contains(got, secret) {
				t.Errorf("%s of %q: %q becomes %q", script, secret, out, got)
			}
		}
	}
}

func TestMask(t *testing.T) {
	for name, tt := range map[string]struct {
		secrets    []string
		text, want string
	}{
		"none":             {nil, "text", "text"},
		"too short":        {[]string{"abc", "", "  \n"}, "abc \n YWJj", "abc \n YWJj"},
		"twice":            {[]string{"secret"}, "secretsecret", "******"},
		"overlap":          {[]string{"abcdef", "defghi"}, "xabcdefghiy", "x***y"},
		"inside":           {[]string{"cdef", "abcdefgh"}, "xabcdefghy xcdefy abcdefg", "x***y x***y ab***g"},
		"own overlap":      {[]string{"abab"}, "ababab ab", "*** ab"},
		"run":              {[]string{"aaaa"}, strings.Repeat("a", 1000) + "b", "***b"},
		"nearly":           {[]string{"secret"}, "secre\nsecretive secre", "secre\n***ive secre"},
		"after a failure":  {[]string{"aabaaab"}, "aabaabaaab", "aab***"},
		"line of several":  {[]string{"first line\nshort\nlast line"}, "[last line] short", "[***] short"},
		"wrapped too soon": {[]string{"abcdefghijkl"}, "abcd\nefghijkl", "abcd\nefghijkl"},
		"wrapped":          {[]string{"abcdefghijkl"}, "abcdefgh\r\n\tijkl", "***"},
		"gap in front":     {[]string{"{\n \"key\": 1 }"}, `x {"key":1} { "key": 1 } y`, `x *** *** y`},
		"trailing newline": {[]string{"hunter2\n"}, "hunter2\nnext", "***\nnext"},
		"wide gap":         {[]string{"abcdefghijkl"}, "abcdefgh" + strings.Repeat("\n", 100) + "ijkl", "abcdefgh" + strings.Repeat("\n", 100) + "ijkl"},
	} {
		m := New(tt.secrets)
		if got := m.String(tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		for cut := range len(tt.text) {
			if got := masked(m, tt.text, cut); got != tt.want {
				t.Errorf("%s, cut at %d: got %q, want %q", name, cut, got, tt.want)
			}
		}
	}
}

func TestLongSecret(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, 200<<10)
	for i := range long {
		long[i] = "abcdefghijklmnopqrstuvwxyz0123456789\n"[random.IntN(37)]
	}
	m := New([]string{string(long)})
	if got := m.String(string(long)); len(got) > 1000 {
		t.Errorf("%d bytes are left of %d", len(got), len(long))
	}
	if got := m.String(wrap(base64.StdEncoding.EncodeToString(long[:longestSecret]), 76)); len(got) > 10 {
		t.Errorf("%q is left", got)
	}
}

// TestHolds: what a follower waits for is only what may be a secret.
func TestHolds(t *testing.T) {
	m := New([]string{"secret-value", pem})
	for text, want := range map[string]string{
		"plain\n": "plain\n", "no newline!": "no newline!", "a secre\n": "a secre\n", "a secre": "a ", "-----\n": "-----\n", "x secret-v\n": "x ", "is secret-value\n": "is ***\n", "is secret-value": "is ***",
	} {
		if got := string(m.Stream().Next([]byte(text))); got != want {
			t.Errorf("of %q, %q is shown, want %q", text, got, want)
		}
	}
}

// TestAgainstPlainSearch compares with the obvious way of doing it, on texts
// that are made to confuse.
func TestAgainstPlainSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[random.IntN(2)]
		}
		return string(b)
	}
	for range 2000 {
		var texts []string
		var needles []needle
		for range 1 + random.IntN(4) {
			texts = append(texts, word(4+random.IntN(6)))
		}
		seen := map[string]bool{}
		for _, s := range texts {
			if !seen[s] {
				needles = append(needles, needle{text: s})
			}
			seen[s] = true
		}
		slices.SortFunc(needles, func(a, b needle) int { return strings.Compare(a.text, b.text) })
		m := &Masker{machine: build(needles)}
		text := word(60)
		want := plainMask(texts, text)
		cuts := []int{random.IntN(20), 20 + random.IntN(20), 40 + random.IntN(20)}
		if got := masked(m, text, cuts...); got != want {
			t.Fatalf("%q in %q cut at %v: got %q, want %q", texts, text, cuts, got, want)
		}
	}
}

// plainMask finds all occurrences by looking everywhere.
func plainMask(secrets []string, text string) string {
	var c cursor
	for end := 1; end <= len(text); end++ {
		for _, s := range secrets {
			if strings.HasSuffix(text[:end], s) {
				c.find(end-len(s), end)
			}
		}
	}
	s := Stream{at: c}
	return string(s.emit([]byte(text), len(text)))
}

func FuzzMask(f *testing.F) {
	for _, s := range secrets {
		f.Add(s, "before ", " after", uint8(3), uint16(5), uint16(9))
	}
	var names []string
	for name := range encodings {
		names = append(names, name)
	}
	slices.Sort(names)
	f.Fuzz(func(t *testing.T, secret, before, after string, encoding uint8, a, b uint16) {
		if len(secret) > 4<<10 || len(before)+len(after) > 64<<10 {
			return
		}
		m := New([]string{secret})
		form := encodings[names[int(encoding)%len(names)]](secret)
		text := before + form + after
		cuts := []int{int(a) % (len(text) + 1), int(b) % (len(text) + 1)}
		if cuts[0] > cuts[1] {
			cuts[0], cuts[1] = cuts[1], cuts[0]
		}
		got := masked(m, text, cuts...)
		if whole := m.String(text); got != whole {
			t.Errorf("cut at %v: got %q, want %q", cuts, got, whole)
		}
		if m.machine == nil {
			if got != text {
				t.Errorf("nothing is secret, but %q becomes %q", text, got)
			}
			return
		}
		hidden := strings.TrimSpace(form)
		if len(fold(secret).text) >= Shortest && len(fold(hidden).text) >= Shortest && !strings.Contains(Mark, hidden) && !strings.Contains(before, hidden) && !strings.Contains(after, hidden) && strings.Contains(got, hidden) {
			t.Errorf("%q as %s is seen in %q", secret, names[int(encoding)%len(names)], got)
		}
		// What holds no form of it stays as it is.
		if folded := fold(before).text; !m.hasNeedle(folded) && m.String(before) != before {
			t.Errorf("%q becomes %q", before, m.String(before))
		}
	})
}

// hasNeedle looks everywhere.
func (m *Masker) hasNeedle(text string) bool {
	for i := range text {
		state := int32(root)
		for _, c := range []byte(text[i:]) {
			depth := m.machine.nodes[state].depth
			if state = m.machine.next(state, c); m.machine.nodes[state].depth != depth+1 {
				break
			}
			if m.machine.nodes[state].match > 0 {
				return true
			}
		}
	}
	return false
}

func BenchmarkMask(b *testing.B) {
	text := make([]byte, 0, 1<<20)
	for i := 0; len(text) < 1<<20; i++ {
		text = fmt.Appendf(text, "#12 %d.%03d  Compiling serde_json v1.0.%d (registry+https://example.com/index) %x\n", i/1000, i%1000, i%200, i*7919)
	}
	for _, n := range []int{0, 1, 10, 200} {
		var all []string
		random := rand.New(rand.NewPCG(5, 6))
		for range n {
			s := make([]byte, 16+random.IntN(48))
			for i := range s {
				s[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+"[random.IntN(67)]
			}
			all = append(all, string(s))
		}
		m := New(all)
		for name, text := range map[string][]byte{"log": text, "base64": []byte(base64.StdEncoding.EncodeToString(text[:768<<10]))} {
			b.Run(fmt.Sprintf("%d secrets/%s", n, name), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				s := m.Stream()
				for b.Loop() {
					for rest := text; len(rest) > 0; {
						piece := min(len(rest), 32<<10)
						s.Next(rest[:piece])
						rest = rest[piece:]
					}
				}
				if m.machine != nil {
					b.ReportMetric(float64(len(m.machine.nodes)), "nodes")
				}
			})
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New([]string{pem, "hunter2", awkward})
	}
}

func BenchmarkNewLong(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, longestSecret)
	for i := range long {
		long[i] = "abcdefghijklmnopqrstuvwxyz0123456789\n"[random.IntN(37)]
	}
	b.ReportAllocs()
	for b.Loop() {
		m := New([]string{string(long)})
		b.ReportMetric(float64(len(m.machine.nodes)), "nodes")
	}
}
