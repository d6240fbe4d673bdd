package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"acrd/steps"

	"golang.org/x/sync/errgroup"
)

// A clone is the fetch of one repository and of all its submodules, which
// share the limits.
type clone struct {
	f     *Fetcher
	meter *meter
	out   io.Writer

	// The credential of the repository itself, and where it may be sent. A
	// submodule elsewhere is fetched without any: its address is written by
	// whoever wrote the commit.
	origin     string
	credential credential

	entries, submodules int   // so far
	bytes               int64 // so far, as files
}

func (f *Fetcher) fetchGit(ctx context.Context, c steps.Context, dir string, m *meter, out io.Writer) (*Fetched, error) {
	if f.Dir == "" {
		return nil, errors.New("a Fetcher without a Dir fetches no repositories")
	}
	// The fields of a Context are anybody's to set.
	if again, err := steps.ParseGit(c.URL); err != nil || again.URL != c.URL {
		return nil, errors.Join(errors.New("the URL is not as steps.ParseContext writes it"), err)
	}
	if err := steps.CheckRef(c.Ref); err != nil {
		return nil, fmt.Errorf("the context %w", err)
	}
	scheme, host := gitHost(c.URL)
	cl := &clone{f: f, meter: m, out: out, origin: gitOrigin(c.URL)}
	if scheme == "http" || scheme == "https" {
		cl.credential = f.credential(ctx, c, scheme, host)
	}
	rev, err := cl.checkout(ctx, c, dir, 0)
	if err != nil {
		return nil, err
	}
	return &Fetched{Commit: rev.commit, Branch: rev.branch}, nil
}

// gitHost takes apart what steps.ParseGit has accepted. The scheme of
// user@host:path is ssh.
func gitHost(address string) (scheme, host string) {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" {
		return u.Scheme, u.Host
	}
	host, _, _ = strings.Cut(address, ":")
	return "ssh", host[strings.Index(host, "@")+1:]
}

func gitOrigin(address string) string {
	scheme, host := gitHost(address)
	return origin(&url.URL{Scheme: scheme, Host: host})
}

// checkout fetches c and lays its files out in dir, which is empty, with those
// of its submodules in their places.
func (cl *clone) checkout(ctx context.Context, c steps.Context, dir string, nesting int) (revision, error) {
	cred, f := cl.credential, cl.f
	if gitOrigin(c.URL) != cl.origin {
		cred = credential{}
	}
	fmt.Fprintf(cl.out, "Cloning %s\n", c)
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return revision{}, fmt.Errorf("make the folder of mirrors: %w", cause(err))
	}
	var rev revision
	var tree *tree
	err := f.withMirror(ctx, c, cred, func(m *mirror) error {
		from, err := f.reach(ctx, c.URL, cred, cl.meter)
		if err != nil {
			return err
		}
		defer from.close()
		if rev, err = m.resolve(ctx, from, c, cl.out); err != nil {
			return err
		}
		if !m.has(ctx, rev.object) {
			if err := m.fetch(ctx, from, rev.object); err != nil {
				return err
			}
			if err := m.tidy(ctx); err != nil {
				return err
			}
		}
		if isHash(c.Ref) { // nobody was asked what it is the hash of
			if rev.commit, err = m.peel(ctx, rev.object); err != nil {
				return m.suspect(err)
			}
		}
		if tree, err = cl.survey(ctx, m, rev.commit); err != nil {
			return m.suspect(err)
		}
		return cl.export(ctx, m, c, rev, dir)
	})
	if err != nil {
		return revision{}, err
	}
	fmt.Fprintf(cl.out, "Checked out %s%s, %s received\n", rev.commit, rev.named(), byteSize(cl.meter.received.Load()))
	if err := cl.pullLFS(ctx, c, cred, tree, dir); err != nil {
		return revision{}, err
	}
	return rev, cl.checkoutSubmodules(ctx, c, tree, dir, nesting)
}

func (r revision) named() string {
	switch {
	case r.branch != "":
		return " (branch " + printable(r.branch) + ")"
	case r.tag != "":
		return " (tag " + printable(r.tag) + ")"
	}
	return ""
}

// export makes dir a repository of its own with only this revision in it, and
// checks it out. Steps can run git there, offline. Nothing in it leads back to
// the mirror or holds a credential; it shares no file with the mirror, because
// steps may write to it.
func (cl *clone) export(ctx context.Context, m *mirror, c steps.Context, rev revision, dir string) error {
	gitDir := filepath.Join(dir, ".git")
	git := func(args ...string) error {
		return m.f.git(ctx, gitCommand{gitDir: gitDir, workTree: dir, args: args})
	}
	err := m.f.git(ctx, gitCommand{args: []string{
		"init", "--quiet", "--template=", "--object-format=" + objectFormat(rev.commit), "--", dir,
	}})
	if err != nil {
		return err
	}
	if err := m.copyPack(ctx, gitDir, rev); err != nil {
		return m.suspect(err)
	}
	if err := os.WriteFile(filepath.Join(gitDir, "shallow"), []byte(rev.commit+"\n"), 0o644); err != nil {
		return err
	}
	for _, args := range append(refCommands(rev),
		[]string{"config", "remote.origin.url", c.URL},
		[]string{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
		[]string{"reset", "--hard", "--quiet"},
	) {
		if err := git(args...); err != nil {
			return err
		}
	}
	return nil
}

// refCommands make HEAD and the names of rev what a clone of it would have.
// Every name is a full one, so that it cannot be taken for an option.
func refCommands(rev revision) [][]string {
	if rev.branch != "" {
		return [][]string{
			{"symbolic-ref", "HEAD", "refs/heads/" + rev.branch},
			{"update-ref", "refs/heads/" + rev.branch, rev.commit},
			{"update-ref", "refs/remotes/origin/" + rev.branch, rev.commit},
		}
	}
	commands := [][]string{{"update-ref", "--no-deref", "HEAD", rev.commit}}
	if rev.tag != "" {
		commands = append(commands, []string{"update-ref", "refs/tags/" + rev.tag, rev.object})
	}
	return commands
}

// copyPack writes one pack with the revision, without its history, from the
// mirror into the repository at gitDir.
func (m *mirror) copyPack(ctx context.Context, gitDir string, rev revision) error {
	r, w := io.Pipe()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := m.f.git(ctx, gitCommand{
			gitDir: m.dir,
			stdin:  strings.NewReader("--shallow " + rev.commit + "\n" + rev.object + "\n"),
			stdout: w,
			// Deltas that are there are used again; none are looked for.
			args: []string{"pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset", "--window=0"},
		})
		w.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		err := m.f.git(ctx, gitCommand{gitDir: gitDir, stdin: r, args: []string{"index-pack", "--stdin"}})
		r.CloseWithError(err)
		return err
	})
	return g.Wait()
}
