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
		{name: "list", summary: "Print the manifests of a repository themselves", run: listManifests},
		{name: "list-metadata", summary: "List the manifests of a repository with all that is known of them", run: listMetadata},
		{name: "show", summary: "Print a manifest itself", run: showManifest},
		{name: "show-metadata", summary: "Show what is known of a manifest", run: showMetadata},
		{name: "update-metadata", summary: "Lock and unlock a manifest or a tag", run: updateMetadata},
		{name: "list-referrers", summary: "List what refers to a manifest, as signatures do", run: listReferrers},
		{name: "delete", summary: "Delete a manifest with all its tags", run: deleteManifest},
		{name: "list-deleted", summary: "List the manifests that can be restored", run: listDeleted},
		{name: "list-deleted-tags", summary: "List the tags that can be restored", run: listDeletedTags},
		{name: "restore", summary: "Bring back what was deleted", run: restoreManifest},
	}
}

// A manifestBody is what the table of 'manifest list' tells of a manifest.
type manifestBody struct {
	MediaType    string `json:"mediaType"`
	ArtifactType string `json:"artifactType"`
	Subject      struct {
		Digest string `json:"digest"`
	} `json:"subject"`
}

func listManifests(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest list -n REPOSITORY [FLAGS]", "Print the manifests of a repository, as they were pushed.")
	var f dataFlags
	nameFlag(fs, "name of the repository")
	f.list(fs, true)
	f.define(fs, s, false)
	return f.within(ctx, s, fs, "name", args, func(c *acr.Client, repository, order string) error {
		all, err := first(c.Manifests(ctx, repository, order), f.top)
		if err != nil {
			return err
		}
		bodies := []json.RawMessage{}
		t := table{head: []string{"DIGEST", "MEDIA TYPE", "ARTIFACT TYPE", "SUBJECT"}}
		for _, m := range all {
			b, err := c.Content(ctx, repository, m.Digest)
			if acr.IsNotFound(err) { // by now
				continue
			}
			if err != nil {
				return err
			}
			body := manifestBody{MediaType: m.MediaType}
			if err := json.Unmarshal(b, &body); err != nil {
				return fmt.Errorf("manifest %s: %w", m.Digest, err)
			}
			bodies = append(bodies, b)
			t.add(m.Digest, body.MediaType, body.ArtifactType, body.Subject.Digest)
		}
		return f.output.print(s, bodies, t)
	})
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

func showManifest(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest show -n IMAGE [FLAGS]", "Print a manifest, as it was pushed or, without --raw, indented.")
	var f dataFlags
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	raw := fs.Bool("raw", false, "every byte as it was pushed")
	f.define(fs, s, false)
	image, err := imageNamed(fs, args)
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
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	f.define(fs, s, false)
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.showArtifact(ctx, s, c, artifact{image: name}) })
}

func updateMetadata(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest update-metadata -n IMAGE [FLAGS]", "Lock a manifest or a tag, or unlock it. What is not given stays.")
	var f dataFlags
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	change := attributeFlags(fs)
	f.define(fs, s, false)
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return f.updateArtifact(ctx, s, c, artifact{image: name}, change()) })
}

func deleteManifest(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest delete -n IMAGE [FLAGS]", "Delete a manifest, and with it every tag that it has.")
	var f dataFlags
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	yes := fs.BoolP("yes", "y", false, "do not ask")
	f.define(fs, s, false)
	name, err := nameOf(fs, "name", args)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error { return deleteImage(ctx, s, c, name, *yes) })
}
