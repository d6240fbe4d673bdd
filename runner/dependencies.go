package runner

import (
	"cmp"
	"fmt"
	"strings"
)

// A Dependency says what one tag of an image was built from, in the shape that
// acb reports.
type Dependency struct {
	Image     *Reference  `json:"image"`
	Runtime   *Reference  `json:"runtime-dependency"`
	BuildTime []Reference `json:"buildtime-dependency"`
	Git       Git         `json:"git"`
}

// Git is the commit of the source.
type Git struct {
	Revision string `json:"git-head-revision"`
}

// A Reference is an image reference taken apart as acb does: Docker Hub is
// written registry.hub.docker.com, its own images library/x.
type Reference struct {
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"` // none beside a digest
	Digest     string `json:"digest"`
	Reference  string `json:"reference"`
}

// DockerHub is ACR's name for it.
const DockerHub = "registry.hub.docker.com"

// NewReference takes a reference apart.
func NewReference(ref, digest string) Reference {
	r := Reference{Digest: digest, Registry: DockerHub}
	rest := ref
	if first, after, ok := strings.Cut(ref, "/"); ok && isHost(first) {
		r.Registry, rest = first, after
	}
	switch r.Registry {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		r.Registry = DockerHub
	}
	rest, pinned, hasDigest := strings.Cut(rest, "@")
	if hasDigest && digest == "" {
		r.Digest = pinned
	}
	r.Repository = rest
	if at := strings.LastIndexByte(rest, ':'); at > strings.LastIndexByte(rest, '/') {
		r.Repository, r.Tag = rest[:at], rest[at+1:]
	}
	if r.Tag == "" && !hasDigest {
		r.Tag = "latest"
	}
	if r.Registry == DockerHub && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	r.Reference = r.short()
	if hasDigest {
		r.Reference += "@" + pinned
	}
	return r
}

// isHost tells a registry from the first part of a repository, as docker does.
func isHost(first string) bool {
	return strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first
}

// short is how a person writes it: of Docker Hub the registry is left out, and
// of its own images the library.
func (r *Reference) short() string {
	name := r.Registry + "/" + r.Repository
	if r.Registry == DockerHub {
		name = strings.TrimPrefix(r.Repository, "library/")
	}
	if r.Tag != "" {
		name += ":" + r.Tag
	}
	return name
}

// dependencies lists one entry for each tag that was built.
func dependencies(run *Run) []Dependency {
	var all []Dependency
	for _, image := range run.Images {
		d := Dependency{Git: Git{cmp.Or(image.Commit, run.Commit)}}
		if image.Runtime != nil {
			r := NewReference(image.Runtime.Ref, image.Runtime.Digest)
			d.Runtime = &r
		}
		for _, b := range image.BuildTime {
			d.BuildTime = append(d.BuildTime, NewReference(b.Ref, b.Digest))
		}
		all = append(all, d.For(image.Tags, image.Digest)...)
	}
	return all
}

// For repeats d for each tag of an image. Without a tag there is one, whose
// image is null.
func (d Dependency) For(tags []string, digest string) []Dependency {
	if len(tags) == 0 {
		return []Dependency{d}
	}
	var all []Dependency
	for _, tag := range tags {
		r := NewReference(tag, digest)
		d.Image = &r
		all = append(all, d)
	}
	return all
}

// Dependencies are what the run's images were built from.
func (r *Run) Dependencies() []Dependency { return dependencies(r) }

// DependencyYAML is how ACR shows them in a log.
func DependencyYAML(deps []Dependency) string {
	var b strings.Builder
	field := func(indent string, r *Reference) {
		for _, f := range [][2]string{{"registry", r.Registry}, {"repository", r.Repository}, {"tag", r.Tag}, {"digest", r.Digest}} {
			if f[1] != "" {
				fmt.Fprintf(&b, "%s%s: %s\n", indent, f[0], f[1])
			}
		}
	}
	for _, d := range deps {
		b.WriteString("- image:\n")
		if d.Image != nil {
			field("    ", d.Image)
		}
		if d.Runtime != nil {
			b.WriteString("  runtime-dependency:\n")
			field("    ", d.Runtime)
		}
		if len(d.BuildTime) > 0 {
			b.WriteString("  buildtime-dependency:\n")
		}
		for _, t := range d.BuildTime {
			var one strings.Builder
			prefix := "  - "
			for _, f := range [][2]string{{"registry", t.Registry}, {"repository", t.Repository}, {"tag", t.Tag}, {"digest", t.Digest}} {
				if f[1] != "" {
					fmt.Fprintf(&one, "%s%s: %s\n", prefix, f[0], f[1])
					prefix = "    "
				}
			}
			b.WriteString(one.String())
		}
		if d.Git.Revision == "" {
			b.WriteString("  git: {}\n")
			continue
		}
		fmt.Fprintf(&b, "  git:\n    git-head-revision: %s\n", d.Git.Revision)
	}
	return b.String()
}
