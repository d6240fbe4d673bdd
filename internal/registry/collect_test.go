package registry_test

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
)

// collect removes what is garbage now.
func (s *site) collect() (blobs, links int) {
	s.t.Helper()
	g, err := s.reg.Collect(s.t.Context(), time.Now(), false)
	if err != nil {
		s.t.Fatal(err)
	}
	return g.Blobs, g.Links
}

func (s *site) data0(d digest.Digest) string {
	return filepath.Join(s.dir, "docker/registry/v2/blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded(), "data")
}

// old makes every blob, and every link to one, look a year old.
func (s *site) old() {
	s.t.Helper()
	year := time.Now().Add(-365 * 24 * time.Hour)
	err := filepath.WalkDir(filepath.Join(s.dir, "docker"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, year, year)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	s.push("app:v1", img)
	gone := s.push("app:v2", ociImage(t)).String() // a config and two layers
	s.push("keep:v1", img)
	loose := s.blob("app", []byte("loose"))
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+gone, nil)

	if g, err := s.reg.Collect(t.Context(), time.Now().Add(-time.Hour), false); err != nil || g.Blobs+g.Links > 0 {
		t.Errorf("%+v is too young, %v", g, err)
	}
	dry, err := s.reg.Collect(t.Context(), time.Now(), true)
	if err != nil || dry.Blobs != 5 || dry.Links != 4 || dry.Bytes < 1000 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	if blobs, links := s.collect(); blobs != 5 || links != 4 {
		t.Errorf("collected %d blobs, %d links; want 5, 4", blobs, links)
	}
	if blobs, links := s.collect(); blobs+links != 0 {
		t.Errorf("collected %d blobs, %d links once more", blobs, links)
	}
	if _, err := os.Stat(filepath.Dir(s.data0(loose))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a blob stays: %v", err)
	}
	s.want(http.StatusNotFound, "BLOB_UNKNOWN", "GET", "/v2/app/blobs/"+loose.String(), nil)
	for _, ref := range []string{"app:v1", "keep:v1"} {
		s.whole(ref)
	}
	s.blob("app", []byte("loose"))
	s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+loose.String(), nil)
}

// whole pulls all of an image.
func (s *site) whole(ref string) {
	s.t.Helper()
	img, err := remote.Image(s.ref(ref), s.options()...)
	if err == nil {
		err = validate.Image(img)
	}
	if err != nil {
		s.t.Errorf("%s: %v", ref, err)
	}
}

// A client that was told that a blob is there may rely on it for the time of
// grace, and whoever has mounted or uploaded it too, however old it is.
func TestCollect_Told(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	at := func(i int) string { return s.blob("app", fmt.Appendf(nil, "blob %d", i)).String() }
	told, mounted, again, read, unknown := at(1), at(2), at(3), at(4), at(5)
	s.old()
	grace := time.Now().Add(-time.Minute)
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+told, nil)
	s.want(http.StatusCreated, "", "POST", "/v2/other/blobs/uploads/?from=app&mount="+mounted, nil)
	at(3)
	s.want(http.StatusPartialContent, "", "GET", "/v2/app/blobs/"+read, nil, "Range: bytes=0-0")
	g, err := s.reg.Collect(t.Context(), grace, false)
	if err != nil || g.Blobs != 1 || g.Links != 2 { // of unknown, and of what other has mounted from app
		t.Errorf("%+v, %v", g, err)
	}
	for _, d := range []string{told, again, read} {
		s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+d, nil)
	}
	s.want(http.StatusOK, "", "HEAD", "/v2/other/blobs/"+mounted, nil)
	s.want(http.StatusNotFound, "", "HEAD", "/v2/app/blobs/"+unknown, nil)
}

// A manifest that is pushed again, or was deleted and is pushed again, keeps
// its blobs and itself.
func TestCollect_PushedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	img := ociImage(t)
	d := s.push("app:v1", img).String()
	body := s.want(http.StatusOK, "", "GET", "/v2/app/manifests/v1", nil).body
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d, nil)
	s.old()
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v2", body, "Content-Type: "+imageType)
	s.want(http.StatusAccepted, "", "DELETE", "/v2/app/manifests/"+d, nil)
	if g, err := s.reg.Collect(t.Context(), time.Now().Add(-time.Minute), false); err != nil || g.Blobs > 0 {
		t.Errorf("%+v, %v: a client may push once more", g, err)
	}
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v3", body, "Content-Type: "+imageType)
	s.whole("app:v3")
}

// A manifest whose parts are named by another algorithm keeps what is stored
// under ours.
func TestCollect_OtherAlgorithm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	body := []byte("by sha512")
	other := digest.NewDigestFromEncoded(digest.SHA512, fmt.Sprintf("%x", sha512.Sum512(body)))
	a := s.want(http.StatusAccepted, "", "POST", "/v2/app/blobs/uploads/", nil)
	s.want(http.StatusCreated, "", "PUT", with(a.header.Get("Location"), "digest="+other.String()), body, octets)
	config := s.blob("app", []byte("{}"))
	manifest := strings.Replace(string(artifact(config, "")), `"layers":[`, fmt.Sprintf(`"layers":[{"mediaType":"a/b","digest":%q,"size":9},`, other), 1)
	manifest = strings.Replace(manifest, ",]", "]", 1)
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v1", []byte(manifest), "Content-Type: "+imageType)
	s.old()
	s.collect()
	s.want(http.StatusOK, "", "GET", "/v2/app/blobs/"+other.String(), nil)
}

// What cannot be read may need anything.
func TestCollect_BrokenManifest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.push("app:v1", ociImage(t))
	loose := s.blob("app", []byte("loose"))
	if err := os.WriteFile(s.data0(digest.Digest(d.String())), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err := s.reg.Collect(t.Context(), time.Now(), false); err == nil || g.Blobs+g.Links > 0 {
		t.Errorf("collected %+v, %v", g, err)
	}
	s.want(http.StatusOK, "", "HEAD", "/v2/app/blobs/"+loose.String(), nil)
}

// TestCollect_WhilePushed has clients push images that share layers, delete
// them and push them again, as BuildKit does (HEAD, upload what is missing,
// manifest) and with mounts, while garbage is collected all the time, with far
// less grace than a push takes. So a push may fail, and is done again; what was
// pushed is whole, and in the end nothing is left that is not needed.
func TestCollect_WhilePushed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	layers := make([]v1.Image, 6)
	for i := range layers {
		layers[i] = ociImage(t)
	}
	ctx, stop := context.WithCancel(t.Context())
	var pushes, failures, rounds, given atomic.Int64
	var collector, pushers sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			g, err := s.reg.Collect(t.Context(), time.Now().Add(-20*time.Millisecond), false)
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond) // somebody else wants the processor too
			rounds.Add(1)
			given.Add(int64(g.Blobs))
		}
	})
	const clients, each = 4, 12
	for id := range clients {
		pushers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(id), 1))
			for n := range each {
				repo := fmt.Sprintf("app%d", random.IntN(2))
				img := layers[random.IntN(len(layers))]
				ref := fmt.Sprintf("%s:c%d", repo, id)
				pushes.Add(1)
				for try := 0; ; try++ {
					err := s.tryPush(ref, img)
					if err == nil {
						break
					}
					var refused *transport.Error
					if !errors.As(err, &refused) || refused.StatusCode >= 500 || try > 200 {
						t.Errorf("push %s: %v", ref, err)
						return
					}
					failures.Add(1)
				}
				if n%3 == 0 {
					s.do("DELETE", fmt.Sprintf("/v2/%s/manifests/%s", repo, hash(t, img)), nil)
				}
			}
		})
	}
	pushers.Wait()
	stop()
	collector.Wait()
	images := 0
	for _, repo := range []string{"app0", "app1"} {
		tags, err := crane.ListTags(s.host()+"/"+repo, s.crane()...)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			s.whole(repo + ":" + tag)
			images++
		}
	}
	t.Logf("%d pushes, of them %d again for they had lost a blob; %d collections gave back %d blobs; %d images are whole",
		pushes.Load(), failures.Load(), rounds.Load(), given.Load(), images)
	if given.Load() == 0 {
		t.Error("nothing was collected meanwhile")
	}
	for _, repo := range []string{"app0", "app1"} {
		s.want(http.StatusAccepted, "", "DELETE", "/acr/v1/"+repo, nil)
	}
	s.collect()
	left := 0
	if err := filepath.WalkDir(filepath.Join(s.dir, "docker/registry/v2/blobs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left++
		}
		return err
	}); err != nil || left > 0 {
		t.Errorf("%d blobs are left of nothing, %v", left, err)
	}
}

// tryPush pushes as remote does, without its own repetitions.
func (s *site) tryPush(ref string, img v1.Image) error {
	return remote.Write(s.ref(ref), img, append(s.options(), remote.WithRetryPredicate(func(error) bool { return false }))...)
}

// With grace, pushes do not even notice.
func TestCollect_WhilePushedWithGrace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var images []v1.Image
	for i := range 4 {
		images = append(images, ociImage(t))
		s.push(fmt.Sprintf("app:v%d", i), images[i])
		s.want(http.StatusAccepted, "", "DELETE", fmt.Sprintf("/v2/app/manifests/%s", hash(t, images[i])), nil)
	}
	s.old() // all of it is garbage now
	ctx, stop := context.WithCancel(t.Context())
	var collector, pushers sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.reg.Collect(t.Context(), time.Now().Add(-time.Minute), false); err != nil {
				t.Error(err)
			}
		}
	})
	for i, img := range images {
		pushers.Go(func() {
			for n := range 6 {
				if err := s.tryPush(fmt.Sprintf("app:v%d", i), img); err != nil {
					t.Errorf("push: %v", err)
				}
				if n%2 == 0 {
					s.want(http.StatusAccepted, "", "DELETE", fmt.Sprintf("/v2/app/manifests/%s", hash(t, img)), nil)
				}
			}
		})
	}
	pushers.Wait()
	stop()
	collector.Wait()
	for i := range images {
		s.whole(fmt.Sprintf("app:v%d", i))
	}
}
