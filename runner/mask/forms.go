package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// shortestLine of a secret of several lines is hidden on its own.
	shortestLine = 8
	// longestSecret is how much of a secret is looked for in every form. What
	// is after it is looked for as it is, in pieces.
	longestSecret = 32 << 10
	pieceSize     = 1 << 10
)

// forms are the texts in which a secret may be printed.
func forms(secret string) []string {
	if len(strings.TrimSpace(secret)) < Shortest {
		return nil
	}
	var all []string
	if len(secret) > longestSecret {
		for rest := secret[longestSecret:]; len(rest) > 0; {
			n := min(len(rest), pieceSize)
			all, rest = append(all, rest[:n]), rest[n:]
		}
		secret = secret[:longestSecret]
	}
	for _, v := range unique(secret, strings.TrimSpace(secret)) {
		all = append(all, quoted(v)...)
		all = append(all, encoded(v)...)
		for offset := range 3 { // what is encoded twice
			inner, _ := base64At(base64.StdEncoding, v, offset)
			for outer := range 3 {
				twice, ends := base64At(base64.StdEncoding, inner, outer)
				all = append(append(all, twice), ends...)
			}
		}
		_, once := base64At(base64.StdEncoding, v, 0)
		for _, b := range once {
			all = append(all, base64.StdEncoding.EncodeToString([]byte(b)), base64.StdEncoding.EncodeToString([]byte(b+"\n")))
		}
	}
	lines := strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) < 2 {
		return all
	}
	for _, line := range lines {
		if line = strings.TrimSpace(line); len(line) >= shortestLine {
			all = append(all, quoted(line)...)
			all = append(all, encoded(line)...)
		}
	}
	return all
}

func unique(all ...string) []string { return slices.Compact(all) }

// encoded are the forms that cannot be read as they are.
func encoded(v string) []string {
	lower := hex.EncodeToString([]byte(v))
	all := []string{lower, strings.ToUpper(lower), fmt.Sprintf("% x", v), fmt.Sprintf("% X", v)}
	for offset := range 3 {
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			inside, ends := base64At(alphabet, v, offset)
			all = append(append(all, inside), ends...)
			for _, b := range append(ends, inside) {
				all = append(all, percent(b, true, ""), percent(b, false, ""))
			}
		}
	}
	return all
}

// base64At is v in base64 when offset bytes (of each three) are before it: the
// digits that say nothing but v, and how they go on if nothing, or the end of
// a line, follows. A digit at either side may say up to four bits more.
func base64At(e *base64.Encoding, v string, offset int) (inside string, ends []string) {
	skip := []int{0, 2, 3}[offset]
	for _, tail := range []string{"", "\n", "\r\n"} {
		padded := e.EncodeToString([]byte("\x00\x00"[:offset] + v + tail))[skip:]
		bare := strings.TrimRight(padded, "=")
		ends = append(ends, padded, bare)
		if tail == "" {
			inside = bare[:(offset+len(v))*8/6-skip]
		}
	}
	return inside, ends
}

// quoted are the forms in which v can still be read.
func quoted(v string) []string {
	all := []string{v}
	for _, asJSON := range []string{jsonText(v, true), jsonText(v, false)} {
		all = append(all, asJSON, strings.ReplaceAll(asJSON, "/", `\/`), jsonText(asJSON, false), asciiJSON(asJSON, "%04x"), asciiJSON(asJSON, "%04X"))
	}
	all = append(all,
		inner(strconv.Quote(v)), inner(strconv.QuoteToASCII(v)),
		controls.Replace(v), escape(controls.Replace(v), "'"),
		html.EscapeString(v), htmlNames.Replace(v), xmlText.Replace(v),
		strings.ReplaceAll(v, `'`, `'\''`), strings.ReplaceAll(v, `'`, `'"'"'`), // between single quotes
		escape(v, "\\$\"`"), escape(v, "\\$\"`!"), // between double quotes
		escape(v, shellSpecial), escape(v, shellSpecial+"~%=,:@+^{}"), // with backslashes
	)
	for _, safe := range []string{"", "-_.~", "-_.", "-_.~/", "-_.!~*'()", "-_.~$&+=:@", "-_.!~*'();,/?:@&=+$#", "-_.*"} {
		for _, upper := range []bool{true, false} {
			p := percent(v, upper, safe)
			all = append(all, p, strings.ReplaceAll(p, "%20", "+"))
		}
	}
	return append(all, url.QueryEscape(v), url.PathEscape(v), everyByte(v, "%%%02X"), everyByte(v, "%%%02x"), everyByte(v, `\x%02x`), everyByte(v, `\x%02X`))
}

var (
	controls  = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	htmlNames = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
	xmlText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
)

const shellSpecial = " \t\n'\"`$&|;<>()[]*?!#\\"

func jsonText(v string, html bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if e.Encode(v) != nil {
		return v
	}
	return inner(strings.TrimSuffix(b.String(), "\n"))
}

// inner is what stands between quotes.
func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// asciiJSON escapes what is not ASCII in a text that is JSON already.
func asciiJSON(v, format string) string {
	var b strings.Builder
	for _, r := range v {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u`+format, unit)
		}
	}
	return b.String()
}

// escape puts backslashes in front of the bytes of special.
func escape(v, special string) string {
	var b strings.Builder
	for _, c := range []byte(v) {
		if strings.IndexByte(special, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// percent encodes all bytes but letters, digits and those of safe.
func percent(v string, upper bool, safe string) string {
	format := "%%%02x"
	if upper {
		format = "%%%02X"
	}
	var b strings.Builder
	for _, c := range []byte(v) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, format, c)
		}
	}
	return b.String()
}

func everyByte(v, format string) string {
	var b strings.Builder
	for _, c := range []byte(v) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}
