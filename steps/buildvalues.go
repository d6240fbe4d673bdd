package steps

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A keyValue is one field of a value like type=registry,ref=x.
type keyValue struct{ key, value string }

// keyValues reads docker's csv. A field without = has only a key.
func keyValues(v string) ([]keyValue, error) {
	if strings.ContainsAny(v, "\n\r") {
		return nil, fmt.Errorf("%q: has a line break", brief(v))
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return nil, fmt.Errorf("%q: want KEY=VALUE,KEY=VALUE", brief(v))
	}
	var all []keyValue
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		all = append(all, keyValue{strings.ToLower(strings.TrimSpace(key)), value})
	}
	return all, nil
}

// platforms reads linux/amd64,linux/arm64.
func platforms(into *[]string) func(string) error {
	return func(v string) error {
		for one := range strings.SplitSeq(v, ",") {
			one = strings.TrimSpace(one)
			if err := checkPlatform(one); err != nil {
				return err
			}
			*into = append(*into, one)
		}
		return nil
	}
}

func onePlatform(into *string) func(string) error {
	return func(v string) error {
		*into = v
		return checkPlatform(v)
	}
}

var platformSyntax = pattern(`^[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+){0,2}$`)

// processors may stand for linux on them.
var processors = []string{
	"386", "amd64", "arm", "arm64", "armhf", "armel", "aarch64", "i386", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x", "x86_64",
}

// checkPlatform reads OS/ARCH[/VARIANT], or one of the two. A $NAME may be
// anything.
func checkPlatform(v string) error {
	if unsettled(v) {
		return nil
	}
	system, _, both := strings.Cut(v, "/")
	system = strings.ToLower(system)
	switch {
	case !platformSyntax().MatchString(v):
		return fmt.Errorf("%q is not a platform: want OS/ARCH[/VARIANT], as in linux/arm64", brief(v))
	case system == "linux", !both && slices.Contains(processors, system):
		return nil
	case system == "windows":
		return fmt.Errorf("%q needs Windows: acrd builds and runs for Linux", brief(v))
	case system == "local":
		return errors.New("local is this host's platform: leave it out")
	}
	return fmt.Errorf("%q is not a platform of Linux: want linux/ARCH[/VARIANT]", brief(v))
}

// checkLabel reads KEY[=VALUE].
func checkLabel(v string) error {
	key, _, _ := strings.Cut(v, "=")
	return checkName(key)
}

var annotationKinds = []string{"index", "index-descriptor", "manifest", "manifest-descriptor"}

// annotation reads [KIND[,KIND]:]KEY=VALUE, where a kind may have [PLATFORM]
// behind it, and keeps one kind each.
func annotation(into *[]string) func(string) error {
	return func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		kinds, name, kinded := strings.Cut(key, ":")
		if !kinded || !isKinds(kinds) {
			kinds, name = "", key
		}
		if err := checkName(name); err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%q: want KEY=VALUE", brief(v))
		}
		for kind := range strings.SplitSeq(kinds, ",") {
			if kind != "" {
				kind += ":"
			}
			*into = append(*into, kind+name+"="+value)
		}
		return nil
	}
}

func isKinds(kinds string) bool {
	for kind := range strings.SplitSeq(kinds, ",") {
		kind, platform, _ := strings.Cut(kind, "[")
		if !slices.Contains(annotationKinds, kind) || platform != "" && !strings.HasSuffix(platform, "]") {
			return false
		}
	}
	return true
}

// cache reads type=registry,ref=... or a bare reference, and keeps what has no
// quotes in it.
func cache(into *[]string, keys ...string) func(string) error {
	return func(v string) error {
		fields, err := keyValues(v)
		if err != nil {
			return err
		}
		if len(fields) == 1 && fields[0].value == "" && !strings.Contains(v, "=") {
			fields = []keyValue{{"type", "registry"}, {"ref", v}}
		}
		if err := checkCache(fields, keys); err != nil {
			return err
		}
		*into = append(*into, joined(fields))
		return nil
	}
}

func checkCache(fields []keyValue, keys []string) error {
	kind, ref := "registry", ""
	for _, f := range fields {
		switch {
		case f.key == "type":
			kind = f.value
		case f.key == "ref":
			ref = f.value
		case !slices.Contains(keys, f.key):
			return fmt.Errorf("has no field %q", brief(f.key))
		case f.key == "mode" && f.value != "min" && f.value != "max":
			return fmt.Errorf("mode=%s: want min or max", brief(f.value))
		}
		if strings.Contains(f.value, ",") {
			return fmt.Errorf("%s=%s: a comma cannot be in it", f.key, brief(f.value))
		}
	}
	switch {
	case kind == "inline" && slices.Contains(keys, "mode"):
		return nil
	case kind != "registry":
		return fmt.Errorf("type=%s is not supported: the engine keeps a cache of its own; type=registry,ref=IMAGE shares one", brief(kind))
	case ref == "":
		return errors.New("type=registry needs ref=IMAGE")
	}
	return checkReferences([]string{ref})
}

// joined is the csv of fields that need no quotes.
func joined(fields []keyValue) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.key + "=" + f.value
	}
	return strings.Join(parts, ",")
}

// attest reads type=sbom|provenance and fields of theirs.
func attest(into *[]string) func(string) error {
	return func(v string) error {
		fields, err := keyValues(v)
		if err != nil {
			return err
		}
		kind := ""
		var others []keyValue
		for _, f := range fields {
			if f.key == "type" {
				kind = f.value
				continue
			}
			others = append(others, f)
		}
		return addAttest(into, kind, others)
	}
}

// shorthand is --sbom and --provenance: a switch that may have fields.
func shorthand(into *[]string, kind string) flag {
	set := func(v string) error {
		if on, err := strconv.ParseBool(v); err == nil {
			return addAttest(into, kind, []keyValue{{"disabled", strconv.FormatBool(!on)}})
		}
		fields, err := keyValues(v)
		if err != nil {
			return err
		}
		return addAttest(into, kind, fields)
	}
	return flag{isSwitch: true, set: set, answers: func(word string) bool {
		_, err := strconv.ParseBool(word)
		key, _, ok := strings.Cut(word, "=")
		return err == nil || ok && slices.Contains(attestFields[kind], key)
	}}
}

var attestFields = map[string][]string{
	"sbom":       {"generator", "disabled"},
	"provenance": {"mode", "builder-id", "filename", "reproducible", "inline-only", "version", "disabled"},
}

// addAttest keeps "type=KIND,..." once for each kind: the last one counts, and
// none if that is disabled.
func addAttest(into *[]string, kind string, fields []keyValue) error {
	known, ok := attestFields[kind]
	if !ok {
		return fmt.Errorf("type=%s: want type=sbom or type=provenance", brief(kind))
	}
	disabled := false
	var spec strings.Builder
	spec.WriteString("type=" + kind)
	for _, f := range fields {
		switch {
		// The generator of an SBOM takes parameters of its own.
		case !slices.Contains(known, f.key) && kind == "provenance" || f.key == "" || strings.Contains(f.value, ","):
			return fmt.Errorf("has no field %q", brief(f.key+"="+f.value))
		case f.key == "mode" && f.value != "min" && f.value != "max":
			return fmt.Errorf("mode=%s: want min or max", brief(f.value))
		case f.key == "disabled":
			off, err := strconv.ParseBool(f.value)
			if err != nil {
				return fmt.Errorf("disabled=%s: want true or false", brief(f.value))
			}
			disabled = off
		default:
			spec.WriteString("," + f.key + "=" + f.value)
		}
	}
	*into = slices.DeleteFunc(*into, func(other string) bool { return other == "type="+kind || strings.HasPrefix(other, "type="+kind+",") })
	if !disabled {
		*into = append(*into, spec.String())
	}
	return nil
}

// namedContext reads NAME=VALUE: a folder, an image or a URL.
func namedContext(v string) error {
	name, value, ok := strings.Cut(v, "=")
	if !ok || name == "" || value == "" {
		return fmt.Errorf("%q: want NAME=VALUE", brief(v))
	}
	scheme, rest, _ := strings.Cut(value, "://")
	switch {
	case scheme == "docker-image":
		return checkReferences([]string{rest})
	case rest != "" && (scheme == "https" || scheme == "http" || scheme == "git"):
		return nil
	case rest != "", strings.HasPrefix(value, "target:"), strings.HasPrefix(value, "input:"):
		return fmt.Errorf("%s is not supported: want a folder, docker-image://IMAGE, or an https URL", brief(value))
	case strings.HasPrefix(value, "git@"):
		return fmt.Errorf("%s is not supported: write https://", brief(value))
	}
	return nil
}
