package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"acrd/steps"
)

// A revision is what a ref stood for at one moment.
type revision struct {
	commit string
	object string // the annotated tag that names commit, or commit itself
	branch string // short name, empty if the ref was none
	tag    string // short name, empty if the ref was none
}

// resolve finds what c.Ref is. A full hash stands for itself, which asks
// nobody. Names are looked for where git fetch would look for them, so that a
// tag wins over a branch.
func (m *mirror) resolve(ctx context.Context, from *peer, c steps.Context, out io.Writer) (revision, error) {
	if isHash(c.Ref) {
		hash := strings.ToLower(c.Ref)
		return revision{commit: hash, object: hash}, nil
	}
	names := []string{"refs/tags/" + c.Ref, "refs/heads/" + c.Ref, "refs/" + c.Ref}
	switch {
	case c.Ref == "" || c.Ref == "HEAD":
		names = []string{"HEAD"}
	case strings.HasPrefix(c.Ref, "refs/"):
		names = []string{c.Ref}
	}
	refs, err := m.list(ctx, from, names)
	if err != nil {
		return revision{}, err
	}
	if names[0] == "HEAD" {
		return refs.head()
	}
	var found []string
	for _, name := range names {
		if refs.hash[name] != "" {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0 && couldAbbreviate(c.Ref):
		return m.expand(ctx, from, c.Ref)
	case len(found) == 0:
		return revision{}, fmt.Errorf("%q is neither a branch nor a tag nor a commit of the repository", c.Ref)
	case len(found) > 1:
		fmt.Fprintf(out, "WARNING: %q is both %s and %s: using %s\n", c.Ref, found[0], found[1], found[0])
	}
	return refs.revision(found[0])
}

// isHash tells a full commit hash. A branch of that name could not be asked
// for, which git advises against anyway.
func isHash(ref string) bool {
	return (len(ref) == 40 || len(ref) == 64) && isHex(ref)
}

func couldAbbreviate(ref string) bool { return len(ref) >= 4 && len(ref) < 64 && isHex(ref) }

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// expand completes an abbreviated hash, for which everything has to be there.
func (m *mirror) expand(ctx context.Context, from *peer, short string) (revision, error) {
	one, err := m.anyHash(ctx, from)
	if err != nil {
		return revision{}, err
	}
	err = m.renewing(ctx, func() error {
		if err := m.init(ctx, one); err != nil {
			return err
		}
		return m.fetchAll(ctx, from)
	})
	if err != nil {
		return revision{}, err
	}
	hash, err := m.f.gitOutput(ctx, gitCommand{gitDir: m.dir, args: []string{
		"rev-parse", "--quiet", "--verify", "--end-of-options", short + "^{commit}",
	}})
	if refused := (*gitError)(nil); errors.As(err, &refused) {
		return revision{}, fmt.Errorf("%q is neither a branch nor a tag nor the beginning of one commit's hash", short)
	} else if err != nil {
		return revision{}, err
	}
	hash = strings.TrimSpace(hash)
	return revision{commit: hash, object: hash}, m.keep(ctx, hash)
}

// peel finds the commit that an annotated tag names. A commit names itself.
func (m *mirror) peel(ctx context.Context, hash string) (string, error) {
	commit, err := m.f.gitOutput(ctx, gitCommand{gitDir: m.dir, args: []string{
		"rev-parse", "--quiet", "--verify", "--end-of-options", hash + "^{commit}",
	}})
	if err != nil {
		return "", fmt.Errorf("%s is no commit: %w", hash, err)
	}
	return strings.TrimSpace(commit), nil
}

// anyHash is one of the server's hashes, which shows how all are made; empty
// if it has none.
func (m *mirror) anyHash(ctx context.Context, from *peer) (string, error) {
	refs, err := m.list(ctx, from, nil)
	if err != nil {
		return "", err
	}
	for _, hash := range refs.hash {
		return hash, nil
	}
	return "", nil
}

// A listing is what a server says of the refs it was asked for.
type listing struct {
	hash map[string]string // by full name; name^{} is what an annotated tag names
	dest string            // where HEAD points
}

// list asks the server for refs with these full names.
func (m *mirror) list(ctx context.Context, from *peer, names []string) (listing, error) {
	args := []string{"ls-remote", "--symref", "--quiet", "--end-of-options", from.url}
	for _, name := range names {
		args = append(args, name)
		if strings.HasPrefix(name, "refs/tags/") {
			args = append(args, name+"^{}")
		}
	}
	text, err := m.f.gitOutput(ctx, gitCommand{peer: from, args: args})
	if err != nil {
		return listing{}, err
	}
	refs := listing{hash: map[string]string{}}
	for line := range strings.Lines(text) {
		value, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if dest, symbolic := strings.CutPrefix(value, "ref: "); symbolic && name == "HEAD" {
			refs.dest = dest
		} else if ok && isHash(value) {
			refs.hash[name] = value
		}
	}
	return refs, nil
}

// head is the revision of the default branch. Its name comes from the server,
// and is held to the rule for those that people write.
func (l listing) head() (revision, error) {
	hash := l.hash["HEAD"]
	if hash == "" {
		return revision{}, errors.New("the repository has no commit on its default branch")
	}
	rev := revision{commit: hash, object: hash}
	if branch, ok := strings.CutPrefix(l.dest, "refs/heads/"); ok && steps.CheckRef(branch) == nil {
		rev.branch = branch
	}
	return rev, nil
}

func (l listing) revision(name string) (revision, error) {
	rev := revision{object: l.hash[name], commit: l.hash[name+"^{}"]}
	if rev.commit == "" {
		rev.commit = rev.object
	}
	rev.branch, _ = strings.CutPrefix(name, "refs/heads/")
	if rev.branch == name {
		rev.branch = ""
	}
	if tag, ok := strings.CutPrefix(name, "refs/tags/"); ok {
		rev.tag = tag
	}
	return rev, nil
}
