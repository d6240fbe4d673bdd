package steps

import (
	"fmt"
	"strings"
)

// A flagSet is the flags of a docker command line: what each one does with its
// value. It reads them as docker does: --name value, --name=value, -n value,
// -nvalue, several one-letter switches in one word, and -- as the end.
type flagSet map[string]flag

// A flag is one flag, by one of its names.
type flag struct {
	// set takes the value. A switch gets "true" or what follows its "=".
	set func(value string) error
	// isSwitch says that the value, if any, comes after "=".
	isSwitch bool
}

// names registers one flag under several names.
func (fs flagSet) names(f flag, names ...string) {
	for _, n := range names {
		fs[n] = f
	}
}

func (fs flagSet) value(set func(string) error, names ...string) {
	fs.names(flag{set: set}, names...)
}

func (fs flagSet) text(into *string, names ...string) {
	fs.value(func(v string) error { *into = v; return nil }, names...)
}

func (fs flagSet) list(into *[]string, names ...string) {
	fs.value(func(v string) error { *into = append(*into, v); return nil }, names...)
}

func (fs flagSet) toggle(into *bool, names ...string) {
	fs.names(flag{isSwitch: true, set: func(v string) error {
		switch strings.ToLower(v) {
		case "true", "1", "t":
			*into = true
		case "false", "0", "f":
			*into = false
		default:
			return fmt.Errorf("%q is neither true nor false", v)
		}
		return nil
	}}, names...)
}

// ignored are switches that change nothing here.
func (fs flagSet) ignoredSwitch(names ...string) {
	fs.names(flag{isSwitch: true, set: func(string) error { return nil }}, names...)
}

func (fs flagSet) ignored(names ...string) {
	fs.names(flag{set: func(string) error { return nil }}, names...)
}

// refused are flags that cannot be honoured; instead says what to do.
func (fs flagSet) refused(instead string, names ...string) {
	fs.names(flag{set: func(string) error { return fmt.Errorf("is not supported: %s", instead) }}, names...)
}

func (fs flagSet) refusedSwitch(instead string, names ...string) {
	fs.names(flag{isSwitch: true, set: func(string) error { return fmt.Errorf("is not supported: %s", instead) }}, names...)
}

// parse sets flags from words and returns the other words. With
// interspersed, flags may come after them; without, the first word that is not
// a flag ends the flags.
func (fs flagSet) parse(words []string, interspersed bool) (rest []string, err error) {
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch {
		case w == "--":
			return append(rest, words...), nil
		case w == "-" || !strings.HasPrefix(w, "-"):
			rest = append(rest, w)
			if !interspersed {
				return append(rest, words...), nil
			}
			continue
		}
		if words, err = fs.one(w, words); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// one sets the flag or flags in w and returns what is left of the words.
func (fs flagSet) one(w string, words []string) ([]string, error) {
	name, value, given := strings.Cut(w, "=")
	if !strings.HasPrefix(w, "--") && len(name) > 2 {
		if f, ok := fs[w[:2]]; ok {
			return fs.cluster(f, w, words)
		}
	}
	f, ok := fs[name]
	if !ok {
		return nil, fmt.Errorf("unknown flag: %s", name)
	}
	if !given {
		switch {
		case f.isSwitch:
			value = "true"
		case len(words) == 0:
			return nil, fmt.Errorf("flag needs a value: %s", name)
		default:
			value, words = words[0], words[1:]
		}
	}
	if err := f.set(value); err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return words, nil
}

// cluster is -tvalue, or -xyz for switches x and y and a flag z.
func (fs flagSet) cluster(f flag, w string, words []string) ([]string, error) {
	if !f.isSwitch {
		if err := f.set(strings.TrimPrefix(w[2:], "=")); err != nil {
			return nil, fmt.Errorf("%s %w", w[:2], err)
		}
		return words, nil
	}
	if err := f.set("true"); err != nil {
		return nil, fmt.Errorf("%s %w", w[:2], err)
	}
	return fs.one("-"+w[2:], words)
}
