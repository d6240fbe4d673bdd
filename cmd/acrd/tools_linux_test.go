package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acrd/internal/registry"
	"acrd/steps"
	"acrd/steps/stepstest"
)

// fakeOpener is an engine whose sessions do nothing, and say what they were
// asked for.
type fakeOpener struct{ images []string }

func (f *fakeOpener) Open(context.Context, *steps.Place) (steps.Session, error) {
	return &fakeSession{opener: f}, nil
}

type fakeSession struct {
	stepstest.Fake
	opener *fakeOpener
}

func (s *fakeSession) Exec(_ context.Context, op *steps.ExecOp, _ steps.Output) error {
	s.opener.images = append(s.opener.images, op.Image)
	return nil
}

func (*fakeSession) Close(context.Context) error { return nil }

func TestToolEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	reg, err := registry.Open(t.Context(), registry.Options{Dir: filepath.Join(dir, "registry")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	inner := httptest.NewUnstartedServer((&daemon{registry: reg}).inside())
	inner.Listener.Close()
	inner.Listener = l
	inner.Start()
	outer := httptest.NewServer(reg)
	t.Cleanup(func() {
		inner.Close()
		outer.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &shop{T: t, url: outer.URL}
	for _, tag := range []string{"ci-1", "ci-2", "v1"} {
		s.index("app/manifests/"+tag, numbered(len(tag)))
	}
	opener := &fakeOpener{}
	engine := &toolEngine{opener, filepath.Join(dir, "sock")}
	exec := func(place *steps.Place, line string) (string, error) {
		t.Helper()
		session, err := engine.Open(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(line)
		var out bytes.Buffer
		err = session.Exec(t.Context(), &steps.ExecOp{Image: words[0], Args: words[1:]}, steps.Output{Stdout: &out, Stderr: &out})
		return out.String(), err
	}
	acr := steps.DefaultImageAliases["acr"]
	place := &steps.Place{Registry: "localhost:5000"}

	out, err := exec(place, acr+" purge --filter app:^ci- --ago 0d -r localhost:5000")
	if err != nil || !strings.Contains(out, "Deleted localhost:5000/app:ci-1\n") || !strings.Contains(out, "Number of deleted tags: 2\n") {
		t.Errorf("%v: %s", err, out)
	}
	for _, row := range []struct {
		place      *steps.Place
		line, says string
		refused    bool
	}{
		{place, acr + " purge --filter app:v1", "--ago is required", false},
		{place, acr + " purge --nothing", "unknown flag", false},
		{place, acr + " purge --filter app:v1 --ago 0d -r other", "no other", false},
		{place, acr + " tag list -r localhost:5000", "only acr purge", true},
		{&steps.Place{Registry: "localhost:5000", KeepRegistry: true}, acr + " purge --filter app:v1 --ago 0d", "may not delete in the registry", true},
		{&steps.Place{Untrusted: true}, acr + " purge --filter app:v1 --ago 0d", "fork", true},
	} {
		out, err := exec(row.place, row.line)
		var exit *steps.ExitError
		var refused *steps.RefusedError
		if row.refused != errors.As(err, &refused) || row.refused == errors.As(err, &exit) || !strings.Contains(out+err.Error(), row.says) {
			t.Errorf("%s: %v: %s", row.line, err, out)
		}
	}
	for _, image := range []string{"alpine", acrImage + "-other:1"} {
		if _, err := exec(place, image+" purge"); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(opener.images, []string{"alpine", acrImage + "-other:1"}) {
		t.Errorf("containers were run for %v", opener.images)
	}
}
