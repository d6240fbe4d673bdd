package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acrd/internal/api/apitest"
)

// TestAzureSDK drives a daemon with Azure's own SDK for Go and nothing else:
// its engine builds, its registry has the images, its logs are read by their
// addresses.
func TestAzureSDK(t *testing.T) {
	need(t)
	d := start(t)
	token, err := os.ReadFile(filepath.Join(d.state, "token"))
	if err != nil {
		t.Fatal(err)
	}
	apitest.Run(t, "http://"+d.registry, strings.TrimSpace(string(token)))
}
