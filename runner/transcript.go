package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"acrd/steps"
)

// A transcript writes a run's log in acb's form: its own lines with the time
// before them, and between them what containers print, as they print it. Where
// steps may run side by side, each of their lines begins with the step's id,
// so that they can be told apart.
type transcript struct {
	log      Log
	secrets  []string
	redactor *redactor

	mu       sync.Mutex // guards what follows, and the order of lines
	prefixed bool
	steps    map[string]*stepWriter
}

func newTranscript(log Log, run *Run) *transcript {
	t := &transcript{log: log, steps: map[string]*stepWriter{}}
	t.know(run.Request.secretTexts())
	return t
}

// know hides these texts from now on. It is for the time before steps run.
func (t *transcript) know(secrets []string) {
	t.secrets = append(t.secrets, secrets...)
	t.redactor = newRedactor(t.secrets)
}

// notice writes one line of our own.
func (t *transcript) notice(format string, args ...any) {
	line := time.Now().UTC().Format("2006/01/02 15:04:05 ") + fmt.Sprintf(format, args...) + "\n"
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.log.Write("", t.redactor.once([]byte(line)))
}

// arrange decides how output is told apart, before there is any.
func (t *transcript) arrange(file *steps.File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.prefixed = file.Parallel()
}

// step is where a step's output goes. It is safe for concurrent use.
func (t *transcript) step(id string) io.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, ok := t.steps[id]
	if !ok {
		w = &stepWriter{t: t, id: id, mask: t.redactor.stream()}
		if t.prefixed && id != "" {
			w.prefix = []byte(id + " | ")
		}
		t.steps[id] = w
	}
	return w
}

func (t *transcript) progress(id string) io.Writer { return progressWriter{t, id} }

type progressWriter struct {
	t  *transcript
	id string
}

func (w progressWriter) Write(b []byte) (int, error) {
	return len(b), w.t.log.Progress(w.id, w.t.redactor.once(b))
}

// flush writes what a step has left of an unfinished line.
func (t *transcript) flush(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, ok := t.steps[id]; ok {
		w.flush()
	}
}

// A stepWriter writes one step's output: whole lines with a prefix, or
// everything as it comes.
type stepWriter struct {
	t      *transcript
	id     string
	prefix []byte
	mask   *maskStream
	line   []byte // an unfinished line, if there is a prefix
}

// longestLine is where a line without end is broken.
const longestLine = 64 << 10

func (w *stepWriter) Write(b []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	return len(b), w.put(w.mask.next(b))
}

// put is called with the transcript locked.
func (w *stepWriter) put(b []byte) error {
	if w.prefix == nil {
		if len(b) == 0 {
			return nil
		}
		return w.t.log.Write(w.id, b)
	}
	var out []byte
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			end = len(b)
		}
		w.line = append(w.line, b[:end]...)
		b = b[end:]
		if w.line[len(w.line)-1] == '\n' || len(w.line) >= longestLine {
			out = append(out, w.prefix...)
			out = append(out, w.line...)
			if w.line[len(w.line)-1] != '\n' {
				out = append(out, '\n')
			}
			w.line = w.line[:0]
		}
	}
	if len(out) == 0 {
		return nil
	}
	return w.t.log.Write(w.id, out)
}

func (w *stepWriter) flush() {
	_ = w.put(w.mask.rest())
	if len(w.line) > 0 {
		_ = w.put([]byte("\n"))
	}
}

// setUp is what acb says before the first step.
func (t *transcript) setUp(run *Run, file *steps.File) {
	if file.Version >= "v1.1.0" {
		t.notice("Alias support enabled for version >= 1.1.0, please see https://aka.ms/acr/tasks/task-aliases for more information.")
	}
	for _, tag := range run.Request.adopted() {
		t.notice("%s names a registry that this run has no credential for: the image is %s", tag, run.Request.prefixed(tag))
	}
	for _, n := range file.Networks {
		if n.SkipCreation {
			t.notice("Skip creating network: %s", n.Name)
			continue
		}
		t.notice("Creating Docker network: %s, driver: '%s'", n.Name, n.Driver)
		t.notice("Successfully set up Docker network: %s", n.Name)
	}
	t.notice("Setting up Docker configuration...")
	t.notice("Successfully set up Docker configuration")
	for _, c := range run.Request.Credentials {
		t.notice("Logging in to registry: %s", c.Registry)
		t.notice("Successfully logged into %s", c.Registry)
	}
	for _, v := range file.Volumes {
		t.notice("Volume source %s successfully created", v.Name)
	}
}

// report is what acb says after the last step: how long each took, and what
// the images were built from.
func (t *transcript) report(run *Run) {
	for _, s := range run.Steps {
		t.notice("Step ID: %s marked as successful (elapsed time in seconds: %f)", s.ID, s.Finished.Sub(s.Started).Seconds())
	}
	deps := dependencies(run)
	if len(deps) == 0 {
		return
	}
	t.notice("The following dependencies were found:")
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.log.Write("", []byte("\n"+DependencyYAML(deps)+"\n"))
}

// end is the last line.
func (t *transcript) end(run *Run, err error) {
	took := run.Finished.Sub(run.Started).Round(time.Millisecond)
	switch {
	case err == nil:
		t.notice("Run ID: %s was successful after %v", run.ID, took)
	case run.Status == Canceled:
		t.notice("Run ID: %s was canceled after %v. Reason: %s", run.ID, took, err)
	default:
		t.notice("Run ID: %s failed after %v. Error: failed during run, err: %s", run.ID, took, reason(run, err))
	}
}

// reason adds the step to an error that does not say it.
func reason(run *Run, err error) string {
	if faults, ok := errors.AsType[steps.Errors](err); ok {
		if len(faults) == 1 {
			return "the task file has a fault, see above"
		}
		return fmt.Sprintf("the task file has %d faults, see above", len(faults))
	}
	if run.FailedStep != "" {
		return "step " + run.FailedStep + ": " + firstLine(err.Error())
	}
	return firstLine(err.Error())
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}
