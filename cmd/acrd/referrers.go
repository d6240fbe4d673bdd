package main

import (
	"context"
	"strings"

	"acrd/internal/acr"

	"github.com/docker/go-units"
)

func listReferrers(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "manifest list-referrers -n IMAGE [FLAGS]", `List what refers to a manifest: signatures, bills of materials and the like,
whose subject it is.`)
	var f dataFlags
	nameFlag(fs, "the image, REPOSITORY:TAG or REPOSITORY@DIGEST")
	kind := fs.String("artifact-type", "", "only those of this type")
	recursive := fs.Bool("recursive", false, "then also what refers to those, of any type")
	f.define(fs, s, false)
	image, err := imageNamed(fs, args)
	if err != nil {
		return err
	}
	return f.ask(ctx, s, func(c *acr.Client) error {
		if err := resolve(ctx, c, &image); err != nil {
			return err
		}
		found, err := first(c.Referrers(ctx, image.repository, image.digest, *kind), 0)
		for i := 0; err == nil && *recursive && i < len(found); i++ {
			var more []acr.Descriptor
			more, err = first(c.Referrers(ctx, image.repository, found[i].Digest, ""), 0)
			found = append(found, more...)
		}
		if err != nil {
			return err
		}
		return f.output.print(s, acr.Referrers{Manifests: found}, referrerTable(found))
	})
}

// resolve finds the digest that a tag names.
func resolve(ctx context.Context, c *acr.Client, image *imageName) error {
	if image.digest != "" {
		return nil
	}
	t, err := c.Tag(ctx, image.repository, image.tag)
	if err == nil {
		image.digest = t.Tag.Digest
	}
	return err
}

func referrerTable(all []acr.Descriptor) table {
	t := table{head: []string{"DIGEST", "ARTIFACT TYPE", "MEDIA TYPE", "SIZE", "ANNOTATIONS"}}
	for _, d := range all {
		var notes []string
		for _, key := range sortedKeys(d.Annotations) {
			notes = append(notes, key+"="+d.Annotations[key])
		}
		t.add(d.Digest, d.ArtifactType, d.MediaType, units.HumanSize(float64(d.Size)), strings.Join(notes, " "))
	}
	return t
}
