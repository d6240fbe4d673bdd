package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"acrd/internal/address"
	"acrd/internal/images"
)

func TestEventSourceCommands(t *testing.T) {
	o := newOffice(t)
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"create", exitUsage, "the flags --name and --kind are missing"},
		{"create -n hub --kind nexus", exitUsage, `the kind "nexus" is none of`},
		{"create -n h --kind harbor", exitUsage, "needs the host"},
		{"create -n harbor --kind Harbor --for-registry h.example --secret s -o json", exitOK, `"hook": "/hooks/harbor/`},
		{"create -n harbor --kind harbor --for-registry h.example", exitFailed, "there is an event source of that name"},
		{"update -n harbor --credential robot --trust -o tsv", exitOK, "harbor\tharbor\th.example\ts\trobot\ttrue"},
		{"update -n harbor --secret= -o tsv", exitUsage, "needs a secret"},
		{"update -n harbor --secret= --trust=false -o tsv", exitOK, "harbor\tharbor\th.example\t\trobot\tfalse"},
		{"update -n none --secret s", exitFailed, "there is no such event source"},
		{"show -n harbor", exitOK, "RECEIVED"},
		{"list -o tsv", exitOK, "harbor\t"},
		{"delete -n harbor", exitOK, ""},
		{"show -n harbor", exitFailed, "there is no such event source"},
	} {
		code, out, said := o.acrd("", append([]string{"event-source"}, strings.Fields(row.args)...)...)
		if code != row.code || !strings.Contains(out+said, row.want) {
			t.Errorf("%s: %d %s%s, want %d and %q", row.args, code, out, said, row.code, row.want)
		}
	}
}

// TestRegistryTransport: a registry that is named, or that another leads to, is
// nowhere where no registry is.
func TestRegistryTransport(t *testing.T) {
	way := registryTransport()
	leading := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect))
	t.Cleanup(leading.Close)
	for _, host := range []string{"169.254.169.254", "[::ffff:169.254.169.254]:80", leading.Listener.Addr().String()} {
		c := &images.Client{PlainHTTP: []string{host}, Transport: way}
		if d, err := c.Describe(t.Context(), host+"/app:v1", nil, false); !errors.Is(err, address.ErrDenied) {
			t.Errorf("%s: %+v, %v, want a denied address", host, d, err)
		}
	}
}
