package steps

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostileTemplates want to keep a processor or fill the memory. Each is
// refused, or rendered to what is harmless.
var hostileTemplates = []string{
	`{{range 999999999999}}{{end}}`,
	`{{range 999999999999}}{{range 999999999}}{{end}}{{end}}`,
	`{{range $i := 999999999999}}{{$i}}{{end}}`,
	`{{range 99999999}}{{if false}}x{{end}}{{continue}}{{end}}`,
	`{{range until 999999999}}x{{end}}`,
	`{{range untilStep 0 999999999 1}}x{{end}}`,
	`{{range untilStep 0 9 0}}x{{end}}`,
	`{{seq 999999999}}`,
	`{{seq 1 1 999999999}}`,
	`{{repeat 999999999 "xxxxxxxxxx"}}`,
	`{{repeat 1048576 "x" | repeat 1048576}}`,
	`{{$x := "x"}}{{range 64}}{{$x = print $x $x}}{{end}}`,
	`{{$x := "x"}}{{range 64}}{{$x = printf "%s%s" $x $x}}{{end}}{{$x}}`,
	`{{$x := "x"}}{{range 64}}{{$x = cat $x $x}}{{end}}`,
	`{{$x := list 1}}{{range 64}}{{$x = list $x $x}}{{end}}{{$x}}`,
	`{{$x := list 1}}{{range 1000000}}{{$x = list $x}}{{end}}{{$x}}`,
	`{{$x := list 1}}{{range 1000000}}{{$x = list $x}}{{end}}{{toJson $x}}`,
	`{{$x := list 1}}{{range 1000000}}{{$x = concat $x $x}}{{end}}`,
	`{{$x := list 1}}{{range 1000000}}{{$x = append $x 1}}{{end}}`,
	`{{$x := dict}}{{range 1000000}}{{$x = dict "a" $x "b" $x}}{{end}}`,
	`{{$x := dict}}{{$_ := set $x "a" $x}}{{$x}}`,
	`{{printf "%999999999d" 1}}`,
	`{{printf "%*d" 999999999 1}}`,
	`{{printf "%0999999d%0999999d%0999999d%0999999d" 1 2 3 4}}`,
	`{{print (repeat 1000000 "x") (repeat 1000000 "x")}}`,
	`{{replace "" (repeat 500000 "x") (repeat 500000 "y")}}`,
	`{{regexReplaceAll "" (repeat 60000 "y") (repeat 60000 "x")}}`,
	`{{regexMatch (repeat 999 "(a*)*") (repeat 60000 "a")}}`,
	`{{regexFindAll "a" (repeat 60000 "a") -1}}`,
	`{{join (repeat 100000 "x") (until 10000)}}`,
	`{{indent 999999999 "a\nb"}}`,
	`{{nindent 999999999 "a"}}`,
	`{{wrap 1 (repeat 1000000 "a ")}}`,
	`{{wrapWith 1 (repeat 10000 "a") (repeat 10000 "b")}}`,
	`{{repeat 100000 "x" | b64enc | b64enc | b64enc | b64enc | b64enc | b64enc | b64enc | b64enc | b64enc | b64enc}}`,
	`{{repeat 100000 "\"" | toJson | toJson | toJson | toJson | toJson | toJson | toJson | toJson | toJson}}`,
	`{{repeat 100000 "'" | squote | quote | html | js | urlquery | html | js | urlquery}}`,
	`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
	`{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`,
	`{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{end}}{{template "a"}}`,
	`{{define "a"}}{{range 99999999}}{{template "b"}}{{end}}{{end}}{{define "b"}}{{end}}{{template "a"}}`,
	`{{block "a" .}}{{template "a" .}}{{end}}`,
	`{{with $x := until 10000}}{{range $x}}{{range $x}}{{range $x}}{{end}}{{end}}{{end}}{{end}}`,
	`{{range split "" (repeat 100000 "x")}}{{range until 10000}}{{end}}{{end}}`,
	`{{range splitList "" (repeat 1000000 "x")}}{{.}}{{end}}`,
	`{{chunk 1 (until 10000) | toJson | repeat 100}}`,
	`{{genPrivateKey "rsa"}}`, `{{genCA "a" 1}}`, `{{derivePassword 1 "long" "a" "b" "c"}}`, `{{htpasswd "a" "b"}}`, `{{bcrypt "a"}}`,
	`{{env "HOME"}}`, `{{expandenv "$HOME"}}`, `{{getHostByName "localhost"}}`, `{{randBytes 99999999}}`, `{{randAlphaNum 99999999}}`,
	`{{shuffle (repeat 1000000 "x")}}`, `{{encryptAES "a" "b"}}`, `{{buildCustomCert "a" "b"}}`, `{{uuidv4}}`,
	`{{call .Values.a}}`, `{{.Values.a.b.c}}`, `{{index .Values "a" "b"}}`, `{{slice .Values.a 99999}}`,
	`{{.Run.ID.Foo}}`, `{{html (repeat 1000000 "<")}}`, `{{js (repeat 1000000 "<")}}`, `{{urlquery (repeat 1000000 "<")}}`,
	strings.Repeat(`{{if true}}`, 90000) + strings.Repeat(`{{end}}`, 1),
	strings.Repeat(`{{if true}}`, 50000) + strings.Repeat(`{{end}}`, 50000),
	`{{` + strings.Repeat(`(`, 1000000),
	`{{` + strings.Repeat(`(`, 400000) + "1" + strings.Repeat(`)`, 400000) + `}}`,
	`{{` + strings.Repeat(`1 | `, 250000) + `print}}`,
	`{{print ` + strings.Repeat(`"a" `, 200000) + `}}`,
	strings.Repeat(`{{`, 500000), strings.Repeat(`{{end}}`, 100000), strings.Repeat(`{{define "a"}}{{end}}`, 40000),
	strings.Repeat(`{{print 1}}`, 90000), strings.Repeat("{{/*", 200000), "{{/*" + strings.Repeat("x", 1000000),
	strings.Repeat("{{- \n -}}", 100000), strings.Repeat("{{else}}", 100000), `{{"` + strings.Repeat(`\x41`, 200000) + `"}}`,
	"version: v1.1.0\n" + strings.Repeat("$ID", 300000),
	"version: v1.1.0\nalias: {values: {a: " + strings.Repeat("x", 1000) + "}}\n" + strings.Repeat("$a", 300000),
	"version: v1.1.0\n" + strings.Repeat("$", 1000000),
	"version: v1.1.0\nalias: {values: {" + strings.Repeat("a: b, ", 150000) + "}}\n",
	"version: v1.1.0\nalias:\n  values:\n" + manyKeys(30000) + "x: $a1\n",
	"version: v1.1.0\nalias: " + strings.Repeat("[", 500000) + "\n",
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    a%d: b\n", i)
	}
	return b.String()
}

// TestHostileTemplates allows for ten times what is promised, 2 s and 256 MiB,
// in time: machines that run tests are busy.
func TestHostileTemplates(t *testing.T) {
	for i, src := range hostileTemplates {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			began := time.Now()
			r, err := Render("t", []byte(src), someValues)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			name := src[:min(len(src), 60)]
			if took > 20*time.Second {
				t.Errorf("%s: took %v", name, took)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 256<<20 {
				t.Errorf("%s: took %d MiB", name, grown>>20)
			}
			if err == nil && len(r.String()) > 2*maxRendered {
				t.Errorf("%s: rendered to %d bytes", name, len(r.String()))
			}
			if err != nil {
				checkFaults(t, src, err)
			}
			t.Logf("%v %d MiB %.60q: %.150v", took.Round(time.Millisecond), int64(after.Sys-before.Sys)>>20, name, err)
		})
	}
}
