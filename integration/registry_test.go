package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRegistryPurge has a task purge the registry, as scheduled tasks do on
// ACR, and what was deleted restored.
func TestRegistryPurge(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	dir := d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/base/empty:1\nARG N\nLABEL n=$N\n"})
	for i := range 3 {
		d.succeed(d.acrd(dir, "build", "-t", fmt.Sprintf("app:ci-%d", i), "--build-arg", fmt.Sprintf("N=%d", i), "."))
	}
	d.succeed(d.acrd(dir, "build", "-t", "app:v1", "--build-arg", "N=v1", "."))
	d.succeed(d.acrd(dir, "config", "soft-delete", "update", "--status", "enabled"))
	d.succeed(d.acrd(dir, "task", "create", "-n", "tidy-up", "-c", "/dev/null", "--cmd", "acr purge --filter 'app:^ci-' --ago 0d --keep 1 --untagged"))
	r := d.succeed(d.acrd(dir, "task", "run", "-n", "tidy-up"))
	for _, says := range []string{"Deleted " + d.registry + "/app:ci-0", "Number of deleted tags: 2", "Number of deleted manifests: 1"} {
		if !strings.Contains(r.stdout, says) {
			t.Errorf("the task does not say %q:\n%s", says, r)
		}
	}
	tags := func() (all []string) {
		r := d.succeed(d.acrd(dir, "repository", "show-tags", "--repository", "app", "-o", "json"))
		if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := strings.Join(tags(), " "); got != "ci-2 v1" {
		t.Errorf("left: %s", got)
	}
	d.succeed(d.acrd(dir, "gc", "--grace", "0"))
	d.succeed(d.acrd(dir, "manifest", "restore", "-n", "app:ci-0"))
	if got := strings.Join(tags(), " "); got != "ci-0 ci-2 v1" {
		t.Errorf("left: %s", got)
	}
	d.succeed(d.acrd(d.folder(map[string]string{"Dockerfile": "FROM REGISTRY/app:ci-0\n"}), "build", "--pull", "."))
	if r := d.acrd(dir, "run", "--cmd", "acr purge --filter 'app:.*' --ago 0d -r other", "/dev/null"); !strings.Contains(r.String(), "and no other") {
		t.Errorf("another registry: %s", r)
	}
	d.succeed(d.acrd(dir, "purge", "--filter", "app:^ci-", "--ago", "0d"))
	if got := strings.Join(tags(), " "); got != "v1" {
		t.Errorf("left: %s", got)
	}
}

// TestRegistryGarbage has the engine build and push the same images again and
// again, while they are deleted and garbage is collected without grace. A
// push may fail, for the engine was told of what is gone then; images that are
// there are whole.
func TestRegistryGarbage(t *testing.T) {
	need(t)
	d := start(t)
	d.base()
	crane := tool(t, "clients", "crane", "github.com/google/go-containerregistry/cmd/crane")
	var work []string
	for i := range 2 {
		work = append(work, d.folder(map[string]string{"Dockerfile": fmt.Sprintf("FROM REGISTRY/base/busybox:1\nRUN head -c 200000 /dev/urandom > /blob%d\n", i)}))
		d.succeed(d.acrd(work[i], "build", "-t", fmt.Sprintf("app%d:v1", i), "."))
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	var collector, builders sync.WaitGroup
	rounds := 0
	collector.Go(func() {
		for ; ctx.Err() == nil; rounds++ {
			if r := d.acrd(work[0], "gc", "--grace", "0s"); r.code != 0 {
				t.Errorf("gc: %s", r)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	failed := make([]int, len(work))
	for i, dir := range work {
		builders.Go(func() {
			name := fmt.Sprintf("app%d", i)
			for n := range 6 {
				for d.acrd(dir, "build", "-t", name+":v1", ".").code != 0 {
					if failed[i]++; failed[i] > 30 {
						t.Errorf("%s: no push succeeds", name)
						return
					}
				}
				if out, err := exec.Command(crane, "validate", "--remote", d.registry+"/"+name+":v1").CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
				if n%2 == 0 {
					if r := d.acrd(dir, "repository", "delete", "--repository", name, "--yes"); r.code != 0 {
						t.Errorf("delete %s: %s", name, r)
					}
				}
			}
		})
	}
	builders.Wait()
	stop()
	collector.Wait()
	for i := range work {
		said(t, crane, "validate", "--remote", fmt.Sprintf("%s/app%d:v1", d.registry, i))
	}
	t.Logf("%d collections; pushes that were done again: %v", rounds, failed)

	before := blobBytes(t, d)
	for i := range work {
		d.succeed(d.acrd(work[i], "repository", "delete", "--repository", fmt.Sprintf("app%d", i), "--yes"))
	}
	d.succeed(d.acrd(work[0], "gc", "--grace", "0s"))
	if after := blobBytes(t, d); before-after < 400_000 {
		t.Errorf("%d bytes before, %d after: two layers of 200 kB are gone", before, after)
	}
}

func blobBytes(t *testing.T, d *daemon) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(d.state, "registry/docker/registry/v2/blobs"), func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
