package steps

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"text/template"
	"unicode"

	"github.com/Masterminds/sprig/v3"
)

// sprigFunctions are all that acb's templates may call.
var sprigFunctions = sprig.TxtFuncMap()

// pureFunctions are those of them whose result depends on their arguments
// alone, and those that tell the time. What is left out reads the daemon's
// environment or the network, draws random numbers, makes keys, hashes
// passwords, or changes what it is given.
var pureFunctions = strings.Fields(`
	ago date date_in_zone date_modify dateInZone dateModify duration durationRound htmlDate htmlDateInZone
	must_date_modify mustDateModify mustToDate now toDate unixEpoch
	abbrev abbrevboth trunc trim upper lower title untitle substr repeat trimall trimAll trimSuffix trimPrefix
	nospace initials swapcase snakecase camelcase kebabcase wrap wrapWith contains hasPrefix hasSuffix quote
	squote cat indent nindent replace plural sha1sum sha256sum sha512sum adler32sum toString atoi int64 int
	float64 seq toDecimal split splitList splitn toStrings until untilStep add1 add sub div mod mul add1f addf
	subf divf mulf biggest max min maxf minf ceil floor round join sortAlpha default empty coalesce all any
	compact mustCompact fromJson toJson toPrettyJson toRawJson mustFromJson mustToJson mustToPrettyJson
	mustToRawJson ternary deepCopy mustDeepCopy typeOf typeIs typeIsLike kindOf kindIs deepEqual
	base dir clean ext isAbs osBase osClean osDir osExt osIsAbs b64dec b32enc b32dec
	tuple list dict get hasKey pluck keys pick omit values append mustAppend prepend mustPrepend first mustFirst
	rest mustRest last mustLast initial mustInitial reverse mustReverse uniq mustUniq without mustWithout has
	mustHas slice mustSlice concat dig chunk mustChunk semver semverCompare fail
	regexMatch mustRegexMatch regexFindAll mustRegexFindAll regexFind mustRegexFind regexReplaceAll
	mustRegexReplaceAll regexReplaceAllLiteral mustRegexReplaceAllLiteral regexSplit mustRegexSplit
	regexQuoteMeta urlParse urlJoin hello`)

// functions is what the templates of a file may call, each within the budget.
func (x *executor) functions() template.FuncMap {
	all := template.FuncMap{}
	for _, name := range pureFunctions {
		all[name] = sprigFunctions[name]
	}
	all["b64enc"] = base64Encode
	// text/template's own, but counted
	maps.Copy(all, map[string]any{
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": fmt.Sprintf,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
	})
	for name, f := range all {
		all[name] = x.guarded(name, f)
	}
	maps.Copy(all, x.hooks())
	return all
}

// base64Encode is how a secret gets into a volume; none is an empty file.
func base64Encode(v any) string {
	if v == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(fmt.Append(nil, v))
}

// guarded wraps f so that it counts, and refuses, what could become too much.
func (x *executor) guarded(name string, f any) any {
	inner := reflect.ValueOf(f)
	t := inner.Type()
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		if err := x.admit(name, args); err != nil {
			panic(err) // text/template makes it the error of the call
		}
		var out []reflect.Value
		if t.IsVariadic() {
			out = inner.CallSlice(args)
		} else {
			out = inner.Call(args)
		}
		n, err := weighValue(out[0], 0)
		if x.budget.made += n; err == nil && x.budget.made > maxMadeStrings {
			err = errTooMuch
		}
		if err != nil {
			panic(err)
		}
		return out
	}).Interface()
}

// admit looks at the arguments before a call.
func (x *executor) admit(name string, args []reflect.Value) error {
	if err := x.budget.tick(); err != nil {
		return err
	}
	total := 0
	for _, a := range args {
		n, err := weighValue(a, 0)
		if err != nil {
			return err
		}
		total += n
	}
	if total > maxRendered {
		return errTooMuch
	}
	if check := multipliers[name]; check != nil {
		return check(args)
	}
	if strings.Contains(strings.ToLower(name), "regex") && (total > maxRegexInput || args[0].Len() > maxPattern) {
		return errRegex
	}
	return nil
}

const (
	maxRegexInput = 64 << 10
	maxPattern    = 1000
	maxListLength = 10_000
)

var errRegex = limit("a regular expression of more than %d characters, or on a text of more than %d KiB", maxPattern, maxRegexInput>>10)

// multipliers are the functions whose result can be much longer than what
// they are given, and what may be asked of them.
var multipliers = map[string]func(args []reflect.Value) error{
	"repeat":          func(a []reflect.Value) error { return product(integerOf(a[0]), a[1].Len()) },
	"indent":          func(a []reflect.Value) error { return product(integerOf(a[0])+1, a[1].Len()) },
	"nindent":         func(a []reflect.Value) error { return product(integerOf(a[0])+1, a[1].Len()) },
	"replace":         func(a []reflect.Value) error { return product(a[1].Len()+1, a[2].Len()+1) },
	"wrapWith":        func(a []reflect.Value) error { return product(a[1].Len()+1, a[2].Len()+1) },
	"join":            func(a []reflect.Value) error { return product(a[0].Len()+1, length(a[1])+1) },
	"until":           func(a []reflect.Value) error { return atMost(integerOf(a[0])) },
	"untilStep":       func(a []reflect.Value) error { return steps3(integerOf(a[0]), integerOf(a[1]), integerOf(a[2])) },
	"seq":             func(a []reflect.Value) error { return seqLength(a[0]) },
	"printf":          func(a []reflect.Value) error { return widths(a[0].String(), a[1]) },
	"regexReplaceAll": replacement, "regexReplaceAllLiteral": replacement,
	"mustRegexReplaceAll": replacement, "mustRegexReplaceAllLiteral": replacement,
}

// replacement bounds a pattern, a text, and what each match becomes.
func replacement(a []reflect.Value) error {
	if a[0].Len() > maxPattern || a[1].Len() > maxRegexInput {
		return errRegex
	}
	return product(a[1].Len()+1, a[2].Len()+1)
}

func product(a, b int) error {
	if a > 0 && b > maxRendered/a {
		return errTooMuch
	}
	return nil
}

func atMost(n int) error {
	if n > maxListLength || n < -maxListLength {
		return limit("a list of more than %d numbers", maxListLength)
	}
	return nil
}

func steps3(from, to, by int) error {
	if by == 0 {
		return limit("a step of 0")
	}
	return atMost((to - from) / by)
}

// seqLength bounds what "seq first [step] last" makes.
func seqLength(args reflect.Value) error {
	var n []int
	for i := range args.Len() {
		n = append(n, integerOf(args.Index(i)))
	}
	switch len(n) {
	case 1:
		return atMost(n[0])
	case 2:
		return atMost(n[1] - n[0])
	case 3:
		return steps3(n[0], n[2], n[1])
	}
	return nil
}

// integerOf is an argument as sprig reads it, and 0 if it is none.
func integerOf(v reflect.Value) int {
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case v.CanInt():
		return clamp(float64(v.Int()))
	case v.CanUint():
		return clamp(float64(v.Uint()))
	case v.CanFloat():
		return clamp(v.Float())
	case v.Kind() == reflect.String:
		var f float64
		_, _ = fmt.Sscan(v.String(), &f)
		return clamp(f)
	}
	return 0
}

func clamp(f float64) int {
	const most = 1 << 40
	return int(min(max(f, -most), most))
}

// length is that of a list or text behind an interface.
func length(v reflect.Value) int {
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array, reflect.String, reflect.Map:
		return v.Len()
	}
	return 0
}

// widths adds up the widths that a format asks for.
func widths(format string, args reflect.Value) error {
	total, n := 0, 0
	for _, r := range format {
		if !unicode.IsDigit(r) {
			total, n = total+n, 0
			continue
		}
		n = min(n*10+int(r-'0'), maxRendered)
	}
	for range strings.Count(format, "*") {
		for i := range args.Len() {
			total += max(integerOf(args.Index(i)), 0)
		}
	}
	verbs := strings.Count(format, "%")
	weight, err := weighValue(args, 0)
	if err != nil {
		return err
	}
	if total+n > maxRendered {
		return errTooMuch
	}
	return product(verbs, min(weight, maxRendered)/8) // %[1]s may repeat an argument
}
