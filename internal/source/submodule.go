package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"acrd/steps"
)

// A submodule is what .gitmodules says of one. All of it is written by whoever
// wrote the commit, and used for nothing before it is checked.
type submodule struct {
	path, url string
	skip      bool // update = none
}

// submodules reads the .gitmodules of commit.
func (m *mirror) submodules(ctx context.Context, commit string) ([]submodule, error) {
	text, err := m.f.gitOutput(ctx, gitCommand{gitDir: m.dir, args: []string{
		"config", "--blob=" + commit + ":.gitmodules", "--null", "--get-regexp", `^submodule\..*\.(path|url|update)$`,
	}})
	if refused := (*gitError)(nil); errors.As(err, &refused) && refused.said == "" {
		return nil, nil // it has none of these
	} else if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	byName := map[string]*submodule{}
	for record := range strings.SplitSeq(text, "\x00") {
		key, value, _ := strings.Cut(record, "\n")
		i := strings.LastIndex(key, ".")
		if i < 0 {
			continue
		}
		s := byName[key[:i]]
		if s == nil {
			s = &submodule{}
			byName[key[:i]] = s
		}
		switch key[i+1:] {
		case "path":
			s.path = value
		case "url":
			s.url = value
		case "update":
			s.skip = value == "none"
		}
	}
	var found []submodule
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		found = append(found, *byName[name])
	}
	return found, nil
}

// checkoutSubmodules fetches the submodules of the commit of c that lies in
// dir. Git's own command for that is not used: it would go wherever the commit
// says, with whatever this process can reach.
func (cl *clone) checkoutSubmodules(ctx context.Context, c steps.Context, t *tree, dir string, nesting int) error {
	const deepest = 20
	for _, at := range slices.Sorted(maps.Keys(t.links)) {
		i := slices.IndexFunc(t.submodules, func(s submodule) bool { return s.path == at && s.url != "" })
		if i < 0 {
			fmt.Fprintf(cl.out, "WARNING: submodule %q is not in .gitmodules: its folder is left empty\n", at)
			continue
		}
		s := t.submodules[i]
		if s.skip {
			continue
		}
		if cl.submodules++; cl.submodules > cl.meter.limits.Submodules || nesting > deepest {
			return fmt.Errorf("%w: more than %d submodules, or nested more than %d deep", ErrLimit, cl.meter.limits.Submodules, deepest)
		}
		if err := cl.checkoutSubmodule(ctx, c, s, t.links[at], dir, nesting); err != nil {
			return fmt.Errorf("submodule %q: %w", at, err)
		}
	}
	return nil
}

func (cl *clone) checkoutSubmodule(ctx context.Context, parent steps.Context, s submodule, commit, dir string, nesting int) error {
	c, err := submoduleContext(parent.URL, s.url)
	if err != nil {
		return err
	}
	if scheme, _ := gitHost(c.URL); scheme == "ssh" && gitOrigin(c.URL) != cl.origin {
		return fmt.Errorf("%s needs a key, which is only offered to the host of the repository itself: write its https:// URL into .gitmodules", c)
	}
	c.Ref = commit
	if err := plainFolder(dir, s.path); err != nil {
		return err
	}
	_, err = cl.checkout(ctx, c, filepath.Join(dir, filepath.FromSlash(s.path)), nesting+1)
	return err
}

// submoduleContext holds the URL of a submodule, which may be relative to its
// parent's, to the same rules as a context that a user writes.
func submoduleContext(parent, address string) (steps.Context, error) {
	if strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../") {
		absolute, err := resolveURL(parent, address)
		if err != nil {
			return steps.Context{}, err
		}
		address = absolute
	}
	c, err := steps.ParseGit(address)
	if err != nil {
		return steps.Context{}, err
	}
	if c.Ref != "" || c.Dir != "" {
		return steps.Context{}, fmt.Errorf("%s: the URL of a submodule has no #", c)
	}
	// What a URL in a commit carries is no secret, and not ours to send.
	c.User = nil
	return c, nil
}

// resolveURL takes one part off the parent for each leading ../, as git does.
func resolveURL(parent, relative string) (string, error) {
	parent = strings.TrimRight(parent, "/")
	host, rest, sep := parent, "", "/"
	if i := strings.Index(parent, "://"); i >= 0 {
		if j := strings.Index(parent[i+3:], "/"); j >= 0 {
			host, rest = parent[:i+3+j], parent[i+4+j:]
		}
	} else {
		host, rest, _ = strings.Cut(parent, ":")
		sep = ":"
	}
	for {
		if trimmed, ok := strings.CutPrefix(relative, "./"); ok {
			relative = trimmed
		} else if trimmed, ok := strings.CutPrefix(relative, "../"); ok {
			if rest == "" {
				return "", fmt.Errorf("the relative URL leads out of %s", host)
			}
			relative, rest = trimmed, path.Dir(rest)
			if rest == "." {
				rest = ""
			}
		} else {
			break
		}
	}
	if rest != "" {
		rest += "/"
	}
	return host + sep + rest + relative, nil
}

// plainFolder makes sure that name is a folder in dir, and that no part of its
// path is a link: git is about to write there.
func plainFolder(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return errors.New("its path leads out of the repository")
	}
	at := ""
	for part := range strings.SplitSeq(name, "/") {
		at = path.Join(at, part)
		info, err := root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			err = root.Mkdir(at, 0o755)
		} else if err == nil && !info.IsDir() {
			err = fmt.Errorf("%q is in its way", at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
