package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"acrd/internal/source"
	"acrd/runner"
	"acrd/steps"

	"github.com/spf13/pflag"
)

// A preview reads a task file here, without a daemon: for run --dry-run,
// render and lint. Its flags are those of acb exec.
type preview struct {
	file, values, registry string
	cmd                    string
	set, setSecret, env    []string
	network                string
	strict                 bool
	run                    steps.RunValues
}

// define adds the flags that only a preview has.
func (p *preview) define(fs *pflag.FlagSet) {
	fs.StringVar(&p.run.ID, "id", "dryrun", "with --dry-run: id of the run")
	fs.StringVar(&p.run.TaskName, "name", "", "with --dry-run: name of the task")
	fs.StringVar(&p.run.Commit, "commit", "", "with --dry-run: commit of the source")
	fs.StringVar(&p.run.Repository, "repository", "", "with --dry-run: repository of the source")
	fs.StringVar(&p.run.Branch, "branch", "", "with --dry-run: branch of the source")
	fs.StringVar(&p.run.GitTag, "git-tag", "", "with --dry-run: git tag of the source")
	fs.StringVar(&p.run.TriggeredBy, "triggered-by", "", "with --dry-run: what started the run")
	fs.StringVar(&p.run.OSVersion, "os-version", "", "with --dry-run: version of the operating system")
	fs.StringVar(&p.network, "network", "", "with --dry-run: network that is there already and becomes the default")
	fs.StringArrayVar(&p.env, "env", nil, "with --dry-run: variable NAME=VALUE of every step (repeat)")
}

// defineFile adds the flags that acrd run has of its own.
func (p *preview) defineFile(fs *pflag.FlagSet) {
	fs.StringVarP(&p.file, "file", "f", "", "task file in the folder (default acb.yaml); - is standard input")
	fs.StringVar(&p.values, "values", "", "values file in the folder")
	fs.StringArrayVar(&p.set, "set", nil, "value NAME[=VALUE] for {{.Values.NAME}} (repeat)")
	fs.StringVarP(&p.registry, "registry", "r", "", "registry of the run, HOST[:PORT]")
}

// A previewed is a task file as it was read.
type previewed struct {
	name    string
	text    []byte
	values  steps.Values
	options steps.Options
}

// read gets the file, from a folder or, without one, by its name.
func (p *preview) read(s *session, where string) (*previewed, error) {
	open, done, err := p.opener(where)
	if err != nil {
		return nil, err
	}
	defer done()
	v := &previewed{name: cmp.Or(p.file, "acb.yaml"), options: steps.Options{Env: p.env, Network: p.network, Strict: p.strict}}
	switch {
	case p.cmd != "":
		v.name, v.text = "task.yaml", cmdTask(p.cmd, 0)
	case p.file == "-":
		v.name = "standard input"
		v.text, err = io.ReadAll(io.LimitReader(s.stdin, 2<<20))
	default:
		v.text, err = open(v.name)
	}
	if err != nil {
		return nil, err
	}
	v.values = steps.Values{Run: p.runValues(s)}
	if v.values.Values, err = p.readValues(open); err != nil {
		return nil, err
	}
	v.values.Alias = aliasReader(open)
	return v, nil
}

// readHidden does the same, and hides what the file declares as secret.
func (p *preview) readHidden(s *session, where string) (*previewed, error) {
	v, err := p.read(s, where)
	if err != nil {
		return nil, err
	}
	if err := v.hideSecrets(); err != nil {
		return nil, faultError(err)
	}
	return v, nil
}

// opener reads files of the folder, and for a source that only a daemon
// fetches, or none, files of this machine.
func (p *preview) opener(where string) (func(string) ([]byte, error), func(), error) {
	c, err := steps.ParseContext(where)
	if err != nil {
		return nil, nil, &usageError{err.Error()}
	}
	dir := where
	if c.Kind != steps.ContextLocal {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, &usageError{fmt.Sprintf("Source location %s should be a local directory path or remote URL.", where)}
	}
	return func(name string) ([]byte, error) {
		if c.Kind != steps.ContextLocal && filepath.IsAbs(name) {
			b, err := os.ReadFile(name)
			return b, err
		}
		b, err := runner.ReadFile(root, name)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("%s: %s", name, err)}
		}
		return b, nil
	}, func() { root.Close() }, nil
}

func (p *preview) runValues(s *session) steps.RunValues {
	v := p.run
	v.Registry = cmp.Or(runRegistry(p.registry), strings.Replace(cmp.Or(s.getenv("ACRD_LISTEN"), "localhost:5000"), "127.0.0.1:", "localhost:", 1))
	v.RegistryName = runner.RegistryName(v.Registry)
	v.Date, v.SharedVolume = steps.Date(time.Now()), "acb_vol_"+v.ID
	v.OS, v.Architecture = "linux", runtime.GOARCH
	return v
}

// readValues joins the values file and --set. Secret ones are not needed to
// see what would run.
func (p *preview) readValues(open func(string) ([]byte, error)) (map[string]any, error) {
	all := map[string]any{}
	if p.values != "" {
		b, err := open(p.values)
		if err != nil {
			return nil, err
		}
		if all, err = steps.ParseValues(p.values, b); err != nil {
			return nil, err
		}
	}
	for _, v := range p.set {
		name, value, err := splitSet(v)
		if err != nil {
			return nil, err
		}
		all[name] = value
	}
	for _, v := range p.setSecret {
		name, _, err := splitSet(v)
		if err != nil {
			return nil, err
		}
		all[name] = hidden
	}
	return all, nil
}

// hidden stands for a secret in what is printed.
const hidden = "***"

// splitSet reads NAME[=VALUE].
func splitSet(v string) (name, value string, err error) {
	name, value, _ = strings.Cut(v, "=")
	if name == "" {
		return "", "", &usageError{"failed to parse --set data; expected a key=val format"}
	}
	return name, value, nil
}

// aliasReader reads what "alias: src" names.
func aliasReader(open func(string) ([]byte, error)) func(string) ([]byte, error) {
	return func(src string) ([]byte, error) {
		if strings.Contains(src, "://") {
			return new(source.Fetcher).Text(context.Background(), src)
		}
		return open(src)
	}
}

// hideSecrets shows those that the file declares as hidden.
func (v *previewed) hideSecrets() error {
	declared, err := steps.DeclaredSecrets(v.name, v.text, v.values)
	v.values.Secrets = map[string]string{}
	for _, s := range declared {
		v.values.Secrets[s.ID] = hidden
	}
	return err
}

// dryRun is acrd run --dry-run.
func (p *preview) dryRun(s *session, where string, o *output) error {
	v, err := p.readHidden(s, where)
	if err != nil {
		return err
	}
	file, err := steps.Load(v.name, v.text, v.values, v.options)
	if err != nil {
		return faultError(err)
	}
	plan := file.Plan()
	switch *o {
	case "json": // in the order of the plan
		e := json.NewEncoder(s.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(plan)
	case "yaml":
		return o.print(s, plan, table{})
	}
	return printPlan(s.stdout, plan)
}

// A fileError is a task file that is wrong.
type fileError struct{ faults steps.Errors }

func (e *fileError) Error() string { return e.faults.Error() }
func (e *fileError) Unwrap() error { return errUsage }

// faultError makes a wrong file a wrong request.
func faultError(err error) error {
	if faults, ok := errors.AsType[steps.Errors](err); ok {
		return &fileError{faults}
	}
	return err
}

func printPlan(w io.Writer, p *steps.Plan) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "STEP\tAFTER\tTIMEOUT\tNETWORK\tDOES")
	for _, s := range p.Steps {
		after := strings.Join(s.When, ",")
		if s.Condition != "" {
			after += " (" + s.Condition + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", s.ID, cmp.Or(after, "-"), time.Duration(s.Timeout)*time.Second, cmp.Or(s.Network, "-"), does(s))
	}
	return t.Flush()
}

// does is one step in a line.
func does(s steps.PlanStep) string {
	switch {
	case s.Cmd != nil:
		words := []string{"cmd", s.Cmd.Image}
		for _, a := range s.Cmd.Args {
			words = append(words, quoteWord(a))
		}
		return strings.Join(words, " ")
	case s.Build != nil:
		words := []string{"build", "-f", s.Build.Dockerfile}
		for _, tag := range append(s.Build.Tags, s.Build.OtherTags...) {
			words = append(words, "-t", tag)
		}
		return strings.Join(append(words, s.Build.Context), " ")
	case s.Volume != nil:
		return "volume with " + strings.Join(s.Volume.Files, ", ")
	}
	return "push " + strings.Join(s.Push, " ")
}

// quoteWord shows where a word ends.
func quoteWord(w string) string {
	if w != "" && !strings.ContainsAny(w, " \t\n'\"\\$&|;<>()*?#`") {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
