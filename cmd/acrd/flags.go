package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// newFlags makes the flags of a command. Synopsis is what follows "acrd".
func newFlags(s *session, synopsis, description string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(synopsis, pflag.ContinueOnError)
	fs.SetOutput(s.stdout)
	fs.SortFlags = false
	fs.Usage = func() {
		if s.defined != nil {
			s.defined(fs)
			return
		}
		fmt.Fprintf(s.stdout, "Usage: acrd %s\n\n%s\n\nFlags:\n%s", synopsis, description, fs.FlagUsages())
	}
	return fs
}

// parse reads args and checks how many of them are not flags.
func parse(fs *pflag.FlagSet, args []string, least, most int) ([]string, error) {
	if err := fs.Parse(joinWords(fs, args)); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedName() == "query" {
			err = fmt.Errorf("%w: print JSON with -o json, and pick from it with jq", err)
		}
		return nil, &usageError{err.Error() + meantFlag(fs, err)}
	}
	rest := fs.Args()
	switch {
	case len(rest) < least:
		return nil, &usageError{fmt.Sprintf("an argument is missing: acrd %s", fs.Name())}
	case len(rest) > most:
		return nil, &usageError{fmt.Sprintf("too many arguments (%v): acrd %s", rest[most:], fs.Name())}
	}
	var needed []string
	fs.VisitAll(func(f *pflag.Flag) {
		if _, ok := f.Annotations[neededFlag]; ok {
			needed = append(needed, "--"+f.Name, f.Value.String())
		}
	})
	return rest, required(needed...)
}

// neededFlag annotates flags that a command does not go without.
const neededFlag = "needed"

// need has parse refuse a command line without these flags.
func need(fs *pflag.FlagSet, flags ...string) {
	for _, f := range flags {
		_ = fs.SetAnnotation(f, neededFlag, nil) // it is there
	}
}

// required refuses flags that were not given: it takes names and values.
func required(flags ...string) error {
	var missing []string
	for i := 0; i < len(flags); i += 2 {
		if flags[i+1] == "" {
			missing = append(missing, flags[i])
		}
	}
	switch last := len(missing) - 1; last {
	case -1:
		return nil
	case 0:
		return &usageError{"the flag " + missing[0] + " is missing"}
	default:
		return &usageError{"the flags " + strings.Join(missing[:last], ", ") + " and " + missing[last] + " are missing"}
	}
}

// meantFlag names the flag that was probably meant by one that there is not.
func meantFlag(fs *pflag.FlagSet, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return ""
	}
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	meant := closest(unknown.GetSpecifiedName(), names)
	if meant == "" {
		return ""
	}
	return ": did you mean --" + meant + "?"
}

// joinWords writes flags the way pflag reads them where az has another: yes or
// no may follow a flag as a word of its own, and several words a list.
func joinWords(fs *pflag.FlagSet, args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		name, ok := strings.CutPrefix(args[i], "--")
		f := fs.Lookup(name)
		if !ok || f == nil {
			out = append(out, args[i])
			continue
		}
		switch next := args[i+1:]; {
		case f.Value.Type() == "bool" && len(next) > 0 && isBool(next[0]):
			out = append(out, args[i]+"="+strings.ToLower(next[0]))
			i++
		case f.Value.Type() == "list" && len(next) > 0 && !strings.HasPrefix(next[0], "-"):
			for ; i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"); i++ {
				out = append(out, "--"+name+"="+args[i+1])
			}
		case f.Value.Type() == "words" && len(next) > 0 && !isFlag(next[0]):
			var words []string
			for ; i+1 < len(args) && !isFlag(args[i+1]); i++ {
				words = append(words, args[i+1])
			}
			out = append(out, "--"+name+"="+strings.Join(words, groupSeparator))
		default:
			out = append(out, args[i])
		}
	}
	return out
}

// isFlag says that a word is a flag, and not a number below zero.
func isFlag(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9') && word[1] != '.'
}

func isBool(word string) bool {
	return slices.Contains([]string{"true", "false"}, strings.ToLower(word))
}

// A wordList is a flag that several words may follow.
type wordList []string

func (l *wordList) String() string { return strings.Join(*l, " ") }
func (l *wordList) Type() string   { return "list" }
func (l *wordList) Set(v string) error {
	if v != "" {
		*l = append(*l, v)
	}
	return nil
}

// output is the flag -o.
type output string

// outputs are its values, but for text.
var outputs = []string{"table", "json", "yaml", "tsv"}

// outputFlag is for commands whose result is text: a log, a display.
func outputFlag(fs *pflag.FlagSet) *output {
	o := output("text")
	fs.VarP(&o, "output", "o", "what to print: text, table, json, yaml or tsv")
	return &o
}

// resultFlag is for commands whose result is a record or a list.
func resultFlag(fs *pflag.FlagSet) *output {
	o := output("table")
	fs.VarP(&o, "output", "o", "what to print: table, json, yaml or tsv")
	return &o
}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }
func (o *output) Set(v string) error {
	v = strings.ToLower(v)
	switch {
	case v == "jsonc", v == "yamlc": // az's, in colours
		v = strings.TrimSuffix(v, "c")
	case strings.Contains(v, "="):
		return fmt.Errorf("%q is what docker's --output takes, which only a build step of a task has; here it is one of text, %s", v, strings.Join(outputs, ", "))
	case v == "text" && *o == "table":
		return fmt.Errorf("%q is none of %s", v, strings.Join(outputs, ", "))
	case v != "text" && !slices.Contains(outputs, v):
		return fmt.Errorf("%q is none of text, %s", v, strings.Join(outputs, ", "))
	}
	*o = output(v)
	return nil
}

// document says that standard output is for the result alone.
func (o *output) document() bool { return *o != "text" }
