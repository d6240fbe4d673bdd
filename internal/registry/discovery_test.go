package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// list follows a list through its pages and says how many there were.
func (s *site) list(target, key string) (items []string, pages int) {
	s.t.Helper()
	for target != "" {
		a := s.want(http.StatusOK, "", "GET", target, nil)
		var body map[string]json.RawMessage
		if err := json.Unmarshal(a.body, &body); err != nil {
			s.t.Fatalf("%s: %v in %s", target, err, a.body)
		}
		var page []string
		if err := json.Unmarshal(body[key], &page); err != nil {
			s.t.Fatalf("%s: %v in %s", target, err, a.body)
		}
		items = append(items, page...)
		pages++
		target = nextPage(a)
	}
	return items, pages
}

func TestDiscovery_Tags(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	want := []string{"a", "b", "c", "latest", "v1", "v1.10", "v1.2"}
	for _, tag := range slices.Backward(want) {
		s.push("app:"+tag, img)
	}
	for n, wantPages := range map[int]int{1: 8, 3: 3, 7: 2, 100: 1} {
		got, pages := s.list("/v2/app/tags/list?n="+strconv.Itoa(n), "tags")
		if diff := cmp.Diff(want, got); diff != "" || pages != wantPages {
			t.Errorf("n=%d: %d pages, want %d (-want +got):\n%s", n, pages, wantPages, diff)
		}
	}
	if got, _ := s.list("/v2/app/tags/list?n=2&last=v1", "tags"); !slices.Equal(got, []string{"v1.10", "v1.2"}) {
		t.Errorf("after v1: got %v", got)
	}
	if got, _ := s.list("/v2/app/tags/list?n=0", "tags"); len(got) != 0 {
		t.Errorf("n=0: got %v", got)
	}
	got, err := remote.List(s.repo("app"), append(s.options(), remote.WithPageSize(2))...)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("client, %v (-want +got):\n%s", err, diff)
	}
}

// No answer lists more than 1,000, whatever n is or is not.
func TestDiscovery_TagsCapped(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:t0000", ociImage(t))
	tags := filepath.Join(s.dir, "docker/registry/v2/repositories/app/_manifests/tags")
	for i := 1; i < 1100; i++ { // cheaper than pushing
		if err := os.MkdirAll(filepath.Join(tags, fmt.Sprintf("t%04d", i), "current"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, query := range []string{"", "?n=1100", "?n=2000000000"} {
		got, pages := s.list("/v2/app/tags/list"+query, "tags")
		if len(got) != 1100 || pages != 2 {
			t.Errorf("%q: %d tags on %d pages, want 1100 on 2", query, len(got), pages)
		}
	}
}

func TestDiscovery_Catalog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if got, _ := s.list("/v2/_catalog", "repositories"); len(got) != 0 {
		t.Errorf("empty registry lists %v", got)
	}
	img := ociImage(t)
	want := []string{"a", "a/b", "a/b/c", "ab", "manifests", "team/app"}
	for _, repo := range want {
		s.push(repo+":v1", img)
	}
	for _, query := range []string{"", "?n=1", "?n=2", "?n=6", "?n=1000", "?n=5000"} {
		got, _ := s.list("/v2/_catalog"+query, "repositories")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	reg, err := name.NewRegistry(s.host())
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Catalog(t.Context(), reg, append(s.options(), remote.WithPageSize(4))...)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("client, %v (-want +got):\n%s", err, diff)
	}
}

func TestDiscovery_BadPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.push("app:v1", ociImage(t))
	for _, query := range []string{"n=-1", "n=x", "n=1.5", "n=99999999999999999999", "last=..%2f..%2f", "last=a%20b", "last=%00"} {
		for _, list := range []string{"/v2/_catalog?", "/v2/app/tags/list?"} {
			s.want(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "GET", list+query, nil)
		}
	}
}
