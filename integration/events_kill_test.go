package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"acrd/eventing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestEventsKilled kills the whole daemon at random moments while four clients
// push. Whatever they were told, every image that is there in the end was told
// with one id, and no other. internal/registry kills at every point; this is
// the real process.
func TestEventsKilled(t *testing.T) {
	need(t)
	d := start(t)
	r := newSubscriber(t)
	r.subscribe(d, "pushes", "eventgridschema", eventing.ImagePushed)
	const rounds, clients = 8, 4
	pushed := map[string]v1.Image{}
	acked, killed := 0, 0
	for round := range rounds {
		var mu sync.Mutex // guards pushed and acked
		var all sync.WaitGroup
		stop := make(chan struct{})
		for client := range clients {
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					img, err := random.Image(256, 1)
					if err != nil {
						t.Error(err)
						return
					}
					tag := fmt.Sprintf("kill/%d:r%d-%d", client%2, round, client*1000+i)
					mu.Lock()
					pushed[tag] = img
					mu.Unlock()
					if push(d, tag, img) != nil {
						return
					}
					mu.Lock()
					acked++
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
		if err := syscall.Kill(d.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-d.gone
		killed++
		close(stop)
		all.Wait()
		d.start()
	}
	there := map[string]string{} // by tag: digest
	for tag, img := range pushed {
		if got, err := remote.Head(reference(t, d, tag)); err == nil {
			there[tag] = got.Digest.String()
			if want, _ := img.Digest(); got.Digest != want {
				t.Errorf("%s is %s, want %s", tag, got.Digest, want)
			}
		}
	}
	ids := map[string]map[string]bool{} // by subject
	for deadline := time.Now().Add(20 * time.Second); len(ids) < len(there) && time.Now().Before(deadline); {
		clear(ids)
		for _, e := range r.told(len(there), time.Second) {
			if ids[e.event.Subject] == nil {
				ids[e.event.Subject] = map[string]bool{}
			}
			ids[e.event.Subject][e.event.ID] = true
			var data eventing.RegistryData
			if err := json.Unmarshal(e.event.Data, &data); err != nil || data.Target.Digest != there[e.event.Subject] {
				t.Errorf("%s is told to be %v, and is %q (%v)", e.event.Subject, data.Target, there[e.event.Subject], err)
			}
		}
	}
	for tag := range there {
		if len(ids[tag]) != 1 {
			t.Errorf("%s was told with %d ids", tag, len(ids[tag]))
		}
	}
	if len(there) < acked || acked == 0 {
		t.Errorf("%d images are there, %d pushes were acknowledged", len(there), acked)
	}
	t.Logf("%d kills, %d pushes, %d acknowledged, %d there, %d deliveries", killed, len(pushed), acked, len(there), len(r.told(0, 0)))
}

func reference(t testing.TB, d *daemon, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(d.registry + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func push(d *daemon, image string, img v1.Image) error {
	return remote.Write(reference(d, d, image), img, remote.WithRetryPredicate(func(error) bool { return false }), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
}
