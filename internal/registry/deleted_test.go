package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"acrd/internal/acr"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// softly switches soft deletion on.
func (s *site) softly() {
	s.t.Helper()
	if _, err := s.reg.ChangePolicies(func(p *acr.Policies) error {
		p.SoftDelete.Status, p.SoftDelete.RetentionDays = acr.PolicyEnabled, 3
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) deletedManifests(repo string) []string {
	s.t.Helper()
	var list acr.DeletedManifests
	s.decode(&list, "/acr/v1/_deleted/"+repo+"/_manifests")
	var all []string
	for _, m := range list.Manifests {
		if m.Expires.Sub(m.Deleted) != 72*time.Hour {
			s.t.Errorf("%s: deleted %s, expires %s", m.Digest, m.Deleted, m.Expires)
		}
		all = append(all, m.Digest)
	}
	return all
}

func (s *site) deletedTags(repo string) []string {
	s.t.Helper()
	var list acr.DeletedTags
	s.decode(&list, "/acr/v1/_deleted/"+repo+"/_tags")
	var all []string
	for _, t := range list.Tags {
		all = append(all, t.Name)
	}
	slices.Sort(all)
	return all
}

func (s *site) decode(into any, target string) {
	s.t.Helper()
	a := s.want(http.StatusOK, "", "GET", target, nil)
	if err := json.Unmarshal(a.body, into); err != nil {
		s.t.Fatalf("%s: %v in %s", target, err, a.body)
	}
}

func TestSoftDelete(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hard := s.push("app:hard", ociImage(t)).String()
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+hard, nil)
	s.softly()
	img := ociImage(t)
	d := s.push("app:v1", img).String()
	s.push("app:v2", img)
	s.push("app:keep", ociImage(t))
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d, nil)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/keep", nil)
	s.restart()

	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/"+d, nil)
	if got := s.deletedManifests("app"); !slices.Equal(got, []string{d}) {
		t.Errorf("deleted manifests: %v", got)
	}
	if got := s.deletedTags("app"); !slices.Equal(got, []string{"keep", "v1", "v2"}) {
		t.Errorf("deleted tags: %v", got)
	}
	s.old()
	s.collect() // of the first, which was deleted for good
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "POST", "/acr/v1/_deleted/app/_tags/hard", nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "POST", "/acr/v1/_deleted/app/_tags/v1?digest="+someone.String(), nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "POST", "/acr/v1/_deleted/app/_manifests/"+hard, nil)

	s.want(http.StatusOK, "", "POST", "/acr/v1/_deleted/app/_tags/v1", nil)
	s.whole("app:v1")
	s.want(http.StatusOK, "", "POST", "/acr/v1/_deleted/app/_tags/keep", nil)
	s.whole("app:keep")
	if got := s.deletedManifests("app"); len(got) > 0 {
		t.Errorf("restored, and still deleted: %v", got)
	}
	if got := s.deletedTags("app"); !slices.Equal(got, []string{"v2"}) {
		t.Errorf("deleted tags: %v", got)
	}
	// A tag that is there again is not taken.
	next := s.push("app:v2", ociImage(t))
	s.want(http.StatusConflict, "TAG_EXISTS", "POST", "/acr/v1/_deleted/app/_tags/v2", nil)
	s.want(http.StatusOK, "", "POST", "/acr/v1/_deleted/app/_tags/v2?force=true", nil)
	if a := s.do("GET", "/v2/app/manifests/v2", nil); a.header.Get("Docker-Content-Digest") != d {
		t.Errorf("v2 is %s, want %s, not %s", a.header.Get("Docker-Content-Digest"), d, next)
	}
}

// A repository comes back image by image, an index with what is in it, and
// after the time nothing does.
func TestSoftDelete_Repository(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.softly()
	index, err := random.Index(64, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(s.ref("app:multi"), index, s.options()...); err != nil {
		t.Fatal(err)
	}
	s.push("app:v1", ociImage(t))
	s.want(http.StatusAccepted, "", "DELETE", "/acr/v1/app", nil)
	s.want(http.StatusNotFound, "NAME_UNKNOWN", "GET", "/acr/v1/app", nil)
	var names acr.Repositories
	if s.decode(&names, "/acr/v1/_deleted/_catalog"); !slices.Equal(names.Names, []string{"app"}) {
		t.Errorf("deleted repositories: %v", names)
	}
	if got := s.deletedManifests("app"); len(got) != 4 {
		t.Errorf("deleted manifests: %v", got)
	}
	s.old()
	s.collect()
	s.want(http.StatusOK, "", "POST", "/acr/v1/_deleted/app/_tags/multi", nil)
	got, err := remote.Index(s.ref("app:multi"), s.options()...)
	if err == nil {
		err = validate.Index(got)
	}
	if err != nil {
		t.Error(err)
	}

	if err := s.reg.ExpireDeleted(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := s.deletedManifests("app"); len(got) != 1 {
		t.Errorf("before its time: %v", got)
	}
	if err := s.reg.ExpireDeleted(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got, tags := s.deletedManifests("app"), s.deletedTags("app"); len(got)+len(tags) > 0 {
		t.Errorf("after its time: %v, %v", got, tags)
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "POST", "/acr/v1/_deleted/app/_tags/v1", nil)
	s.old()
	if blobs, _ := s.collect(); blobs == 0 {
		t.Error("no space is given back")
	}
}

// What is refused, or goes wrong, was not deleted.
func TestSoftDelete_Refused(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	s.softly()
	d := s.push("app:v1", ociImage(t)).String()
	m.mu.Lock()
	m.before = func(string) error { return fmt.Errorf("no") }
	m.mu.Unlock()
	s.want(http.StatusInternalServerError, "UNKNOWN", "DELETE", "/v2/app/manifests/"+d, nil)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "DELETE", "/v2/app/manifests/"+someone.String(), nil)
	if got, tags := s.deletedManifests("app"), s.deletedTags("app"); len(got)+len(tags) > 0 {
		t.Errorf("deleted: %v, %v", got, tags)
	}
	m.mu.Lock()
	m.before = nil
	m.mu.Unlock()
	s.want(http.StatusMethodNotAllowed, "UNSUPPORTED", "DELETE", "/acr/v1/_deleted/app/_tags/v1", nil)
	if diff := cmp.Diff([]string{"v1"}, s.tagsOf("app")); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func (s *site) tagsOf(repo string) []string {
	s.t.Helper()
	tags, _ := s.list("/v2/"+repo+"/tags/list", "tags")
	return tags
}

// az picks the last of what a tag has named, and names the tag in the body.
func TestSoftDelete_AsAzure(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.softly()
	var digests []string
	for range 2 {
		d := s.push("app:v1", ociImage(t)).String()
		s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d, nil)
		digests = append(digests, d)
	}
	var list struct {
		Tags []struct{ Tag, Digest, DeletedAt string }
	}
	s.decode(&list, "/acr/v1/_deleted/app/_tags")
	var told []string
	for _, tag := range list.Tags {
		if tag.Tag != "v1" || tag.DeletedAt == "" {
			t.Errorf("tag %+v", tag)
		}
		told = append(told, tag.Digest)
	}
	if diff := cmp.Diff(digests, told); diff != "" {
		t.Errorf("what v1 has named (-want +got):\n%s", diff)
	}
	restore := "/acr/v1/_deleted/app/_manifests/" + digests[0] + "?force=False"
	s.want(http.StatusBadRequest, "TAG_INVALID", "POST", restore, []byte(`{"tag":"a/b"}`))
	s.want(http.StatusBadRequest, "UNSUPPORTED", "POST", restore, []byte(`[]`))
	s.want(http.StatusOK, "", "POST", restore, []byte(`{"tag":"v1"}`))
	s.whole("app:v1")
	s.want(http.StatusConflict, "TAG_EXISTS", "POST", restore, []byte(`{"tag":"v1"}`))
}
