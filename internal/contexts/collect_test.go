package contexts

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// usedAt says when a context was last of use.
func usedAt(t *testing.T, s *Store, m *Manifest, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago)
	if err := os.Chtimes(s.contextPath(m.Digest(), "name"), at, at); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, s *Store) (n int) {
	t.Helper()
	for _, sub := range []string{"blobs", "copies"} {
		err := filepath.WalkDir(s.path(sub), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestCollect(t *testing.T) {
	s := newStore(t)
	var all []*Packed
	for _, content := range []string{"oldest", "older", "newest"} {
		p := pack(t, folder(t, map[string]string{"own": content + strings.Repeat("x", 1000), "shared": strings.Repeat("s", 5000)}))
		add(t, s, p)
		open(t, s, p.Manifest).Close()
		all = append(all, p)
	}
	for i, p := range all {
		usedAt(t, s, p.Manifest, time.Duration(3-i)*time.Hour)
	}
	there := func(want ...bool) {
		t.Helper()
		for i, p := range all {
			if got := s.hasTree(p.Manifest.Digest()); got != want[i] {
				t.Errorf("tree %d is there: %v, want %v", i, got, want[i])
			}
		}
	}

	if freed, err := s.Collect(t.Context(), -1, 0); freed != 0 || err != nil {
		t.Errorf("without bounds it frees %d bytes, %v", freed, err)
	}
	there(true, true, true)
	if _, err := s.Collect(t.Context(), -1, 150*time.Minute); err != nil {
		t.Error(err)
	}
	there(false, true, true)

	held := open(t, s, all[1].Manifest)
	usedAt(t, s, all[1].Manifest, 2*time.Hour)
	if _, err := s.Collect(t.Context(), 0, time.Minute); err != nil {
		t.Error(err)
	}
	there(false, true, false)
	sameTree(t, held, all[1].Manifest)

	held.Close()
	held.Close()
	if _, err := s.Collect(t.Context(), 0, 0); err != nil {
		t.Error(err)
	}
	there(false, false, false)
	if n := contents(t, s); n > 0 {
		t.Errorf("%d contents are left of nothing", n)
	}
	if _, err := s.Open(t.Context(), all[0].Manifest.Digest()); !errors.Is(err, ErrNotFound) {
		t.Errorf("collected context: %v, want ErrNotFound", err)
	}
	if got := add(t, s, all[0]); got != 2 {
		t.Errorf("%d contents are sent again, want 2", got)
	}
	sameTree(t, open(t, s, all[0].Manifest), all[0].Manifest)
}

// TestCollectBytes evicts as many as it must and no more.
func TestCollectBytes(t *testing.T) {
	s := newStore(t)
	shared := strings.Repeat("s", 10_000)
	var all []*Packed
	for i := range 5 {
		own := strings.Repeat(string(rune('a'+i)), 1000)
		p := pack(t, folder(t, map[string]string{"own": own, "shared": shared}))
		add(t, s, p)
		open(t, s, p.Manifest).Close()
		usedAt(t, s, p.Manifest, time.Duration(5-i)*time.Hour)
		all = append(all, p)
	}
	// Each folder's shared file has a time of its own, so each is a copy.
	freed, err := s.Collect(t.Context(), 35_000, 0)
	if err != nil || freed != 22_000 {
		t.Errorf("freed %d, %v; want two trees of 11000 bytes", freed, err)
	}
	for i, want := range []bool{false, false, true, true, true} {
		if got := s.hasTree(all[i].Manifest.Digest()); got != want {
			t.Errorf("tree %d is there: %v, want %v", i, got, want)
		}
	}
	sameTree(t, open(t, s, all[4].Manifest), all[4].Manifest)
	// The shared content is known still, although its first inode is gone.
	again := &Manifest{Entries: []Entry{fileEntry("again", shared)}}
	if missing, err := s.Plan(t.Context(), again); err != nil || len(missing) > 0 {
		t.Errorf("missing %v, %v; want nothing", missing, err)
	}
	sameTree(t, open(t, s, again), again)
}

// TestCollectAwaited: contents of a context that is still to be laid out stay,
// until the context itself goes.
func TestCollectAwaited(t *testing.T) {
	s, p := newStore(t), pack(t, folder(t, map[string]string{"a": "x", "b": "y"}))
	missing, err := s.Plan(t.Context(), p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(t.Context(), p.Manifest.Digest(), stream(t, p, missing[:1]))
	if freed, err := s.Collect(t.Context(), -1, 0); freed != 0 || err != nil {
		t.Errorf("freed %d, %v, while an upload goes on", freed, err)
	}
	if freed, err := s.Collect(t.Context(), 0, 0); freed != 1 || err != nil {
		t.Errorf("freed %d, %v; want the one byte that came", freed, err)
	}
	err = s.Receive(t.Context(), p.Manifest.Digest(), stream(t, p, missing[1:]))
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("the rest of a collected context: %v, want ErrNotFound", err)
	}
}

// TestCollectMeanwhile collects as hard as it can while others upload and use
// trees. They may have to send again, but what they open is whole and stays.
func TestCollectMeanwhile(t *testing.T) {
	s := newStore(t)
	var dirs []string
	for i := range 4 {
		dir := varied(t)
		fill(t, dir, map[string]string{"own": string(rune('a' + i))})
		dirs = append(dirs, dir)
	}
	ctx, stop := context.WithCancel(t.Context())
	var collector, users sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Collect(ctx, 0, time.Nanosecond); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		users.Go(func() {
			for range 10 {
				p := pack(t, dirs[rand.IntN(len(dirs))])
				tree, err := sendAndOpen(t, s, p)
				if err != nil {
					t.Error(err)
					continue
				}
				sameTree(t, tree, p.Manifest)
				tree.Close()
			}
		})
	}
	users.Wait()
	stop()
	collector.Wait()
}

func sendAndOpen(t testing.TB, s *Store, p *Packed) (*Tree, error) {
	for range 1000 {
		missing, err := s.Plan(t.Context(), p.Manifest)
		if err != nil {
			return nil, err
		}
		err = s.Receive(t.Context(), p.Manifest.Digest(), stream(t, p, missing))
		if err == nil {
			var tree *Tree
			if tree, err = s.Open(t.Context(), p.Manifest.Digest()); err == nil {
				return tree, nil
			}
		}
		if !errors.Is(err, ErrNotFound) && !errors.As(err, new(*MissingError)) {
			return nil, err
		}
	}
	return nil, errors.New("collected a thousand times in a row")
}

// TestMachineStopped: after the machine went down, nothing is believed that
// was not flushed, and what is right does not travel again.
func TestMachineStopped(t *testing.T) {
	s, p := newStore(t), pack(t, varied(t))
	s.boot = "boot-1"
	add(t, s, p)
	open(t, s, p.Manifest).Close()
	torn := s.blobPath(digestOf("same"))
	if err := os.Truncate(torn, 0); err != nil {
		t.Fatal(err)
	}

	s = &Store{Dir: s.Dir, boot: "boot-2"}
	missing, err := s.Plan(t.Context(), p.Manifest)
	if err != nil || !slices.Equal(missing, []Digest{digestOf("same")}) {
		t.Errorf("missing %v, %v; want what was torn", missing, err)
	}
	add(t, s, p)
	sameTree(t, open(t, s, p.Manifest), p.Manifest)
	onlyGood(t, s)
	if _, err := s.Collect(t.Context(), -1, 0); err != nil {
		t.Error(err)
	}
	for _, sub := range []string{"blobs", "copies"} {
		if _, err := os.Stat(s.path(sub, "boot-1")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of the earlier boot are left: %v", sub, err)
		}
	}
	names, err := os.ReadDir(s.contextPath(p.Manifest.Digest(), ""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range names {
		got = append(got, n.Name())
	}
	if diff := cmp.Diff([]string{"manifest", "name", "tree.boot-2"}, got); diff != "" {
		t.Errorf("left of the context (-want +got):\n%s", diff)
	}
}

// TestCollectKeeps spares a context that a run waits for, laid out or not.
func TestCollectKeeps(t *testing.T) {
	for _, laidOut := range []bool{false, true} {
		s := newStore(t)
		p := pack(t, folder(t, map[string]string{"a": "1"}))
		add(t, s, p)
		if laidOut {
			open(t, s, p.Manifest).Close()
		}
		usedAt(t, s, p.Manifest, time.Hour)
		release, err := s.Keep(p.Manifest.Digest())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Collect(t.Context(), 0, time.Minute); err != nil {
			t.Error(err)
		}
		open(t, s, p.Manifest).Close()
		release()
		release() // does nothing
		usedAt(t, s, p.Manifest, time.Hour)
		if _, err := s.Collect(t.Context(), 0, time.Minute); err != nil {
			t.Error(err)
		}
		if n := contents(t, s); n != 0 {
			t.Errorf("laid out %v: %d contents are left when nobody keeps them", laidOut, n)
		}
	}
}
