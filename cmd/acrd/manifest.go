package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"acrd/internal/acr"
)

func manifestCommands() []command {
	return []command{
		{name: "list-metadata", summary: "List the manifests of a repository with all that is known of them", run: listMetadata},
		{name: "show", summary: "Print a manifest itself", run: showManifest},
		{name: "show-metadata", summary: "Show what is known of a manifest", run: showMetadata},
		{name: "update-metadata", summary: "Lock and unlock a manifest or a tag", run: updateMetadata},
		{name: "delete", summary: "Delete a manifest with all its tags", run: deleteManifest},
		{name: "list-deleted", summary: "List the manifests that can be restored", run: listDeleted},
		{name: "list-deleted-tags", summary: "List the tags that can be restored", run: listDeletedTags},
		{name: "restore", summary: "Bring back what was deleted", run: restoreManifest},
	}
}

func listMetadata(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest list-metadata -n REPOSITORY [FLAGS]", "List the manifests of a repository, those without tags too.")
	var f dataFlags
	nameFlag(fs, "name of the repository")
	f.list(fs, true)
	f.define(fs, s, false)
	return f.within(ctx, s, fs, "name", args, func(c *acr.Client, repository, order string) error {
		all, err := first(c.Manifests(ctx, repository, order), f.top)
		if err != nil {
			return err
		}
		return f.output.print(s, all, manifestTable(all...))
	})
}

// manifestImage reads -n as az acr manifest has it: the image.
func manifestImage(name string) (artifact, error) {
	if err := required("--name", name); err != nil {
		return artifact{}, err
	}
	return artifact{image: name}, nil
}

func showManifest(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest show -n IMAGE [FLAGS]", "Print a manifest, as it was pushed or, without --raw, indented.")
	var f dataFlags
	name := nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	raw := fs.Bool("raw", false, "every byte as it was pushed")
	f.define(fs, s, false)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := required("--name", *name); err != nil {
		return err
	}
	image, err := parseImage(*name)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		b, err := c.Content(ctx, image.repository, image.tag+image.digest)
		if err != nil {
			return err
		}
		if *raw {
			_, err = s.stdout.Write(b)
			return err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.stdout, out.String())
		return err
	})
}

func showMetadata(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest show-metadata -n IMAGE [FLAGS]", "Show what is known of a manifest, by its digest or one of its tags.")
	var f dataFlags
	name := nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	f.define(fs, s, false)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	a, err := manifestImage(*name)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.showArtifact(ctx, s, c, a) })
}

func updateMetadata(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest update-metadata -n IMAGE [FLAGS]", "Lock a manifest or a tag, or unlock it. What is not given stays.")
	var f dataFlags
	name := nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	change := attributeFlags(fs)
	f.define(fs, s, false)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	a, err := manifestImage(*name)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.updateArtifact(ctx, s, c, a, change()) })
}

func deleteManifest(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest delete -n IMAGE [FLAGS]", "Delete a manifest, and with it every tag that it has.")
	var f dataFlags
	name := nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	yes := fs.BoolP("yes", "y", false, "do not ask")
	f.define(fs, s, false)
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	if err := required("--name", *name); err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return deleteImage(ctx, s, c, *name, *yes) })
}
