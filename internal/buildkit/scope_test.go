package buildkit

import (
	"testing"

	"acrd/steps"
)

// TestCacheScope has a scope that the build's own arguments do not change.
func TestCacheScope(t *testing.T) {
	s := newWorkshop(&steps.Place{}, &Registries{})
	op := &steps.BuildOp{BuildOptions: steps.BuildOptions{BuildArgs: []string{"BUILDKIT_CACHE_MOUNT_NS=theirs"}, AddHosts: []string{"a:10.0.0.1"}}}
	const key, hosts = "build-arg:BUILDKIT_CACHE_MOUNT_NS", "add-hosts"
	for scope, want := range map[string][2]string{
		"":          {"theirs", "a=10.0.0.1"},
		"untrusted": {"untrusted", "a=10.0.0.1,6353de988bb15f611bd2eb9ca3a62eb2.cache.invalid=127.0.0.1"},
	} {
		op.CacheScope = scope
		got, err := s.attributes(op, &inputs{})
		if err != nil {
			t.Fatal(err)
		}
		if got[key] != want[0] || got[hosts] != want[1] {
			t.Errorf("scope %q: %q, %q; want %q", scope, got[key], got[hosts], want)
		}
	}
}
