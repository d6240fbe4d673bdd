package api_test

import (
	"testing"

	"acrd/internal/api/apitest"
)

func TestAzureSDK(t *testing.T) {
	d := newDesk(t)
	apitest.Run(t, d.server.URL, deskToken)
}
