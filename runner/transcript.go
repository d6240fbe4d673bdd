package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"acrd/runner/mask"
	"acrd/steps"
)

// A transcript writes a run's log in acb's form: its own lines with the time
// before them, and between them what containers print, as they print it. Where
// steps may run side by side, each of their lines begins with the step's id,
// so that they can be told apart. No secret of the run is in what it writes.
type transcript struct {
	log     Log
	secrets []string
	masker  *mask.Masker

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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secrets = append(t.secrets, secrets...)
	t.masker = mask.New(t.secrets)
	for _, w := range t.steps {
		_ = w.put(w.mask.Rest())
		w.mask = t.masker.Stream()
	}
}

// notice writes one line of our own.
func (t *transcript) notice(format string, args ...any) {
	line := time.Now().UTC().Format(timeFormat) + fmt.Sprintf(format, args...) + "\n"
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.log.Write("", t.masker.Text([]byte(line)))
}

const timeFormat = "2006/01/02 15:04:05 "

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
		w = &stepWriter{t: t, id: id, mask: t.masker.Stream(), left: math.MaxInt64}
		switch {
		case id == "":
			w.left = mostOfSource
		case t.prefixed:
			w.prefix = []byte(id + " | ")
		}
		t.steps[id] = w
	}
	return w
}

// flush writes what a step has left of an unfinished line, and says that it
// has ended.
func (t *transcript) flush(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w, ok := t.steps[id]; ok {
		w.flush()
	}
	_ = t.log.End(id)
}

const (
	// longestLine is where a line without end is broken.
	longestLine = 64 << 10
	// mostOfSource is how much what fetches the source may print. Steps have
	// the log's own limit.
	mostOfSource = 1 << 20
)

// A stepWriter writes one step's output, masked: whole lines with a prefix, or
// everything as it comes.
type stepWriter struct {
	t      *transcript
	id     string
	prefix []byte
	mask   *mask.Stream
	left   int64  // how much more is written
	column int    // length of the line that is being written
	line   []byte // that line, if there is a prefix
	out    []byte
}

func (w *stepWriter) Write(b []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	return len(b), w.put(w.mask.Next(b))
}

// put is called with the transcript locked.
func (w *stepWriter) put(b []byte) error {
	if w.left < 0 {
		return nil
	}
	if w.left -= int64(len(b)); w.left < 0 {
		b = []byte("[what follows is left out]\n")
	}
	w.out = w.out[:0]
	switch {
	case w.prefix != nil:
		w.putLines(b)
	case w.column+len(b) <= longestLine:
		w.column += len(b)
		if end := bytes.LastIndexByte(b, '\n'); end >= 0 {
			w.column = len(b) - end - 1
		}
		w.out = append(w.out, b...)
	default:
		for len(b) > 0 {
			var part []byte
			var broken bool
			part, b, broken = w.cut(b)
			w.out = append(w.out, part...)
			if broken {
				w.out = append(w.out, '\n')
			}
		}
	}
	if len(w.out) == 0 {
		return nil
	}
	return w.t.log.Write(w.id, w.out)
}

func (w *stepWriter) putLines(b []byte) {
	for len(b) > 0 {
		var part []byte
		var broken bool
		part, b, broken = w.cut(b)
		w.line = append(w.line, part...)
		if w.column > 0 {
			return // more of the line may come
		}
		w.out = append(append(w.out, w.prefix...), w.line...)
		if broken {
			w.out = append(w.out, '\n')
		}
		w.line = w.line[:0]
	}
}

// cut takes off b what belongs to the line that is being written: up to its
// end, or as much as a line may have, which is then broken.
func (w *stepWriter) cut(b []byte) (part, rest []byte, broken bool) {
	room := longestLine - w.column
	end := bytes.IndexByte(b[:min(len(b), room+1)], '\n') + 1
	if end == 0 && len(b) <= room {
		w.column += len(b)
		return b, nil, false
	}
	w.column = 0
	if end > 0 {
		return b[:end], b[end:], false
	}
	end = room
	for end > max(0, room-utf8.UTFMax) && !utf8.RuneStart(b[end]) { // no character is broken
		end--
	}
	return b[:end], b[end:], true
}

func (w *stepWriter) flush() {
	_ = w.put(w.mask.Rest())
	if w.prefix != nil && w.column > 0 {
		_ = w.put([]byte("\n"))
	}
}

// setUp is what acb says before the first step.
func (t *transcript) setUp(run *Run, file *steps.File) {
	if file.Version >= "v1.1.0" {
		t.notice("Alias support enabled for version >= 1.1.0, please see https://aka.ms/acr/tasks/task-aliases for more information.")
	}
	if n := tooShort(t.secrets); n > 0 {
		t.notice("%d secret values are shorter than %d bytes: those are not hidden in this log", n, mask.Shortest)
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
	_ = t.log.Write("", t.masker.Text([]byte("\n"+DependencyYAML(deps)+"\n")))
}

// end is the last line.
func (t *transcript) end(run *Run, err error) {
	took := run.took()
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
