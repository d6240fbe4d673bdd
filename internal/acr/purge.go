package acr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Purge removes old tags, and manifests that nothing names, as "acr purge"
// of acr-cli does: with its rules, and its words on Out.
type Purge struct {
	Client *Client
	// Registry is the registry's name in what is printed.
	Registry string
	Out      io.Writer

	Filters []TagFilter
	// Ago is how long what is removed must not have changed.
	Ago time.Duration
	// Retention counts the age of manifests from the loss of their last tag,
	// and spares those that have lost it before Since.
	Retention bool
	Since     time.Time
	// Keep is how many of the newest tags that would go stay, in each
	// repository, and how many of the newest manifests.
	Keep int
	// Untagged removes manifests without tags too; UntaggedOnly removes no
	// tags, and without filters is for every repository.
	Untagged, UntaggedOnly bool
	DryRun                 bool
	// IncludeLocked unlocks what is locked.
	IncludeLocked bool
	// Concurrency is how much goes on at a time; at least 1.
	Concurrency int

	mu              sync.Mutex // guards Out and what follows
	tags, manifests int
}

// ErrPurge says that something could not be removed; what, was printed.
var ErrPurge = errors.New("purge has failed")

// Run purges one repository after the other. The first error ends it.
func (p *Purge) Run(ctx context.Context) error {
	if p.DryRun {
		p.say("DRY RUN: The following output shows what WOULD be deleted if the purge command was executed. Nothing is deleted.")
	}
	err := p.run(ctx)
	if err != nil {
		p.say("Failed to complete purge: %v ", err)
		err = fmt.Errorf("%w: %w", ErrPurge, err)
	}
	if p.DryRun {
		p.say("\nNumber of tags to be deleted: %d\nNumber of manifests to be deleted: %d", p.tags, p.manifests)
	} else {
		p.say("\nNumber of deleted tags: %d\nNumber of deleted manifests: %d", p.tags, p.manifests)
	}
	return err
}

// Removed says how much Run has removed, or would have.
func (p *Purge) Removed() (tags, manifests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tags, p.manifests
}

func (p *Purge) run(ctx context.Context) error {
	wanted, err := p.repositories(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		losing := map[string]int{} // how many tags a manifest loses
		if !p.UntaggedOnly {
			if err := p.purgeTags(ctx, name, wanted[name], losing); err != nil {
				return fmt.Errorf("failed to purge tags: %w", err)
			}
		}
		if p.Untagged || p.UntaggedOnly {
			if err := p.purgeManifests(ctx, name, losing); err != nil {
				return fmt.Errorf("failed to purge manifests: %w", err)
			}
		}
	}
	return nil
}

// repositories are those that filters match, with their filters.
func (p *Purge) repositories(ctx context.Context) (map[string][]TagFilter, error) {
	wanted := map[string][]TagFilter{}
	listing := len(p.Filters) == 0
	for _, f := range p.Filters {
		name, ok := f.repository()
		if ok {
			wanted[name] = append(wanted[name], f)
		}
		listing = listing || !ok
	}
	if !listing {
		return wanted, nil
	}
	for name, err := range p.Client.Catalog(ctx) {
		if err != nil {
			return nil, err
		}
		if len(p.Filters) == 0 {
			wanted[name] = nil
		}
		for _, f := range p.Filters {
			if _, ok := f.repository(); ok {
				continue
			}
			ok, err := f.matchRepository(name)
			if err != nil {
				return nil, err
			}
			if ok {
				wanted[name] = append(wanted[name], f)
			}
		}
	}
	return wanted, nil
}

// purgeTags removes the old tags of a repository that filters match.
func (p *Purge) purgeTags(ctx context.Context, name string, filters []TagFilter, losing map[string]int) error {
	before := time.Now().Add(-p.Ago)
	p.say("%s tags for repository: %s", p.verb("Would delete", "Deleting"), name)
	var old []Tag
	kept := 0
	for t, err := range p.Client.Tags(ctx, name, NewestFirst) {
		if IsNotFound(err) {
			p.say("%s repository not found", name)
			return nil
		}
		if err != nil {
			return err
		}
		matches, err := matchAny(filters, t.Name)
		if err != nil {
			return err
		}
		switch {
		case !matches, !t.Updated.Before(before), !p.IncludeLocked && !t.Attributes.Removable():
		case kept < p.Keep:
			kept++
		default:
			old = append(old, t)
			losing[t.Digest]++
		}
	}
	return each(ctx, p.Concurrency, old, func(t Tag) error {
		image := name + ":" + t.Name
		return p.remove(image, &p.tags, func() error {
			if !t.Attributes.Removable() {
				if _, err := p.Client.UpdateTag(ctx, name, t.Name, unlock()); err != nil {
					return err
				}
			}
			return p.Client.Untag(ctx, name, t.Name)
		})
	})
}

// purgeManifests removes the old manifests of a repository that no tag names,
// and that nothing which stays needs.
func (p *Purge) purgeManifests(ctx context.Context, name string, losing map[string]int) error {
	before := time.Now().Add(-p.Ago)
	p.say("%s manifests for repository: %s", p.verb("Would delete", "Deleting"), name)
	g := graph{known: map[string]*node{}}
	for m, err := range p.Client.Manifests(ctx, name, "") {
		if IsNotFound(err) {
			p.say("%s repository not found", name)
			return nil
		}
		if err != nil {
			return err
		}
		tagged := len(m.Tags)
		if p.DryRun {
			tagged -= losing[m.Digest]
		}
		at := m.Updated
		if p.Retention {
			at = m.Untagged
		}
		stays := tagged > 0 || !at.Before(before) || at.Before(p.Since) || !p.IncludeLocked && !m.Attributes.Removable()
		g.known[m.Digest] = &node{Manifest: m, stays: stays}
	}
	nodes := slices.SortedFunc(maps.Values(g.known), func(a, b *node) int { return strings.Compare(a.Digest, b.Digest) })
	if err := each(ctx, p.Concurrency, nodes, func(n *node) error { return n.read(ctx, p.Client, name) }); err != nil {
		return err
	}
	useless := g.useless(nodes)
	slices.SortFunc(useless, func(a, b *node) int { return b.Updated.Compare(a.Updated) })
	for _, n := range useless[:min(p.Keep, len(useless))] {
		n.stays = true
	}
	return each(ctx, p.Concurrency, g.useless(nodes), func(n *node) error {
		return p.remove(name+"@"+n.Digest, &p.manifests, func() error {
			if !n.Attributes.Removable() {
				if _, err := p.Client.UpdateManifest(ctx, name, n.Digest, unlock()); err != nil {
					return err
				}
			}
			return p.Client.DeleteManifest(ctx, name, n.Digest)
		})
	})
}

// A graph is the manifests of a repository, and who needs whom: an index what
// is in it, and a manifest those that have it as their subject.
type graph struct{ known map[string]*node }

type node struct {
	Manifest
	stays   bool
	parts   []string
	subject string
}

// read finds out what a manifest needs. It may be gone by now.
func (n *node) read(ctx context.Context, c *Client, name string) error {
	index := strings.Contains(n.MediaType, "index") || strings.Contains(n.MediaType, "list")
	if len(n.Tags) > 0 && !index {
		return nil // it stays without a doubt, or is a candidate by itself
	}
	body, err := c.Content(ctx, name, n.Digest)
	if IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var m struct {
		Manifests []struct{ Digest string }
		Subject   struct{ Digest string }
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("manifest %s: %w", n.Digest, err)
	}
	n.subject = m.Subject.Digest
	for _, part := range m.Manifests {
		n.parts = append(n.parts, part.Digest)
	}
	return nil
}

// useless are the nodes that nothing which stays needs; the others stay from now
// on. A referrer goes with its subject, and stays with it.
func (g *graph) useless(nodes []*node) []*node {
	referrers := map[string][]string{}
	for _, n := range nodes {
		if n.subject != "" {
			referrers[n.subject] = append(referrers[n.subject], n.Digest)
		}
	}
	var keep []string
	for _, n := range nodes {
		if n.stays {
			keep = append(keep, n.Digest)
		}
	}
	for done := map[string]bool{}; len(keep) > 0; {
		digest := keep[len(keep)-1]
		keep = keep[:len(keep)-1]
		n := g.known[digest]
		if n == nil || done[digest] {
			continue
		}
		done[digest], n.stays = true, true
		keep = append(append(keep, n.parts...), referrers[digest]...)
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.stays })
}

// remove removes one thing, counts it, and says so.
func (p *Purge) remove(image string, count *int, do func() error) error {
	image = p.Registry + "/" + image
	if p.DryRun {
		p.mu.Lock()
		*count++
		p.mu.Unlock()
		p.say("Would delete: %s", image)
		return nil
	}
	err := do()
	if err != nil && !IsNotFound(err) {
		p.say("Failed to delete %s, error: %v", image, err)
		return err
	}
	p.mu.Lock()
	*count++
	p.mu.Unlock()
	if err != nil {
		p.say("Skipped %s, HTTP status: 404", image)
		return nil
	}
	p.say("Deleted %s", image)
	return nil
}

func (p *Purge) verb(dry, wet string) string {
	if p.DryRun {
		return dry
	}
	return wet
}

func (p *Purge) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.Out, format+"\n", args...)
}

func unlock() Change {
	yes := true
	return Change{Delete: &yes, Write: &yes}
}

// each does something with every item, n at a time, and returns the first
// error, after which it begins no more.
func each[T any](ctx context.Context, n int, items []T, do func(T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range max(n, 1) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				if err := do(items[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
