package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"acrd/internal/pattern"
)

var commitHash = pattern.New(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)

// gitHead is the commit that is checked out in a folder, or in one above it:
// what git rev-parse HEAD says, without git. It is empty if there is none, or
// if the repository is of a kind that only git reads.
func gitHead(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		if info, err := os.Stat(filepath.Join(dir, ".git", "HEAD")); err == nil && info.Mode().IsRegular() {
			return headOf(filepath.Join(dir, ".git"))
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

func headOf(gitDir string) string {
	root, err := os.OpenRoot(gitDir)
	if err != nil {
		return ""
	}
	defer root.Close()
	head := gitFile(root, "HEAD")
	ref, isRef := strings.CutPrefix(head, "ref: ")
	if !isRef {
		return hashIn(head)
	}
	if hash := hashIn(gitFile(root, filepath.FromSlash(ref))); hash != "" {
		return hash
	}
	for line := range strings.Lines(gitFile(root, "packed-refs")) {
		if hash, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
			return hashIn(hash)
		}
	}
	return ""
}

func hashIn(text string) string {
	if commitHash().MatchString(text) {
		return text
	}
	return ""
}

// gitFile is a small file of a repository, empty if it is not there.
func gitFile(root *os.Root, name string) string {
	if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := root.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 16<<20))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
