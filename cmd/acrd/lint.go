package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"acrd/steps"
)

// A finding is what acrd lint -o json says of one place.
type finding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity"` // error or warning
	Rule     string `json:"rule,omitempty"`
	Message  string `json:"message"`
}

// lint is acrd lint. Faults make it fail, and with --strict warnings too.
func lint(_ context.Context, s *session, args []string) error {
	fs := newFlags(s, "lint [FLAGS] [FOLDER]", `Say what is wrong, or probably not meant, in a task file.

Errors are what a run would be refused for. Warnings are about what is valid and
yet suspicious: keys that nobody reads, floating tags, steps that can never run.
The file is read from the folder, here by default; neither a daemon nor root is
needed. The exit code is 0 without errors, and 2 otherwise.`)
	p := &preview{}
	p.defineFile(fs)
	strict := fs.Bool("strict", false, "warnings are errors too")
	p.define(fs)
	o := outputFlag(fs)
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return err
	}
	v, err := p.readHidden(s, firstOr(rest, "."))
	if err != nil {
		return err
	}
	warnings, err := steps.LintFile(v.name, v.text, v.values, v.options)
	faults, ok := errors.AsType[steps.Errors](err)
	if err != nil && !ok {
		return err
	}
	if err := printFindings(s, o, faults, warnings); err != nil {
		return err
	}
	if len(faults) > 0 || *strict && len(warnings) > 0 {
		return errFindings
	}
	return nil
}

// errFindings says that the file is wrong, and that the user has been told.
var errFindings = errors.Join(errUsage, errUnsuccessful)

func printFindings(s *session, o *output, faults steps.Errors, warnings []steps.Warning) error {
	if o.document() {
		all := []finding{}
		for _, f := range faults {
			all = append(all, finding{f.File, f.Line, f.Column, "error", "", f.Msg})
		}
		for _, w := range warnings {
			all = append(all, finding{w.Fault.File, w.Fault.Line, w.Fault.Column, "warning", w.Rule, w.Fault.Msg})
		}
		t := table{head: []string{"FILE", "LINE", "COLUMN", "SEVERITY", "RULE", "MESSAGE"}}
		for _, f := range all {
			t.add(f.File, strconv.Itoa(f.Line), strconv.Itoa(f.Column), f.Severity, f.Rule, f.Message)
		}
		return o.print(s, all, t)
	}
	for _, f := range faults {
		fmt.Fprintln(s.stdout, f)
	}
	for _, w := range warnings {
		fmt.Fprintln(s.stdout, w)
	}
	if len(faults)+len(warnings) == 0 {
		fmt.Fprintln(s.stdout, "no faults")
		return nil
	}
	fmt.Fprintf(s.stdout, "%d errors, %d warnings\n", len(faults), len(warnings))
	return nil
}
