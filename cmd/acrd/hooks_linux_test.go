package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"acrd/internal/address"
	"acrd/internal/images"
)

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
