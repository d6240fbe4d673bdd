package api_test

import (
	"testing"

	"acrd/internal/acr"
	"acrd/internal/api/apitest"
)

func TestAzureSDK(t *testing.T) {
	d := newDesk(t)
	d.api.Policies = keeper{&rules{acr.NoPolicies()}}
	apitest.Run(t, d.server.URL, deskToken)
}
