package contexts

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// defaultExcludes is what az acr build leaves out at the root, in its words.
var defaultExcludes = []string{".git", ".gitignore", ".bzr", "bzrignore", ".hg", ".hgignore", ".svn"}

// An ignorer says what of a folder does not travel, as docker reads
// .dockerignore: the last pattern that matches a path or one of its folders
// decides. A nil ignorer ignores nothing. It is not safe for concurrent use.
type ignorer struct {
	matcher *patternmatcher.PatternMatcher
	back    [][]string // the "!" patterns, by their names
}

// parseIgnore reads an ignore file. An error names the file and the line.
func parseIgnore(file string, content []byte) (*ignorer, error) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if !slices.ContainsFunc(patterns, func(p string) bool { return checkPattern(p) != nil }) {
		return newIgnorer(patterns)
	}
	for i, line := range bytes.Split(content, []byte("\n")) {
		one, err := ignorefile.ReadAll(bytes.NewReader(line))
		if err != nil || len(one) == 0 {
			continue
		}
		if err := checkPattern(one[0]); err != nil {
			return nil, fmt.Errorf("%s, line %d: pattern %q: %w", file, i+1, one[0], err)
		}
	}
	return nil, fmt.Errorf("%s: %w", file, filepath.ErrBadPattern)
}

// checkPattern also compiles the pattern, which the library puts off until a
// path is matched against it.
func checkPattern(pattern string) error {
	pattern = strings.TrimPrefix(pattern, "!")
	if pattern == "" {
		return errors.New("nothing after the exclamation mark")
	}
	m, err := patternmatcher.New([]string{pattern})
	if err != nil {
		return err
	}
	_, err = m.MatchesOrParentMatches("x")
	return err
}

func newIgnorer(patterns []string) (*ignorer, error) {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	ig := &ignorer{matcher: m}
	for _, p := range m.Patterns() {
		if p.Exclusion() {
			ig.back = append(ig.back, strings.Split(filepath.ToSlash(p.String()), "/"))
		}
	}
	return ig, nil
}

// ignores reports whether name is left out. parent is what ignores returned
// for its folder.
func (ig *ignorer) ignores(name string, parent patternmatcher.MatchInfo) (bool, patternmatcher.MatchInfo, error) {
	if ig == nil {
		return false, parent, nil
	}
	return ig.matcher.MatchesUsingParentResults(name, parent)
}

// mayBringBack reports whether a "!" pattern could match something below the
// ignored folder dir, which then has to be searched.
func (ig *ignorer) mayBringBack(dir string) bool {
	if ig == nil {
		return false
	}
	names := strings.Split(dir, "/")
	return slices.ContainsFunc(ig.back, func(pattern []string) bool {
		for i, name := range names {
			if i == len(pattern) || strings.Contains(pattern[i], "**") {
				return true
			}
			if ok, err := filepath.Match(pattern[i], name); err == nil && !ok {
				return false
			}
		}
		return true
	})
}
