package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acrd/internal/acr"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azacr "github.com/Azure/azure-sdk-for-go/sdk/containers/azcontainerregistry"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
)

// azure is Azure's own client for Go. It is given a token, for what it sends
// without one has no body: it waits to be asked.
func (s *site) azure() *azacr.Client {
	s.t.Helper()
	o := &azacr.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.server.Client(), Retry: policy.RetryOptions{MaxRetries: -1}, PerCallPolicies: []policy.Policy{bearer{}},
	}}
	c, err := azacr.NewClient(s.server.URL, nil, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

type bearer struct{}

func (bearer) Do(req *policy.Request) (*http.Response, error) {
	req.Raw().Header.Set("Authorization", "Bearer token")
	return req.Next()
}

func (s *site) data() *acr.Client { return &acr.Client{HTTP: s.server.Client(), Base: s.server.URL} }

// age makes a tag, or a manifest if ref is a digest, look as if it was updated
// so long ago.
func (s *site) age(repo, ref string, by time.Duration) {
	s.t.Helper()
	at := time.Now().Add(-by)
	dir := filepath.Join(s.dir, "docker/registry/v2/repositories", repo, "_manifests")
	link := filepath.Join(dir, "tags", ref, "current/link")
	if len(ref) > 7 && ref[:7] == "sha256:" {
		link = filepath.Join(dir, "revisions/sha256", ref[7:], "link")
	}
	if err := os.Chtimes(link, at, at); err != nil {
		s.t.Fatal(err)
	}
	s.reg.ForgetViews()
}

func refused(t *testing.T, err error, status int) {
	t.Helper()
	var e *azcore.ResponseError
	if !errors.As(err, &e) || e.StatusCode != status {
		t.Errorf("got %v, want status %d", err, status)
	}
}

func TestData_Catalog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	want := []string{"a", "a-b", "a/b", "a/b/c", "ab"}
	for _, name := range want {
		s.push(name+":v1", img)
	}
	s.blob("only/blobs", []byte("x"))
	for n := int32(1); n <= 6; n++ {
		var got []string
		pager := s.azure().NewListRepositoriesPager(&azacr.ClientListRepositoriesOptions{MaxNum: &n})
		for pager.More() {
			page, err := pager.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range page.Names {
				got = append(got, *name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("n=%d (-want +got):\n%s", n, diff)
		}
	}
}

func TestData_Repository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, c := t.Context(), s.azure()
	_, err := c.GetRepositoryProperties(ctx, "team/app", nil)
	refused(t, err, http.StatusNotFound)

	img := ociImage(t)
	s.push("team/app:v1", img)
	s.push("team/app:v2", img)
	s.push("team/app:v3", ociImage(t))
	got, err := c.GetRepositoryProperties(ctx, "team/app", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Name != "team/app" || *got.ManifestCount != 2 || *got.TagCount != 3 || *got.RegistryLoginServer != s.host() {
		t.Errorf("got %s with %d manifests and %d tags", *got.Name, *got.ManifestCount, *got.TagCount)
	}
	if age := time.Since(*got.LastUpdatedOn); age < 0 || age > time.Minute || got.CreatedOn.After(*got.LastUpdatedOn) {
		t.Errorf("created %s, updated %s", got.CreatedOn, got.LastUpdatedOn)
	}
	off, err := c.UpdateRepositoryProperties(ctx, "team/app", &azacr.ClientUpdateRepositoryPropertiesOptions{
		Value: &azacr.RepositoryWriteableProperties{CanDelete: new(false)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := off.ChangeableAttributes; *a.CanDelete || !*a.CanWrite || !*a.CanRead || !*a.CanList {
		t.Errorf("only delete was switched off: %v %v %v %v", *a.CanDelete, *a.CanWrite, *a.CanRead, *a.CanList)
	}
}

func TestData_Tags(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	digest := s.push("app:a", img).String()
	s.push("app:b", img)
	s.push("app:c", ociImage(t))
	for i, tag := range []string{"b", "c", "a"} { // b is the newest
		s.age("app", tag, time.Duration(i+1)*time.Hour)
	}
	c := s.azure()
	for _, test := range []struct {
		order azacr.ArtifactTagOrderBy
		of    *string
		want  []string
	}{
		{azacr.ArtifactTagOrderByNone, nil, []string{"a", "b", "c"}},
		{azacr.ArtifactTagOrderByLastUpdatedOnDescending, nil, []string{"b", "c", "a"}},
		{azacr.ArtifactTagOrderByLastUpdatedOnAscending, nil, []string{"a", "c", "b"}},
		{azacr.ArtifactTagOrderByNone, &digest, []string{"a", "b"}},
	} {
		for n := int32(1); n < 4; n++ {
			var got []string
			pager := c.NewListTagsPager("app", &azacr.ClientListTagsOptions{OrderBy: &test.order, MaxNum: &n, Digest: test.of})
			for pager.More() {
				page, err := pager.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, tag := range page.Tags {
					got = append(got, *tag.Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s, n=%d (-want +got):\n%s", test.order, n, diff)
			}
		}
	}
	one, err := c.GetTagProperties(t.Context(), "app", "a", nil)
	if err != nil || *one.Tag.Digest != digest {
		t.Errorf("a: %v, %v", one.Tag, err)
	}
	_, err = c.GetTagProperties(t.Context(), "app", "none", nil)
	refused(t, err, http.StatusNotFound)
}

// A list goes on behind its last entry when that was deleted meanwhile, as
// purge does.
func TestData_TagsWhileDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	for i := range 7 {
		s.push(fmt.Sprintf("app:t%d", i), img)
	}
	c := s.data()
	c.Page = 2
	var got []string
	for tag, err := range c.Tags(t.Context(), "app", acr.NewestFirst) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, tag.Name)
		if err := c.Untag(t.Context(), "app", tag.Name); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 7 {
		t.Errorf("saw %v, want all 7", got)
	}
}

func TestData_Manifests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	digest := s.push("app:v1", img).String()
	s.push("app:v2", img)
	index, err := random.Index(64, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(s.ref("app:multi"), index, s.options()...); err != nil {
		t.Fatal(err)
	}
	ctx, c := t.Context(), s.azure()
	n := int32(3)
	tags := map[string][]string{}
	pager := c.NewListManifestsPager("app", &azacr.ClientListManifestsOptions{MaxNum: &n})
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Attributes {
			tags[*m.Digest] = nil
			for _, tag := range m.Tags {
				tags[*m.Digest] = append(tags[*m.Digest], *tag)
			}
		}
	}
	if len(tags) != 4 || !slices.Equal(tags[digest], []string{"v1", "v2"}) || !slices.Equal(tags[hash(t, index).String()], []string{"multi"}) {
		t.Errorf("got %v", tags)
	}
	one, err := c.GetManifestProperties(ctx, "app", digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if m := one.Manifest; *m.Size != size+int64(len(config)) || *m.MediaType != imageType ||
		*m.ConfigMediaType != "application/vnd.oci.image.config.v1+json" || m.CreatedOn.After(*m.LastUpdatedOn) {
		t.Errorf("got %d bytes of %s with %s", *m.Size, *m.MediaType, *m.ConfigMediaType)
	}
	whole, err := c.GetManifestProperties(ctx, "app", hash(t, index).String(), nil)
	if err != nil || len(whole.Manifest.RelatedArtifacts) != 2 {
		t.Errorf("the index has %d manifests, %v", len(whole.Manifest.RelatedArtifacts), err)
	}
	_, err = c.GetManifestProperties(ctx, "app", someone.String(), nil)
	refused(t, err, http.StatusNotFound)
}

// Locks hold for every way to a thing.
func TestData_Locks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, c := t.Context(), s.azure()
	img := ociImage(t)
	d := s.push("app:v1", img).String()
	const locked = "REGISTRY_DISALLOWED_OPERATION"
	manifests := "/v2/app/manifests/"
	no, yes := new(false), new(true)
	tag := func(p azacr.TagWriteableProperties) {
		t.Helper()
		if _, err := c.UpdateTagProperties(ctx, "app", "v1", &azacr.ClientUpdateTagPropertiesOptions{Value: &p}); err != nil {
			t.Fatal(err)
		}
	}
	manifest := func(p azacr.ManifestWriteableProperties) {
		t.Helper()
		if _, err := c.UpdateManifestProperties(ctx, "app", d, &azacr.ClientUpdateManifestPropertiesOptions{Value: &p}); err != nil {
			t.Fatal(err)
		}
	}
	body := s.want(http.StatusOK, "", "GET", manifests+"v1", nil).body
	push := func(status int, code, ref string) {
		t.Helper()
		s.want(status, code, "PUT", manifests+ref, body, "Content-Type: "+imageType)
	}

	tag(azacr.TagWriteableProperties{CanWrite: no})
	push(http.StatusMethodNotAllowed, locked, "v1")
	push(http.StatusCreated, "", "v2")
	s.want(http.StatusMethodNotAllowed, locked, "DELETE", manifests+"v1", nil)
	s.want(http.StatusMethodNotAllowed, locked, "DELETE", manifests+d, nil)
	_, err := c.DeleteTag(ctx, "app", "v1", nil)
	refused(t, err, http.StatusMethodNotAllowed)
	_, err = c.DeleteRepository(ctx, "app", nil)
	refused(t, err, http.StatusMethodNotAllowed)
	s.restart()
	c = s.azure()
	push(http.StatusMethodNotAllowed, locked, "v1")

	tag(azacr.TagWriteableProperties{CanWrite: yes, CanDelete: no})
	push(http.StatusCreated, "", "v1")
	s.want(http.StatusMethodNotAllowed, locked, "DELETE", manifests+"v1", nil)

	tag(azacr.TagWriteableProperties{CanDelete: yes, CanRead: no})
	s.want(http.StatusMethodNotAllowed, locked, "GET", manifests+"v1", nil)
	s.want(http.StatusOK, "", "GET", manifests+"v2", nil)
	manifest(azacr.ManifestWriteableProperties{CanRead: no})
	s.want(http.StatusMethodNotAllowed, locked, "GET", manifests+"v2", nil)
	s.want(http.StatusMethodNotAllowed, locked, "GET", manifests+d, nil)
	tag(azacr.TagWriteableProperties{CanRead: yes, CanList: no})
	manifest(azacr.ManifestWriteableProperties{CanRead: yes, CanWrite: no})
	push(http.StatusMethodNotAllowed, locked, d)
	s.want(http.StatusMethodNotAllowed, locked, "DELETE", manifests+d, nil)
	if tags, err := s.data().Manifest(ctx, "app", d); err != nil || len(tags.Manifest.Tags) != 2 {
		t.Errorf("%v, %v", tags, err)
	}
	for tag, err := range s.data().Tags(ctx, "app", "") {
		if err != nil || tag.Name == "v1" {
			t.Errorf("a hidden tag is listed: %s, %v", tag.Name, err)
		}
	}

	// What is deleted takes its locks along.
	manifest(azacr.ManifestWriteableProperties{CanWrite: yes})
	s.want(http.StatusAccepted, "", "DELETE", manifests+d, nil)
	s.push("app:v1", img)
	again, err := c.GetTagProperties(ctx, "app", "v1", nil)
	if err != nil || !*again.Tag.ChangeableAttributes.CanList {
		t.Errorf("the new v1 is as hidden as the old one: %v", err)
	}
	repository := func(p azacr.RepositoryWriteableProperties) {
		t.Helper()
		if _, err := c.UpdateRepositoryProperties(ctx, "app", &azacr.ClientUpdateRepositoryPropertiesOptions{Value: &p}); err != nil {
			t.Fatal(err)
		}
	}
	repository(azacr.RepositoryWriteableProperties{CanWrite: no})
	push(http.StatusMethodNotAllowed, locked, "v3")
	s.want(http.StatusMethodNotAllowed, locked, "POST", "/v2/app/blobs/uploads/", nil)
	s.want(http.StatusOK, "", "GET", manifests+"v1", nil)
	repository(azacr.RepositoryWriteableProperties{CanWrite: yes, CanRead: no})
	s.want(http.StatusMethodNotAllowed, locked, "GET", manifests+"v1", nil)
	blob := s.blob("app", []byte("not to be read")).String()
	s.want(http.StatusMethodNotAllowed, locked, "GET", "/v2/app/blobs/"+blob, nil)
	s.want(http.StatusMethodNotAllowed, locked, "POST", "/v2/other/blobs/uploads/?from=app&mount="+blob, nil)
}

func TestData_Untag(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.azure()
	d := s.push("app:v1", ociImage(t)).String()
	s.age("app", d, 48*time.Hour)
	if _, err := c.DeleteTag(t.Context(), "app", "v1", nil); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusNotFound, "TAG_UNKNOWN", "DELETE", "/acr/v1/app/_tags/v1", nil)
	m, err := c.GetManifestProperties(t.Context(), "app", d, nil)
	if err != nil || time.Since(*m.Manifest.LastUpdatedOn) < time.Hour || len(m.Manifest.Tags) > 0 {
		t.Errorf("the manifest was updated when it lost its tag: %v", err)
	}
	ours, err := s.data().Manifest(t.Context(), "app", d)
	if err != nil || time.Since(ours.Manifest.Untagged) > time.Hour {
		t.Errorf("untagged %s, %v", ours.Manifest.Untagged, err)
	}
}

func TestData_DeleteManifest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := s.azure()
	d := s.push("app:v1", ociImage(t)).String()
	s.push("app:v2", ociImage(t))
	if _, err := c.DeleteManifest(t.Context(), "app", d, nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetRepositoryProperties(t.Context(), "app", nil)
	if err != nil || *got.ManifestCount != 1 || *got.TagCount != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestData_DeleteRepository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, c := t.Context(), s.azure()
	img := ociImage(t)
	for _, ref := range []string{"app:v1", "app:v2", "app/inner:v1", "keep:v1"} {
		s.push(ref, img)
	}
	if _, err := c.DeleteRepository(ctx, "app", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteRepository(ctx, "app", nil); err != nil { // 404 is fine with Azure's client
		t.Fatal(err)
	}
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/v2/app/tags/list", nil)
	if got, _ := s.list("/v2/_catalog", "repositories"); !slices.Equal(got, []string{"app/inner", "keep"}) {
		t.Errorf("left: %v", got)
	}
	gone, err := s.data().DeleteRepository(ctx, "app/inner")
	if diff := cmp.Diff(&acr.Deleted{Manifests: []string{hash(t, img).String()}, Tags: []string{"v1"}}, gone); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	s.push("app:v1", img)
	s.whole("app:v1")
	if err := os.MkdirAll(filepath.Join(s.dir, ".removed-1/_layers"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.restart()
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".removed-*")); len(left) > 0 {
		t.Errorf("left by a crash: %v", left)
	}
}

func TestData_Refused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:v1", ociImage(t))
	for _, test := range []struct {
		status         int
		code           string
		method, target string
	}{
		{404, "NAME_UNKNOWN", "GET", "/acr/v1/none"},
		{404, "NAME_UNKNOWN", "GET", "/acr/v1/none/_tags"},
		{404, "NAME_UNKNOWN", "DELETE", "/acr/v1/none"},
		{404, "TAG_UNKNOWN", "GET", "/acr/v1/app/_tags/.x"},
		{400, "NAME_INVALID", "GET", "/acr/v1/UPPER"},
		{404, "TAG_UNKNOWN", "GET", "/acr/v1/app/_tags/v1/more/_x"},
		{400, "DIGEST_INVALID", "GET", "/acr/v1/app/_manifests/v1"},
		{400, "PAGINATION_NUMBER_INVALID", "GET", "/acr/v1/_catalog?n=0"},
		{400, "PAGINATION_NUMBER_INVALID", "GET", "/acr/v1/app/_tags?n=x"},
		{400, "UNSUPPORTED", "GET", "/acr/v1/app/_tags?orderby=size"},
		{400, "UNSUPPORTED", "PATCH", "/acr/v1/app"},
		{405, "UNSUPPORTED", "POST", "/acr/v1/app"},
		{405, "UNSUPPORTED", "DELETE", "/acr/v1/app/_tags"},
	} {
		s.want(test.status, test.code, test.method, test.target, nil)
	}
}

// What is deleted by the data API is told as what is deleted below /v2: of a
// repository, each manifest once, and of tags that go with it nothing.
func TestData_Events(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	img := ociImage(t)
	for _, ref := range []string{"app:v1", "app:v2"} {
		s.push(ref, img)
	}
	s.push("app:v3", ociImage(t))
	s.want(http.StatusAccepted, "", "DELETE", "/acr/v1/app/_tags/v3", nil)
	s.want(http.StatusAccepted, "", "DELETE", "/acr/v1/app", nil)
	if err := s.reg.Close(); err != nil { // tells the last
		t.Fatal(err)
	}
	got := m.events()
	slices.Sort(got)
	deleted := []string{"ImageDeleted app", "ImageDeleted app"}
	want := append([]string{"Acrd.ImageUntagged app:v3"}, deleted...)
	want = append(want, "ImagePushed app:v1", "ImagePushed app:v2", "ImagePushed app:v3")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An upload to a repository that is deleted meanwhile ends well: its client has
// done nothing wrong.
func TestData_DeleteRepositoryMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:v1", ociImage(t))
	body := []byte("of the next image")
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	a = s.want(http.StatusAccepted, "", "PATCH", a.header.Get("Location"), body[:5], octets)
	s.want(http.StatusAccepted, "", "DELETE", "/acr/v1/app", nil)
	d := digest.FromBytes(body).String()
	s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+d), body[5:], octets)
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+d, nil)
}
