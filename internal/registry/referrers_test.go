package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	gcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const imageType, indexType = v1.MediaTypeImageManifest, v1.MediaTypeImageIndex

// artifact is a manifest of config (of the two bytes {}), with more members.
func artifact(config digest.Digest, members string) []byte {
	if members != "" {
		members = "," + members
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.test.config","digest":%q,"size":2},"layers":[]%s}`,
		imageType, config, members)
}

func subject(d digest.Digest) string {
	return fmt.Sprintf(`"subject":{"mediaType":%q,"digest":%q,"size":2}`, imageType, d)
}

// attach pushes a referrer of subj by digest.
func (s *site) attach(repo string, subj digest.Digest, members string) digest.Digest {
	s.t.Helper()
	body := artifact(s.blob(repo, []byte("{}")), subject(subj)+members)
	d := digest.FromBytes(body)
	a := s.want(http.StatusCreated, "", "PUT", "/v2/"+repo+"/manifests/"+d.String(), body, "Content-Type: "+imageType)
	if got := a.header.Get("OCI-Subject"); got != subj.String() {
		s.t.Errorf("OCI-Subject %q, want %s", got, subj)
	}
	return d
}

// referrers lists them all, on as many pages as it takes.
func (s *site) referrers(repo string, subj digest.Digest, query string) (found []v1.Descriptor, pages int) {
	s.t.Helper()
	next := "/v2/" + repo + "/referrers/" + subj.String() + query
	for next != "" {
		a := s.want(http.StatusOK, "", "GET", next, nil)
		if ct := a.header.Get("Content-Type"); ct != indexType {
			s.t.Fatalf("Content-Type %s, want %s", ct, indexType)
		}
		if len(a.body) > 4<<20 {
			s.t.Errorf("%s: %d bytes, more than clients read", next, len(a.body))
		}
		var index v1.Index
		if err := json.Unmarshal(a.body, &index); err != nil || index.Manifests == nil || index.SchemaVersion != 2 {
			s.t.Fatalf("%s: %v in %.300s", next, err, a.body)
		}
		found = append(found, index.Manifests...)
		pages++
		next = nextPage(a)
	}
	return found, pages
}

func (s *site) referrerDigests(repo string, subj digest.Digest) []digest.Digest {
	s.t.Helper()
	found, _ := s.referrers(repo, subj, "")
	digests := make([]digest.Digest, 0, len(found))
	for _, d := range found {
		digests = append(digests, d.Digest)
	}
	return digests
}

func nextPage(a answer) string {
	link, ok := strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`)
	if !ok {
		return ""
	}
	return strings.TrimPrefix(link, "<")
}

func path(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}

var someone = digest.FromString("someone")

func TestReferrers_None(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.want(http.StatusOK, "", "GET", "/v2/nobody/referrers/"+someone.String(), nil)
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	if string(a.body) != want {
		t.Errorf("got %s\nwant %s", a.body, want)
	}
	s.want(http.StatusOK, "", "HEAD", "/v2/nobody/referrers/"+someone.String(), nil)
	s.want(http.StatusMethodNotAllowed, "UNSUPPORTED", "POST", "/v2/nobody/referrers/"+someone.String(), nil)
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "GET", "/v2/app/referrers/sha256:abc", nil)
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "GET", "/v2/app/referrers/v1", nil)
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "GET", "/v2/app/referrers/"+someone.String()+"?last=..", nil)
}

// The members of an entry come from the manifest, as the distribution-spec
// says which.
func TestReferrers_Descriptors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	put := func(mediaType string, body []byte) v1.Descriptor {
		d := digest.FromBytes(body)
		s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/"+d.String(), body, "Content-Type: "+mediaType+"; charset=utf-8")
		base, _, _ := strings.Cut(mediaType, ";")
		return v1.Descriptor{MediaType: base, Digest: d, Size: int64(len(body))}
	}
	typed := put(imageType, artifact(config, subject(someone)+`,"artifactType":"application/vnd.test.sbom","annotations":{"a":"b"}`))
	typed.ArtifactType, typed.Annotations = "application/vnd.test.sbom", map[string]string{"a": "b"}
	untyped := put(imageType, artifact(config, subject(someone)))
	untyped.ArtifactType = "application/vnd.test.config"
	index := put(indexType, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[],%s}`, indexType, subject(someone)))
	put(imageType, artifact(config, subject(digest.FromString("someone else"))))
	put(imageType, artifact(config, ""))

	want := []v1.Descriptor{typed, untyped, index}
	slices.SortFunc(want, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	got, _ := s.referrers("app", someone, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}

	a := s.want(http.StatusOK, "", "GET", "/v2/app/referrers/"+someone.String()+"?artifactType=application%2Fvnd.test.sbom", nil)
	if got := a.header.Get("OCI-Filters-Applied"); got != "artifactType" {
		t.Errorf("OCI-Filters-Applied %q, want artifactType", got)
	}
	got, _ = s.referrers("app", someone, "?artifactType=application%2Fvnd.test.sbom")
	if diff := cmp.Diff([]v1.Descriptor{typed}, got); diff != "" {
		t.Errorf("filtered (-want +got):\n%s", diff)
	}
	if got, _ := s.referrers("app", someone, "?artifactType=none"); len(got) != 0 {
		t.Errorf("filter of nothing: got %v", got)
	}
}

// ggcr finds what ggcr attached, and needs no tag to do so.
func TestReferrers_Client(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	base := ociImage(t)
	s.push("app:v1", base)
	desc, err := partial.Descriptor(base)
	if err != nil {
		t.Fatal(err)
	}
	signature := mutate.Subject(ociImage(t), *desc).(gcr.Image)
	s.push("app@"+hash(t, signature).String(), signature)

	index, err := remote.Referrers(s.ref("app@"+desc.Digest.String()).(name.Digest), s.options()...)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != hash(t, signature) {
		t.Errorf("got %v, want only %s", manifest.Manifests, hash(t, signature))
	}
	tags, err := remote.List(s.repo("app"), s.options()...)
	if diff := cmp.Diff([]string{"v1"}, tags); diff != "" || err != nil {
		t.Errorf("tags (-want +got), %v:\n%s", err, diff)
	}
}

func TestReferrers_Deleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one, two := s.attach("app", someone, `,"artifactType":"one"`), s.attach("app", someone, `,"artifactType":"two"`)
	three := s.attach("app", someone, `,"artifactType":"three"`)

	if err := crane.Delete(s.host()+"/app@"+one.String(), s.crane()...); err != nil {
		t.Fatal(err)
	}
	left := []digest.Digest{two, three}
	slices.Sort(left)
	if diff := cmp.Diff(left, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("after a delete (-want +got):\n%s", diff)
	}

	// A garbage collector, or a hand, takes the manifest away from under us.
	if err := os.RemoveAll(filepath.Join(s.dir, "docker/registry/v2/blobs/sha256", two.Encoded()[:2], two.Encoded())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]digest.Digest{three}, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("after a loss (-want +got):\n%s", diff)
	}

	s.attach("app", someone, `,"artifactType":"one"`)
	back := []digest.Digest{one, three}
	slices.Sort(back)
	if diff := cmp.Diff(back, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("after a second push (-want +got):\n%s", diff)
	}
}

func TestReferrers_Refused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	stored := s.attach("app", someone, "")

	for _, members := range []string{
		`"subject":{"digest":"sha256:abc"}`, `"subject":{}`, `"subject":"v1"`, `"subject":{"digest":"../../x"}`,
		subject(someone) + `,"artifactType":1`, subject(someone) + `,"annotations":{"a":1}`,
	} {
		s.want(http.StatusBadRequest, "MANIFEST_INVALID", "PUT", "/v2/app/manifests/v1", artifact(config, members), "Content-Type: "+imageType)
	}
	// One that distribution refuses leaves no trace; a refused repetition of
	// one that it took leaves that one.
	missing := artifact(digest.FromString("missing"), subject(someone))
	a := s.want(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/app/manifests/v1", missing, "Content-Type: "+imageType)
	if got := a.header.Get("OCI-Subject"); got != "" {
		t.Errorf("OCI-Subject %q with a refusal", got)
	}
	again := artifact(config, subject(someone))
	s.want(http.StatusBadRequest, "DIGEST_INVALID", "PUT", "/v2/app/manifests/"+someone.String(), again, "Content-Type: "+imageType)
	if diff := cmp.Diff([]digest.Digest{stored}, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	entries, err := filepath.Glob(filepath.Join(s.dir, "referrers/app/_subjects/sha256", someone.Encoded(), "*"))
	if err != nil || len(entries) != 1 {
		t.Errorf("entries on disk: %v, %v; want one", entries, err)
	}
}

// A referrer is indexed before it is stored, so that none is ever lost: when
// the index cannot be written, nothing is stored.
func TestReferrers_IndexFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := artifact(s.blob("app", []byte("{}")), subject(someone))
	if err := os.WriteFile(filepath.Join(s.dir, "referrers/app"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := s.want(http.StatusInternalServerError, "UNKNOWN", "PUT", "/v2/app/manifests/v1", body, "Content-Type: "+imageType)
	if strings.Contains(string(a.body), "referrers") || a.header.Get("OCI-Subject") != "" {
		t.Errorf("got %v %s", a.header, a.body)
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
}

// What a crash or a hand leaves in the index hides none of the rest.
func TestReferrers_BadEntries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.attach("app", someone, "")
	dir := filepath.Join(s.dir, "referrers/app/_subjects/sha256", someone.Encoded())
	for file, content := range map[string]string{
		"sha256-" + strings.Repeat("0", 64) + ".json":     "{",
		"sha256-" + strings.Repeat("f", 64) + ".json.tmp": "",
		"sha256-" + strings.Repeat("f", 64) + ".json":     `{"digest":"sha256:` + strings.Repeat("f", 64) + `"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]digest.Digest{want}, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
}

func TestReferrers_Restart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	want := s.attach("team/app", someone, "")
	s.restart()
	if diff := cmp.Diff([]digest.Digest{want}, s.referrerDigests("team/app", someone)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	if got := s.referrerDigests("team", someone); len(got) != 0 {
		t.Errorf("repository team has the referrers %v of team/app", got)
	}
}

// Many clients attach to one subject, some the same thing, while others delete.
func TestReferrers_Concurrently(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := s.blob("app", []byte("{}"))
	var want []digest.Digest
	var wg sync.WaitGroup
	for i := range 12 {
		body := artifact(config, subject(someone)+fmt.Sprintf(`,"artifactType":"type/%d"`, i))
		d := digest.FromBytes(body)
		want = append(want, d)
		for range 2 {
			wg.Go(func() {
				s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/"+d.String(), body, "Content-Type: "+imageType)
			})
		}
		gone := s.attach("app", someone, fmt.Sprintf(`,"artifactType":"gone/%d"`, i))
		wg.Go(func() { s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+gone.String(), nil) })
		wg.Go(func() { s.referrerDigests("app", someone) })
	}
	wg.Wait()
	slices.Sort(want)
	if diff := cmp.Diff(want, s.referrerDigests("app", someone)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
}

// No page is larger than the manifests that clients read.
func TestReferrers_Pages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var want []digest.Digest
	for i := range 3 {
		large := strings.Repeat("x", 1_500_000)
		want = append(want, s.attach("app", someone, fmt.Sprintf(`,"artifactType":"large","annotations":{"n":"%d","text":%q}`, i, large)))
	}
	s.attach("app", someone, `,"artifactType":"small"`)
	slices.Sort(want)
	found, pages := s.referrers("app", someone, "?artifactType=large")
	var got []digest.Digest
	for _, d := range found {
		got = append(got, d.Digest)
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 2 {
		t.Errorf("%d pages, want 2 (-want +got):\n%s", pages, diff)
	}
}
