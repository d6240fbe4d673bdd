package steps

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// MaxEnvFile is how large a file named by envFile may be.
const MaxEnvFile = 64 << 10

// envFiles are the paths of a step's envFile, of which each must be in the
// workspace.
func (p *parser) envFiles(s *rawStep, dir string) []string {
	if len(s.envFile) > 0 && s.cmd == "" && s.build == "" {
		p.fault(p.find(s.node, "envFile"), "envFile is for cmd and build steps")
		return nil
	}
	var all []string
	for _, f := range s.envFile {
		name := f.text
		if !path.IsAbs(name) {
			name = path.Join(dir, name)
		}
		if name = path.Clean(name); f.text == "" || !strings.HasPrefix(name, WorkspaceDir+"/") {
			p.fault(f.node, "envFile is a file of the workspace: %q is not in %s", f.text, WorkspaceDir)
			continue
		}
		all = append(all, name)
	}
	return all
}

// ParseEnvFile reads NAME=value lines. Blank lines and lines that begin with #
// say nothing; a value is everything up to the end of its line, and quotes
// around the whole of it are taken off.
func ParseEnvFile(name string, content []byte) ([]string, error) {
	if len(content) > MaxEnvFile {
		return nil, fmt.Errorf("%s: is larger than %d KiB", name, MaxEnvFile>>10)
	}
	var all []string
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimLeft(line, " \t"), "=")
		if !ok || !variableName().MatchString(key) || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("%s:%d: want NAME=value", name, number)
		}
		if n := len(value); n >= 2 && value[0] == value[n-1] && (value[0] == '"' || value[0] == '\'') {
			value = value[1 : n-1]
		}
		all = append(all, key+"="+value)
	}
	return all, nil
}

// withEnvFiles is the step as it starts, with the variables that earlier steps
// have written.
func (s *Step) withEnvFiles(env *Env) (*Step, error) {
	if len(s.EnvFiles) == 0 {
		return s, nil
	}
	workspace, err := os.OpenRoot(env.Workspace)
	if err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	defer workspace.Close()
	var files [][]string
	for _, name := range s.EnvFiles {
		b, err := readEnvFile(workspace, strings.TrimPrefix(name, WorkspaceDir+"/"))
		if err != nil {
			return nil, &BuildError{fmt.Errorf("envFile %s: %w", name, err)}
		}
		variables, err := ParseEnvFile(name, b)
		if err != nil {
			return nil, &BuildError{fmt.Errorf("envFile %w", err)}
		}
		files = append(files, variables)
	}
	started := *s
	started.Env = s.WithEnvFiles(files...)
	return &started, nil
}

// readEnvFile opens the file without waiting: it may be a pipe that a step has
// made.
func readEnvFile(workspace *os.Root, name string) ([]byte, error) {
	f, err := workspace.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errors.New("it is not there: an earlier step has to write it")
	case err != nil && strings.Contains(err.Error(), "escapes"):
		return nil, errors.New("it is a link that leads out of the workspace")
	case err != nil:
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	return io.ReadAll(io.LimitReader(f, MaxEnvFile+1))
}

// WithEnvFiles is the environment of a step whose envFile files hold these
// variables, in the order of the files: what the step says itself wins, then
// the last of the files, then the task.
func (s *Step) WithEnvFiles(files ...[]string) []string {
	own := min(s.ownEnv, len(s.Env))
	merged := s.Env[:own]
	for _, f := range slices.Backward(files) {
		f = slices.Clone(f)
		slices.Reverse(f) // the last of several equal names counts
		merged = mergeEnv(merged, f)
	}
	return mergeEnv(merged, s.Env[own:])
}
