package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A gitCommand is one run of the git program. This file is the only place that
// starts it, so that all of git runs locked down: it reads no configuration
// but the repository's own, runs no hook, helper or prompt, finds nothing in
// its environment, and speaks one protocol or none.
//
// Nothing in it is secret: git never sees a credential (see gateway), so there
// is none to leak by its arguments, its files or what it prints.
type gitCommand struct {
	gitDir   string    // --git-dir; empty: the command needs no repository
	workTree string    // --work-tree; empty: none
	peer     *peer     // what it may connect to; nil: nothing
	config   []string  // further -c key=value
	env      []string  // further KEY=value
	stdin    io.Reader // nil: empty
	stdout   io.Writer // nil: discarded
	args     []string
}

// A gitError is a run of git that ended badly.
type gitError struct {
	command string
	err     error
	said    string // what git printed, for people
}

func (e *gitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("git %s: %v", e.command, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.command, e.said)
}

func (e *gitError) Unwrap() error { return e.err }

// locked is in force for every run of git.
var locked = []string{
	"core.hooksPath=/dev/null",
	"core.fsmonitor=false",
	"core.askPass=",
	"core.attributesFile=/dev/null",
	"core.excludesFile=/dev/null",
	"core.protectHFS=true",
	"core.protectNTFS=true",
	"core.bigFileThreshold=16m", // larger ones are streamed, not held in memory
	"credential.helper=",
	"protocol.file.allow=never",
	"protocol.ext.allow=never",
	"http.followRedirects=false",
	"safe.bareRepository=explicit",
	"submodule.recurse=false",
	"transfer.bundleURI=false",
	"fetch.unpackLimit=1", // a pack is never exploded into files
	"gc.auto=0",           // nothing goes on behind our back
	"maintenance.auto=false",
	"advice.detachedHead=false",
}

// git runs c and waits for it. When ctx ends, git and all that it started are
// killed.
func (f *Fetcher) git(ctx context.Context, c gitCommand) error {
	program, err := exec.LookPath("git")
	if err != nil {
		return errors.New("git is not installed, which is needed to fetch repositories")
	}
	var said tail
	cmd := exec.CommandContext(ctx, program, c.argv()...)
	scratch, err := filepath.Abs(f.Dir)
	if err != nil {
		return err
	}
	cmd.Dir = scratch
	cmd.Env = c.environ(scratch)
	cmd.Stdin, cmd.Stderr = c.stdin, &said
	var refused error // by who reads what git prints
	if c.stdout != nil {
		cmd.Stdout = writerFunc(func(p []byte) (int, error) {
			n, err := c.stdout.Write(p)
			if err != nil && refused == nil {
				refused = err
			}
			return n, err
		})
	}
	cmd.WaitDelay = 5 * time.Second
	killGroup(cmd)
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case refused != nil:
		return refused
	case c.peer != nil && c.peer.fault() != nil:
		return c.peer.fault()
	}
	return &gitError{command: c.args[0], err: err, said: c.translate(said.faults(), scratch)}
}

// gitOutput runs c and returns what it printed, which must be short.
func (f *Fetcher) gitOutput(ctx context.Context, c gitCommand) (string, error) {
	const most = 64 << 20 // a server without protocol v2 lists every ref it has
	var out bytes.Buffer
	c.stdout = writerFunc(func(p []byte) (int, error) {
		if out.Len()+len(p) > most {
			return 0, fmt.Errorf("%w: git prints more than %s", ErrLimit, byteSize(most))
		}
		return out.Write(p)
	})
	if err := f.git(ctx, c); err != nil {
		return "", err
	}
	return out.String(), nil
}

func (c gitCommand) argv() []string {
	var args []string
	for _, kv := range append(slices.Clip(locked), c.config...) {
		args = append(args, "-c", kv)
	}
	if c.gitDir != "" {
		args = append(args, "--git-dir="+c.gitDir)
	}
	if c.workTree != "" {
		args = append(args, "--work-tree="+c.workTree)
	}
	return append(args, c.args...)
}

// translate puts the name of the repository where git gave the address of a
// gateway, and takes out paths of this machine.
func (c gitCommand) translate(said, scratch string) string {
	if c.peer != nil {
		said = strings.ReplaceAll(said, c.peer.url, c.peer.show)
	}
	for _, path := range []string{c.gitDir, c.workTree, scratch} {
		if path != "" {
			said = strings.ReplaceAll(said, path, "...")
		}
	}
	return said
}

// environ is all that git finds in its environment. The repository that scratch
// may lie in is none of its business.
func (c gitCommand) environ(scratch string) []string {
	env := []string{
		"PATH=" + searchPath(),
		"HOME=" + scratch,
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=", // set and empty: nobody is asked, SSH_ASKPASS neither
		"GIT_PROTOCOL_FROM_USER=0",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_LITERAL_PATHSPECS=1",
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(scratch),
	}
	if c.peer == nil {
		return append(append(env, "GIT_ALLOW_PROTOCOL="), c.env...)
	}
	env = append(env, "GIT_ALLOW_PROTOCOL="+c.peer.protocol)
	return append(append(env, c.peer.env...), c.env...)
}

// searchPath is where git looks for what it runs: itself, ssh and git-lfs, and
// the few tools that these are scripts of.
func searchPath() string {
	var dirs []string
	for _, name := range []string{"git", "git-lfs", "ssh"} {
		if program, err := exec.LookPath(name); err == nil {
			dirs = append(dirs, filepath.Dir(program))
		}
	}
	dirs = append(dirs, "/usr/bin", "/bin")
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// A tail keeps the end of what is written to it.
type tail struct {
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 16 << 10
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - most; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// faults returns the lines that say what went wrong, without the progress and
// without what a server has to say (remote: ...), which could be anything.
func (t *tail) faults() string {
	var faults []string
	for line := range strings.FieldsFuncSeq(string(t.kept), func(r rune) bool { return r == '\n' || r == '\r' }) {
		switch {
		case strings.HasPrefix(line, "fatal: "), strings.HasPrefix(line, "error: "):
			faults = append(faults, printable(line))
		case line == "Host key verification failed.": // ssh
			faults = append(faults, "the key of the server is not among the known hosts")
		case strings.Contains(line, ": Permission denied ("): // ssh
			faults = append(faults, "the server does not accept our key, or there is none")
		}
	}
	if len(faults) > 3 {
		faults = faults[:3]
	}
	return strings.Join(faults, "; ")
}

// printable replaces what could drive a terminal or break a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
