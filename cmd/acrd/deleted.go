package main

import (
	"context"
	"slices"
	"strings"

	"acrd/internal/acr"
)

func listDeletedRepositories(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "repository list-deleted [FLAGS]", "List the repositories that something was deleted from which can be restored.")
	var f dataFlags
	f.define(fs, s, true)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		names, err := c.DeletedRepositories(ctx)
		if err != nil {
			return err
		}
		return f.output.print(s, names, wordTable("REPOSITORY", names))
	})
}

func listDeleted(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest list-deleted -n REPOSITORY [FLAGS]", "List the manifests of a repository that were deleted and can be restored.")
	var f dataFlags
	nameFlag(fs, "name of the repository")
	f.define(fs, s, false)
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		all, err := c.DeletedManifests(ctx, name)
		if err != nil {
			return err
		}
		t := table{head: []string{"DIGEST", "TAGS", "DELETED", "EXPIRES"}}
		for _, m := range all {
			t.add(m.Digest, strings.Join(m.Tags, ","), when(m.Deleted), when(m.Expires))
		}
		return f.output.print(s, all, t)
	})
}

func listDeletedTags(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest list-deleted-tags -n REPOSITORY[:TAG] [FLAGS]", "List the tags of a repository that were deleted and can be restored, the last deleted first.")
	var f dataFlags
	nameFlag(fs, "name of the repository, or REPOSITORY:TAG")
	f.define(fs, s, false)
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return err
	}
	repository, tag, _ := strings.Cut(name, ":")
	return f.ask(ctx, s, func(c *acr.Client) error {
		all, err := c.DeletedTags(ctx, repository, tag)
		if err != nil {
			return err
		}
		slices.Reverse(all)
		t := table{head: []string{"TAG", "DIGEST", "DELETED", "EXPIRES"}}
		for _, tag := range all {
			t.add(tag.Name, tag.Digest, when(tag.Deleted), when(tag.Expires))
		}
		return f.output.print(s, all, t)
	})
}

func restoreManifest(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest restore -n REPOSITORY:TAG [-d DIGEST] [FLAGS]", `Bring back what was deleted while soft deletion was on: what the tag has named
last, or DIGEST under that tag; REPOSITORY@DIGEST without a tag. It is as if it
was pushed again.`)
	var f dataFlags
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	digest := fs.StringP("digest", "d", "", "which manifest the tag shall name")
	force := fs.Bool("force", false, "take the tag even if it names another manifest by now")
	yes := fs.BoolP("yes", "y", false, "do not ask")
	f.define(fs, s, false)
	image, err := imageNamed(fs, args)
	if err != nil {
		return err
	}
	if *force {
		if err := confirm(s, *yes, "The tag "+image.tag+" may name another image by now, which would lose it. Are you sure you want to continue? "); err != nil {
			return err
		}
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		var restored *acr.Tag
		var err error
		if image.digest != "" {
			restored, err = c.RestoreManifest(ctx, image.repository, image.digest)
		} else {
			restored, err = c.RestoreTag(ctx, image.repository, image.tag, *digest, *force)
		}
		if err != nil {
			return err
		}
		return f.output.print(s, restored, tagTable(*restored))
	})
}
