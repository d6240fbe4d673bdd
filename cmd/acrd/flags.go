package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
)

// newFlags makes the flags of a command. Synopsis is what follows "acrd".
func newFlags(s *session, synopsis, description string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(synopsis, pflag.ContinueOnError)
	fs.SetOutput(s.stdout)
	fs.SortFlags = false
	fs.Usage = func() {
		fmt.Fprintf(s.stdout, "Usage: acrd %s\n\n%s\n\nFlags:\n%s", synopsis, description, fs.FlagUsages())
	}
	return fs
}

// parse reads args and checks how many of them are not flags.
func parse(fs *pflag.FlagSet, args []string, least, most int) ([]string, error) {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, err
		}
		return nil, &usageError{err.Error()}
	}
	rest := fs.Args()
	switch {
	case len(rest) < least:
		return nil, &usageError{fmt.Sprintf("an argument is missing: acrd %s", fs.Name())}
	case len(rest) > most:
		return nil, &usageError{fmt.Sprintf("too many arguments (%v): acrd %s", rest[most:], fs.Name())}
	}
	return rest, nil
}

// output is the flag -o.
type output string

func outputFlag(fs *pflag.FlagSet) *output {
	o := output("text")
	fs.VarP(&o, "output", "o", "what to print: text, table or json")
	return &o
}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }
func (o *output) Set(v string) error {
	if !slices.Contains([]string{"text", "table", "json"}, v) {
		return fmt.Errorf("%q is none of text, table, json", v)
	}
	*o = output(v)
	return nil
}

func (o *output) json() bool { return *o == "json" }

// document says that standard output is for the result alone.
func (o *output) document() bool { return *o == "json" || *o == "table" }
