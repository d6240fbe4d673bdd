package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"acrd/internal/acr"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

func repositoryCommands() []command {
	return []command{
		{name: "list", summary: "List the repositories of the registry", run: listRepositories},
		{name: "show", summary: "Show a repository, a tag or a manifest", run: showRepository},
		{name: "show-tags", summary: "List the tags of a repository", run: showTags},
		{name: "show-manifests", summary: "List the manifests of a repository", run: showManifests},
		{name: "delete", summary: "Delete a repository, or an image with all its tags", run: deleteRepository},
		{name: "list-deleted", summary: "List the repositories that something can be restored to", run: listDeletedRepositories},
		{name: "untag", summary: "Take a tag away from an image", run: untag},
		{name: "update", summary: "Lock and unlock a repository, a tag or a manifest", run: updateRepository},
	}
}

// dataFlags are those of commands about what is in the registry.
type dataFlags struct {
	resourceFlags
	top   int
	order string
}

// define takes -n for the registry, as az acr repository has it, if named.
func (f *dataFlags) define(fs *pflag.FlagSet, s *session, named bool) {
	f.resourceFlags.define(fs, s)
	if named {
		fs.StringP("name", "n", "", "ignored: a daemon has one registry")
		_ = fs.MarkHidden("name")
	}
}

func (f *dataFlags) list(fs *pflag.FlagSet, ordered bool) {
	fs.IntVar(&f.top, "top", 0, "show so many; 0 is all")
	if ordered {
		fs.StringVar(&f.order, "orderby", "", "time_asc or time_desc; by name otherwise")
	}
}

// by is the order as the API has it.
func (f *dataFlags) by() (string, error) {
	switch f.order {
	case "", "none":
		return "", nil
	case "time_asc":
		return acr.OldestFirst, nil
	case "time_desc":
		return acr.NewestFirst, nil
	}
	return "", &usageError{fmt.Sprintf("--orderby %s: want time_asc or time_desc", f.order)}
}

// ask does something with the registry of the daemon.
func (f *dataFlags) ask(ctx context.Context, s *session, do func(c *acr.Client) error) error {
	return f.with(ctx, s, func(c *connection) error { return do(dataClient(c)) })
}

func dataClient(c *connection) *acr.Client { return &acr.Client{HTTP: c.HTTP(), Base: c.Base()} }

// first collects so many of a list; 0 is all.
func first[T any](all iter.Seq2[T, error], n int) ([]T, error) {
	found := []T{}
	for item, err := range all {
		if err != nil {
			return nil, err
		}
		found = append(found, item)
		if len(found) == n {
			break
		}
	}
	return found, nil
}

// An artifact is what --repository and --image name: a repository, a tag in
// it, or a manifest.
type artifact struct{ repository, image string }

func (a *artifact) define(fs *pflag.FlagSet, repository bool) {
	if repository {
		fs.StringVar(&a.repository, "repository", "", "name of the repository")
	}
	fs.StringVarP(&a.image, "image", "t", "", "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
}

// check wants exactly one of the two.
func (a *artifact) check() error {
	if (a.repository == "") == (a.image == "") {
		return &usageError{"give either --repository or --image"}
	}
	return nil
}

// An imageName is an image taken apart; exactly one of tag and digest is set.
type imageName struct{ repository, tag, digest string }

// parseImage reads REPOSITORY:TAG or REPOSITORY@DIGEST. As with az, no tag is
// latest.
func parseImage(text string) (imageName, error) {
	repository, digest, ok := strings.Cut(text, "@")
	if ok && repository != "" && digest != "" {
		return imageName{repository, "", digest}, nil
	}
	repository, tag, ok := strings.Cut(text, ":")
	if !ok {
		tag = "latest"
	}
	if repository == "" || tag == "" || strings.ContainsAny(tag, "/@") || strings.Contains(text, "@") {
		return imageName{}, &usageError{fmt.Sprintf("%q is no image of this registry: want REPOSITORY:TAG or REPOSITORY@DIGEST, without the registry", text)}
	}
	return imageName{repository, tag, ""}, nil
}

func listRepositories(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository list [FLAGS]", "List the repositories of the registry.")
	var f dataFlags
	f.define(fs, s, true)
	f.list(fs, false)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		names, err := first(c.Catalog(ctx), f.top)
		if err != nil {
			return err
		}
		return f.output.print(s, names, wordTable("REPOSITORY", names))
	})
}

func wordTable(head string, words []string) table {
	t := table{head: []string{head}}
	for _, w := range words {
		t.add(w)
	}
	return t
}

func showRepository(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository show --repository NAME|--image IMAGE [FLAGS]", "Show a repository, a tag or a manifest, and what is locked.")
	var f dataFlags
	var a artifact
	a.define(fs, true)
	f.define(fs, s, true)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.showArtifact(ctx, s, c, a) })
}

func (f *dataFlags) showArtifact(ctx context.Context, s *session, c *acr.Client, a artifact) error {
	if a.repository != "" {
		r, err := c.Repository(ctx, a.repository)
		if err != nil {
			return err
		}
		return f.output.print(s, r, catalogTable(r))
	}
	image, err := parseImage(a.image)
	if err != nil {
		return err
	}
	if image.digest != "" {
		m, err := c.Manifest(ctx, image.repository, image.digest)
		if err != nil {
			return err
		}
		return f.output.print(s, m.Manifest, manifestTable(m.Manifest))
	}
	t, err := c.Tag(ctx, image.repository, image.tag)
	if err != nil {
		return err
	}
	return f.output.print(s, t.Tag, tagTable(t.Tag))
}

func catalogTable(r *acr.Repository) table {
	t := table{head: []string{"REPOSITORY", "MANIFESTS", "TAGS", "CREATED", "UPDATED", "LOCKED"}}
	t.add(r.Name, strconv.Itoa(r.Manifests), strconv.Itoa(r.Tags), when(r.Created), when(r.Updated), lockedWords(r.Attributes))
	return t
}

func tagTable(tags ...acr.Tag) table {
	t := table{head: []string{"TAG", "DIGEST", "CREATED", "UPDATED", "LOCKED"}}
	for _, tag := range tags {
		t.add(tag.Name, tag.Digest, when(tag.Created), when(tag.Updated), lockedWords(tag.Attributes))
	}
	return t
}

func manifestTable(all ...acr.Manifest) table {
	t := table{head: []string{"DIGEST", "TAGS", "SIZE", "PLATFORM", "UPDATED", "LOCKED"}}
	for _, m := range all {
		platform := strings.Trim(m.OS+"/"+m.Architecture, "/")
		t.add(m.Digest, strings.Join(m.Tags, ","), units.HumanSize(float64(m.Size)), platform, when(m.Updated), lockedWords(m.Attributes))
	}
	return t
}

func when(t time.Time) string { return t.UTC().Format(time.DateTime) }

// lockedWords are what may not be done.
func lockedWords(a acr.Attributes) string {
	var words []string
	for _, f := range []struct {
		allowed bool
		word    string
	}{{a.Delete, "delete"}, {a.Write, "write"}, {a.Read, "read"}, {a.List, "list"}} {
		if !f.allowed {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, ",")
}

// nameOf parses args and returns what a flag names or, as az has it, an argument
// with the registry in front.
func nameOf(fs *pflag.FlagSet, flag string, args []string) (string, error) {
	rest, err := parse(fs, args, 0, 1)
	if err != nil {
		return "", err
	}
	name := fs.Lookup(flag).Value.String()
	switch {
	case len(rest) == 0:
		return name, required("--"+flag, name)
	case name != "":
		return "", &usageError{fmt.Sprintf("--%s %s and %s are both given: give one", flag, name, rest[0])}
	}
	return withoutRegistry(rest[0]), nil
}

// imageNamed is nameOf for an image, by the flag --name.
func imageNamed(fs *pflag.FlagSet, args []string) (imageName, error) {
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return imageName{}, err
	}
	return parseImage(name)
}

// withoutRegistry takes the registry off the front of an image's name.
func withoutRegistry(image string) string {
	host, rest, ok := strings.Cut(strings.TrimPrefix(image, "https://"), "/")
	if ok && (host == "localhost" || strings.ContainsAny(host, ".:")) {
		return rest
	}
	return image
}

// within is a command that lists what is in the repository that a flag of fs
// names, in an order that another has.
func (f *dataFlags) within(ctx context.Context, s *session, fs *pflag.FlagSet, flag string, args []string, list func(c *acr.Client, repository, order string) error) error {
	repository, err := nameOf(fs, flag, args)
	if err != nil {
		return err
	}
	order, err := f.by()
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return list(c, repository, order) })
}

func showTags(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository show-tags --repository NAME [FLAGS]", "List the tags of a repository.")
	var f dataFlags
	fs.String("repository", "", "name of the repository")
	detail := fs.Bool("detail", false, "with digests, times and locks")
	f.list(fs, true)
	f.define(fs, s, true)
	return f.within(ctx, s, fs, "repository", args, func(c *acr.Client, repository, order string) error {
		tags, err := first(c.Tags(ctx, repository, order), f.top)
		if err != nil {
			return err
		}
		if *detail {
			return f.output.print(s, tags, tagTable(tags...))
		}
		names := []string{}
		for _, t := range tags {
			names = append(names, t.Name)
		}
		return f.output.print(s, names, wordTable("TAG", names))
	})
}

// shortManifest is what az tells without --detail.
type shortManifest struct {
	Digest    string    `json:"digest"`
	Tags      []string  `json:"tags"`
	Timestamp time.Time `json:"timestamp"`
}

func showManifests(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository show-manifests --repository NAME [FLAGS]", "List the manifests of a repository, those without tags too.")
	var f dataFlags
	fs.String("repository", "", "name of the repository")
	detail := fs.Bool("detail", false, "everything that is known of them")
	f.list(fs, true)
	f.define(fs, s, true)
	return f.within(ctx, s, fs, "repository", args, func(c *acr.Client, repository, order string) error {
		all, err := first(c.Manifests(ctx, repository, order), f.top)
		if err != nil {
			return err
		}
		if *detail {
			return f.output.print(s, all, manifestTable(all...))
		}
		short := []shortManifest{}
		for _, m := range all {
			short = append(short, shortManifest{m.Digest, append([]string{}, m.Tags...), m.Updated})
		}
		return f.output.print(s, short, manifestTable(all...))
	})
}

func deleteRepository(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository delete --repository NAME|--image IMAGE [FLAGS]", `Delete a repository, or an image. Of an image, the manifest is deleted, and with
it every tag that it has: 'repository untag' takes away a tag alone.`)
	var f dataFlags
	var a artifact
	a.define(fs, true)
	yes := fs.BoolP("yes", "y", false, "do not ask")
	f.define(fs, s, true)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		if a.image != "" {
			return deleteImage(ctx, s, c, a.image, *yes)
		}
		if err := confirm(s, *yes, fmt.Sprintf("Are you sure you want to delete the repository '%s' and all images under it? ", a.repository)); err != nil {
			return err
		}
		gone, err := c.DeleteRepository(ctx, a.repository)
		if err != nil {
			return err
		}
		if !f.output.document() || *f.output == "table" {
			return nil
		}
		return f.output.print(s, gone, wordTable("MANIFEST", gone.Manifests))
	})
}

// deleteImage deletes a manifest, after it was told which tags go with it.
func deleteImage(ctx context.Context, s *session, c *acr.Client, text string, yes bool) error {
	image, err := parseImage(text)
	if err != nil {
		return err
	}
	if err := resolve(ctx, c, &image); err != nil {
		return err
	}
	m, err := c.Manifest(ctx, image.repository, image.digest)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("This operation will delete the manifest '%s'", image.digest)
	if len(m.Manifest.Tags) > 0 {
		question += fmt.Sprintf(" and all the following images: '%s:%s'", image.repository, strings.Join(m.Manifest.Tags, "', '"+image.repository+":"))
	}
	if err := confirm(s, yes, question+".\nAre you sure you want to continue? "); err != nil {
		return err
	}
	return c.DeleteManifest(ctx, image.repository, image.digest)
}

func untag(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository untag --image REPOSITORY:TAG [FLAGS]", "Take a tag away. The image stays, under its digest and its other tags.")
	var f dataFlags
	var a artifact
	a.define(fs, false)
	need(fs, "image")
	f.define(fs, s, true)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	image, err := parseImage(a.image)
	if err != nil {
		return err
	}
	if image.tag == "" {
		return &usageError{"--image " + a.image + ": want REPOSITORY:TAG: a digest is no tag"}
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return c.Untag(ctx, image.repository, image.tag) })
}

// attributeFlags are the attributes that are given.
func attributeFlags(fs *pflag.FlagSet) func() acr.Change {
	var c struct {
		del, list, read, write     bool
		quarantine, quarantineNote string
	}
	fs.BoolVar(&c.del, "delete-enabled", true, "whether it may be deleted")
	fs.BoolVar(&c.list, "list-enabled", true, "whether it is listed")
	fs.BoolVar(&c.read, "read-enabled", true, "whether it may be pulled")
	fs.BoolVar(&c.write, "write-enabled", true, "whether it may be pushed; if not, it may not be deleted either")
	fs.StringVar(&c.quarantine, "quarantine-state", "", "of a manifest, by its digest: Passed releases it, Failed and Quarantined hold it")
	fs.StringVar(&c.quarantineNote, "quarantine-details", "", "what who has examined it has to say")
	text := func(name string, v *string) *string {
		if fs.Changed(name) {
			return v
		}
		return nil
	}
	given := func(name string, v *bool) *bool {
		if fs.Changed(name) {
			return v
		}
		return nil
	}
	return func() acr.Change {
		return acr.Change{
			Delete: given("delete-enabled", &c.del), List: given("list-enabled", &c.list),
			Read: given("read-enabled", &c.read), Write: given("write-enabled", &c.write),
			Quarantine: text("quarantine-state", &c.quarantine), QuarantineDetails: text("quarantine-details", &c.quarantineNote),
		}
	}
}

func updateRepository(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository update --repository NAME|--image IMAGE [FLAGS]", `Lock a repository, a tag or a manifest, or unlock it. What is not given stays.
A lock holds for everybody, the owner too, until it is taken away.`)
	var f dataFlags
	var a artifact
	a.define(fs, true)
	change := attributeFlags(fs)
	f.define(fs, s, true)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.updateArtifact(ctx, s, c, a, change()) })
}

func (f *dataFlags) updateArtifact(ctx context.Context, s *session, c *acr.Client, a artifact, change acr.Change) error {
	if a.repository != "" {
		r, err := c.UpdateRepository(ctx, a.repository, change)
		if err != nil {
			return err
		}
		return f.output.print(s, r, catalogTable(r))
	}
	image, err := parseImage(a.image)
	if err != nil {
		return err
	}
	if image.digest != "" {
		m, err := c.UpdateManifest(ctx, image.repository, image.digest, change)
		if err != nil {
			return err
		}
		return f.output.print(s, m.Manifest, manifestTable(m.Manifest))
	}
	t, err := c.UpdateTag(ctx, image.repository, image.tag, change)
	if err != nil {
		return err
	}
	return f.output.print(s, t.Tag, tagTable(t.Tag))
}
