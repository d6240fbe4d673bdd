package runner

import (
	"context"
	"io"
	"strings"
	"testing"

	"acrd/steps"

	"github.com/google/go-cmp/cmp"
)

// TestDistrust takes everything that opens anything from a stranger's run.
func TestDistrust(t *testing.T) {
	req := Request{
		Task: "web-app", Source: "https://github.com/a/b.git#main", SourceToken: "CANARY", Values: map[string]string{"a": "b"},
		SecretValues: map[string]string{"s": "CANARY"}, Secrets: map[string][]byte{"s": []byte("CANARY")},
		Credentials:      []steps.Credential{{Registry: "r", Username: "u", Password: "CANARY"}},
		VaultCredentials: []VaultCredential{{Registry: "r"}}, Allow: []string{steps.AllowInsecure}, AgentIDs: []string{"x"}, Untrusted: true,
		Build: &BuildRequest{Tags: []string{"app:1"}, SecretArgs: []string{"A=CANARY"}, Push: true},
	}
	before := req.Build
	req.distrust()
	want := Request{
		Task: "web-app", Source: "https://github.com/a/b.git#main", Values: map[string]string{"a": "b"}, Untrusted: true,
		Build: &BuildRequest{Tags: []string{"app:1"}},
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Error(diff)
	}
	if !before.Push {
		t.Error("the task's own request is changed")
	}
	if _, err := (quietSession{}).Push(t.Context(), "app:1", nil); err == nil {
		t.Error("it pushes")
	}
}

// TestKeyless keeps a stranger's run from the daemon's key.
func TestKeyless(t *testing.T) {
	all := &openSources{}
	r := &Runner{Sources: all}
	for source, want := range map[string]bool{
		"ssh://git@git.example.com/a.git#main": false, "git@git.example.com:a.git": false, "https://git.example.com/a.git": true,
		"git://git.example.com/a.git": true, "https://example.com/a.tar.gz": true, "oci://r.io/a:1": true,
	} {
		c, err := steps.ParseContext(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, untrusted := range []bool{true, false} {
			_, err := r.sourcesOf(&Run{Request: Request{Untrusted: untrusted}}).Fetch(t.Context(), c, "", nil)
			if (err == nil) != (want || !untrusted) {
				t.Errorf("%s, untrusted %v: %v", source, untrusted, err)
			}
		}
	}
}

// openSources have everything.
type openSources struct{ Sources }

func (*openSources) Fetch(context.Context, steps.Context, string, io.Writer) (*steps.Fetched, error) {
	return &steps.Fetched{}, nil
}

// TestQuietBuild gives a stranger's build a cache of its own, whatever it asks
// for.
func TestQuietBuild(t *testing.T) {
	under := &builds{}
	op := &steps.BuildOp{Step: "a", BuildOptions: steps.BuildOptions{
		CacheTo: []string{"type=registry,ref=r.io/a"}, CacheFrom: []string{"r.io/a"},
	}}
	op.CacheRef = "r.io/a:cache"
	var out strings.Builder
	if _, err := (quietSession{under, "untrusted/web-app"}).Build(t.Context(), op, &out); err != nil {
		t.Fatal(err)
	}
	want := &steps.BuildOp{Step: "a", CacheScope: "untrusted/web-app"}
	if diff := cmp.Diff(want, under.op); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(out.String(), "no cache is imported or exported") || op.CacheRef == "" {
		t.Errorf("it says %q, and leaves %+v", out.String(), op)
	}
}

// builds keeps what it is asked to build.
type builds struct {
	steps.Session
	op *steps.BuildOp
}

func (b *builds) Build(_ context.Context, op *steps.BuildOp, _ io.Writer) (*steps.Image, error) {
	b.op = op
	return &steps.Image{}, nil
}
