package steps

import (
	"errors"
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
	// answers, if not nil, makes a switch take the word after it too, if
	// that is an answer to it.
	answers func(word string) bool
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

// list keeps every value that check, if there is one, has nothing against.
func (fs flagSet) list(into *[]string, check func(string) error, names ...string) {
	fs.value(func(v string) error {
		if check != nil && !unsettled(v) {
			if err := check(v); err != nil {
				return err
			}
		}
		*into = append(*into, v)
		return nil
	}, names...)
}

func (fs flagSet) toggle(into *bool, names ...string) {
	fs.names(flag{isSwitch: true, set: func(v string) (err error) { *into, err = parseSwitch(v); return err }}, names...)
}

// ignoredSwitch are switches that change nothing here.
func (fs flagSet) ignoredSwitch(names ...string) {
	fs.names(flag{isSwitch: true, set: func(v string) error { _, err := parseSwitch(v); return err }}, names...)
}

func parseSwitch(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1", "t":
		return true, nil
	case "false", "0", "f":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", brief(v))
}

func (fs flagSet) ignored(names ...string) {
	fs.value(func(string) error { return nil }, names...)
}

// refused are flags that cannot be honoured; instead says what to do.
func (fs flagSet) refused(instead string, names ...string) {
	fs.value(func(string) error { return fmt.Errorf("is not supported: %s", instead) }, names...)
}

// refusedSwitch are switches that must stay off.
func (fs flagSet) refusedSwitch(instead string, names ...string) {
	fs.names(flag{isSwitch: true, set: func(v string) error {
		if on, err := parseSwitch(v); !on || err != nil {
			return err
		}
		return fmt.Errorf("is not supported: %s", instead)
	}}, names...)
}

// parse sets flags from words and returns the other words. With
// interspersed, flags may come after them; without, the first word that is not
// a flag ends the flags. It goes on after a fault, so that all are found.
func (fs flagSet) parse(words []word, interspersed bool) (rest []word, faults lineErrors) {
	for len(words) > 0 && len(faults) < maxLineErrors {
		w := words[0]
		words = words[1:]
		switch {
		case w.text == "--":
			return append(rest, allPlain(words)...), faults
		case len(w.text) > 1 && w.text[0] == '-':
			words = fs.one(w, words, &faults)
		default:
			rest = append(rest, w.plain())
			if !interspersed {
				return append(rest, allPlain(words)...), faults
			}
		}
	}
	return rest, faults
}

// one sets the flag or flags in w and returns what is left of the words.
func (fs flagSet) one(w word, words []word, faults *lineErrors) []word {
	name, value, given := strings.Cut(w.text, "=")
	if !strings.HasPrefix(w.text, "--") {
		return fs.letters(w, words, faults)
	}
	f, ok := fs[name]
	switch {
	case !ok:
		return fs.unknown(w, name, words, faults)
	case !given:
		return fs.bare(f, w, name, words, faults)
	}
	f.apply(w, name, value, faults)
	return words
}

// letters are one-letter flags in one word: switches, and at most one flag at
// the end that takes the rest of the word, or the next word, as its value.
func (fs flagSet) letters(w word, words []word, faults *lineErrors) []word {
	for i := 1; i < len(w.text); i++ {
		name := "-" + w.text[i:i+1]
		f, ok := fs[name]
		switch after := w.text[i+1:]; {
		case !ok:
			return fs.unknown(w, w.text, words, faults)
		case f.isSwitch && !strings.HasPrefix(after, "="):
			f.apply(w, name, "true", faults)
		case after == "":
			return fs.bare(f, w, name, words, faults)
		default:
			f.apply(w, name, strings.TrimPrefix(after, "="), faults)
			return words
		}
		if len(*faults) >= maxLineErrors {
			break
		}
	}
	return words
}

// bare is a flag without "=": its value, if it takes one, is the next word.
func (fs flagSet) bare(f flag, w word, name string, words []word, faults *lineErrors) []word {
	switch {
	case f.isSwitch && (f.answers == nil || len(words) == 0 || !f.answers(words[0].text)):
		f.apply(w, name, "true", faults)
		return words
	case len(words) == 0:
		faults.add(w.at, "flag needs a value: %s", name)
		return nil
	}
	f.apply(w, name, words[0].text, faults)
	return words[1:]
}

func (f flag) apply(w word, name, value string, faults *lineErrors) {
	err := f.set(w.marks.all(value))
	if err == nil {
		return
	}
	if strings.ContainsRune(value, markWord) && !f.always(err) {
		err = errNotTaken
	}
	faults.add(w.at, "%s %s", name, err)
}

// always says that a flag is refused with any value, so that the error has
// nothing of it.
func (f flag) always(err error) bool {
	other := f.set("")
	return other != nil && other.Error() == err.Error()
}

// errNotTaken is said of a value that may be a secret.
var errNotTaken = errors.New("does not take what a template has put there")

func allPlain(words []word) []word {
	all := make([]word, len(words))
	for i, w := range words {
		all[i] = w.plain()
	}
	return all
}

// unknown is a flag that nobody has heard of. A word that looks like its value
// goes with it, lest it be reported as something else.
func (fs flagSet) unknown(w word, name string, words []word, faults *lineErrors) []word {
	name, _, _ = strings.Cut(name, "=")
	if _, ok := fs["-"+name]; ok {
		faults.add(w.at, "unknown flag: %s: write -%s", name, name)
	} else {
		faults.add(w.at, "unknown flag: %s", brief(name))
	}
	if len(words) > 1 && !strings.Contains(w.text, "=") && !strings.HasPrefix(words[0].text, "-") {
		return words[1:]
	}
	return words
}

// unsettled says that a value cannot be judged yet: in it is a $NAME that no
// alias has replaced.
func unsettled(v string) bool { return strings.Contains(v, "$") }
