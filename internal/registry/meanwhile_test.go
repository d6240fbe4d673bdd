package registry_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"acrd/internal/acr"
)

// late is a body whose first byte waits.
type late struct {
	reached, open chan struct{}
	body          bytes.Reader
	once          sync.Once
}

func (l *late) Read(p []byte) (int, error) {
	l.once.Do(func() { close(l.reached); <-l.open })
	return l.body.Read(p)
}

// A tag that is locked while a slow client sends what it is to be put to stays
// what it is.
func TestLockedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	before := s.push("app:v1", ociImage(t)).String()
	s.push("app:v2", ociImage(t))
	next := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/v2", nil).body
	body := &late{reached: make(chan struct{}), open: make(chan struct{}), body: *bytes.NewReader(next)}
	req := httptest.NewRequestWithContext(t.Context(), "PUT", "/v2/app/manifests/v1", body)
	req.ContentLength = int64(len(next))
	req.Header.Set("Content-Type", imageType)
	answered := make(chan int, 1)
	go func() {
		w := httptest.NewRecorder()
		s.reg.ServeHTTP(w, req)
		answered <- w.Code
	}()
	<-body.reached
	s.want(http.StatusOK, "", "PATCH", "/acr/v1/app/_tags/v1", []byte(`{"writeEnabled":false}`))
	close(body.open)
	if code := <-answered; code != http.StatusMethodNotAllowed {
		t.Errorf("the push got %d, want 405", code)
	}
	if a := s.do("GET", "/v2/app/manifests/v1", nil); a.header.Get("Docker-Content-Digest") != before {
		t.Errorf("the tag is put to %s, want %s", a.header.Get("Docker-Content-Digest"), before)
	}
}

// Of a tag that is deleted while it is put to something else, what it named last
// can be restored.
func TestSoftDelete_PutMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.softly()
	var bodies [][]byte
	var digests []string
	for i := range 2 {
		digests = append(digests, s.push(fmt.Sprintf("app:keep%d", i), ociImage(t)).String())
		bodies = append(bodies, s.want(http.StatusOK, "", "GET", "/v2/app/manifests/"+digests[i], nil).body)
	}
	deleted := 0
	for i := range 60 {
		tag := fmt.Sprintf("/v2/app/manifests/v%d", i)
		s.want(http.StatusCreated, "", "PUT", tag, bodies[0], "Content-Type: "+imageType)
		var both sync.WaitGroup
		both.Go(func() { s.want(http.StatusCreated, "", "PUT", tag, bodies[1], "Content-Type: "+imageType) })
		both.Go(func() { s.want(http.StatusAccepted, "", "DELETE", tag, nil) })
		both.Wait()
		if s.do("HEAD", tag, nil).status != http.StatusNotFound {
			continue
		}
		deleted++
		var list acr.DeletedTags
		s.decode(&list, fmt.Sprintf("/acr/v1/_deleted/app/_tags/v%d", i))
		if !slices.ContainsFunc(list.Tags, func(d acr.DeletedTag) bool { return d.Digest == digests[1] }) {
			t.Errorf("%s named %s as it was deleted; these are remembered: %+v", tag, digests[1], list.Tags)
		}
	}
	t.Logf("%d of 60 were deleted last", deleted)
}

// A manifest that is deleted while it is being restored can be restored again.
func TestSoftDelete_RestoredMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.softly()
	d := s.push("app:v1", ociImage(t)).String()
	remove := func() { s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d, nil) }
	restore := func() { s.want(http.StatusOK, "", "POST", "/acr/v1/_deleted/app/_manifests/"+d, nil) }
	for range 60 {
		remove()
		var both sync.WaitGroup
		both.Go(restore)
		both.Go(func() {
			for s.do("DELETE", "/v2/app/manifests/"+d, nil).status != http.StatusAccepted {
			}
		})
		both.Wait()
		if got := s.deletedManifests("app"); !slices.Equal(got, []string{d}) {
			t.Fatalf("deleted manifests: %v, want %s", got, d)
		}
		restore()
	}
}

// To mount a blob is to read the repository that it comes from, wherever a
// request names that.
func TestMount_ByForm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("secret:v1", ociImage(t))
	blob := s.blob("secret", []byte("secret"))
	s.want(http.StatusOK, "", "PATCH", "/acr/v1/secret", []byte(`{"readEnabled":false}`))
	s.want(http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION", "POST", "/v2/app/blobs/uploads/?from=secret&mount="+blob.String(), nil)
	form := []byte("from=secret&mount=" + blob.String())
	s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", form, "Content-Type: application/x-www-form-urlencoded")
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+blob.String(), nil)
}
