// Package acr is ACR's data API, which a registry has below /acr/v1 beside
// OCI's: what is in it, when that has changed, and what may be done with it.
// Here are its shapes and a client; internal/registry answers it.
//
// The package imports none of ours, and nothing heavy: commands use it too.
package acr

import "time"

// Root is where the API is.
const Root = "/acr/v1"

// Attributes say what may be done with a repository, a tag or a manifest.
type Attributes struct {
	Delete bool `json:"deleteEnabled"`
	Write  bool `json:"writeEnabled"` // without it nothing may be deleted either
	List   bool `json:"listEnabled"`
	Read   bool `json:"readEnabled"`
	// Quarantine is the state of a manifest that a policy holds, or has held;
	// QuarantineDetails is what who examines it has to say.
	Quarantine        string `json:"quarantineState,omitempty"`
	QuarantineDetails string `json:"quarantineDetails,omitempty"`
}

// Unlocked are the attributes of what nobody has locked.
func Unlocked() Attributes { return Attributes{Delete: true, Write: true, List: true, Read: true} }

// Removable says that a delete would not be refused.
func (a Attributes) Removable() bool { return a.Delete && a.Write }

// Held says that a manifest is in quarantine: no tag leads to it.
func (a Attributes) Held() bool {
	return a.Quarantine == Quarantined || a.Quarantine == QuarantineFailed
}

// A Change is some attributes; nil ones stay.
type Change struct {
	Delete *bool `json:"deleteEnabled,omitempty"`
	Write  *bool `json:"writeEnabled,omitempty"`
	List   *bool `json:"listEnabled,omitempty"`
	Read   *bool `json:"readEnabled,omitempty"`
	// Quarantine and QuarantineDetails are a manifest's.
	Quarantine        *string `json:"quarantineState,omitempty"`
	QuarantineDetails *string `json:"quarantineDetails,omitempty"`
}

// With returns the attributes after a change.
func (a Attributes) With(c Change) Attributes {
	for _, f := range []struct {
		from *bool
		to   *bool
	}{{c.Delete, &a.Delete}, {c.Write, &a.Write}, {c.List, &a.List}, {c.Read, &a.Read}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if c.Quarantine != nil {
		a.Quarantine = *c.Quarantine
	}
	if c.QuarantineDetails != nil {
		a.QuarantineDetails = *c.QuarantineDetails
	}
	return a
}

// Repositories are a page of the catalog.
type Repositories struct {
	Names []string `json:"repositories"`
}

// A Repository is told with counts of what is in it.
type Repository struct {
	Registry   string     `json:"registry"`
	Name       string     `json:"imageName"`
	Created    time.Time  `json:"createdTime"`
	Updated    time.Time  `json:"lastUpdateTime"`
	Manifests  int        `json:"manifestCount"`
	Tags       int        `json:"tagCount"`
	Attributes Attributes `json:"changeableAttributes"`
}

// A Tag names a manifest.
type Tag struct {
	Name       string     `json:"name"`
	Digest     string     `json:"digest"`
	Created    time.Time  `json:"createdTime"`
	Updated    time.Time  `json:"lastUpdateTime"`
	Signed     bool       `json:"signed"` // by Docker Content Trust, which there is not
	Attributes Attributes `json:"changeableAttributes"`
}

// Tags are a page of a repository's tags.
type Tags struct {
	Registry   string `json:"registry"`
	Repository string `json:"imageName"`
	Tags       []Tag  `json:"tags"`
}

// TagInfo is one tag.
type TagInfo struct {
	Registry   string `json:"registry"`
	Repository string `json:"imageName"`
	Tag        Tag    `json:"tag"`
}

// A Manifest is an image, an index or an artifact.
type Manifest struct {
	Digest string `json:"digest"`
	// Size is of what the manifest itself names; of an index, its own.
	Size    int64     `json:"imageSize"`
	Created time.Time `json:"createdTime"`
	Updated time.Time `json:"lastUpdateTime"` // it was pushed
	// Untagged is since when no tag names it; ACR does not tell that.
	Untagged        time.Time `json:"untaggedTime,omitzero"`
	Architecture    string    `json:"architecture,omitempty"`
	OS              string    `json:"os,omitempty"`
	MediaType       string    `json:"mediaType"`
	ConfigMediaType string    `json:"configMediaType,omitempty"`
	ArtifactType    string    `json:"artifactType,omitempty"`
	Tags            []string  `json:"tags,omitempty"`
	// References are the manifests in an index; told of one manifest, not in
	// lists.
	References []Reference `json:"references,omitempty"`
	Attributes Attributes  `json:"changeableAttributes"`
}

// A Reference is what an index says of a manifest in it.
type Reference struct {
	Digest       string `json:"digest"`
	Architecture string `json:"architecture,omitempty"`
	OS           string `json:"os,omitempty"`
}

// Manifests are a page of a repository's manifests.
type Manifests struct {
	Registry   string     `json:"registry"`
	Repository string     `json:"imageName"`
	Manifests  []Manifest `json:"manifests"`
}

// ManifestInfo is one manifest.
type ManifestInfo struct {
	Registry   string   `json:"registry"`
	Repository string   `json:"imageName"`
	Manifest   Manifest `json:"manifest"`
}

// A Descriptor is what OCI's lists have of a manifest.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Referrers are a page of the manifests that have one as their subject.
type Referrers struct {
	Manifests []Descriptor `json:"manifests"`
}

// Deleted is what went with a repository.
type Deleted struct {
	Manifests []string `json:"manifestsDeleted"`
	Tags      []string `json:"tagsDeleted"`
}

// A DeletedManifest can be restored until it expires.
type DeletedManifest struct {
	Digest    string    `json:"digest"`
	MediaType string    `json:"mediaType"`
	Tags      []string  `json:"tags,omitempty"` // that went with it
	Deleted   time.Time `json:"deletedAt"`
	Expires   time.Time `json:"expiresAfter,omitzero"`
}

// DeletedManifests are a repository's.
type DeletedManifests struct {
	Registry   string            `json:"registry"`
	Repository string            `json:"imageName"`
	Manifests  []DeletedManifest `json:"manifests"`
}

// A DeletedTag can be restored until it expires.
type DeletedTag struct {
	Name    string    `json:"tag"`
	Digest  string    `json:"digest"`
	Deleted time.Time `json:"deletedAt"`
	Expires time.Time `json:"expiresAfter,omitzero"`
}

// DeletedTags are a repository's, the last deleted last.
type DeletedTags struct {
	Registry   string       `json:"registry"`
	Repository string       `json:"imageName"`
	Tags       []DeletedTag `json:"tags"`
}

// Garbage is what was collected, or would be.
type Garbage struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Links are of repositories to blobs that they do not need.
	Links int `json:"links"`
	// Uploads were begun, and never finished.
	Uploads int `json:"uploads"`
}

// A Collecting asks the daemon to collect garbage now.
type Collecting struct {
	DryRun bool `json:"dryRun,omitempty"`
	// GraceSeconds is how long what nobody needs must have lain there.
	GraceSeconds int `json:"graceSeconds"`
}
