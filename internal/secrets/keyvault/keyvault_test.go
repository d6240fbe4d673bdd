package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"acrd/internal/secrets"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

const store = "https://myvault.vault.azure.net"

// open is a provider on Azure's own fake of its service.
func open(t *testing.T) (*Provider, *[]string) {
	t.Helper()
	server := fake.Server{GetSecret: func(_ context.Context, name, version string, _ *azsecrets.GetSecretOptions) (r azfake.Responder[azsecrets.GetSecretResponse], e azfake.ErrorResponder) {
		value := "canary-" + name + "-" + version
		switch name {
		case "none":
			e.SetResponseError(http.StatusNotFound, "SecretNotFound")
		case "forbidden":
			e.SetResponseError(http.StatusForbidden, "Forbidden")
		case "broken":
			e.SetResponseError(http.StatusBadRequest, "BadParameter")
		case "empty":
			r.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{}, nil)
		default:
			r.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: azsecrets.Secret{Value: &value}}, nil)
		}
		return r, e
	}}
	var identities []string
	return &Provider{
		Transport: fake.NewServerTransport(&server),
		Credential: func(identity string) (azcore.TokenCredential, error) {
			identities = append(identities, identity)
			if identity == "nobody" {
				return nil, errors.New("nobody is known\nand a page about it")
			}
			return &azfake.TokenCredential{}, nil
		},
	}, &identities
}

func TestGet(t *testing.T) {
	p, identities := open(t)
	for _, row := range []struct {
		ref  secrets.Ref
		want string
	}{
		{secrets.Ref{Store: store, Name: "db"}, "canary-db-"},
		{secrets.Ref{Store: store, Name: "db", Version: "0123abc"}, "canary-db-0123abc"},
		{secrets.Ref{Store: store, Name: "db", Identity: "someone"}, "canary-db-"},
		{secrets.Ref{Store: "https://other.vault.azure.cn", Name: "db"}, "canary-db-"},
	} {
		if got, err := p.Get(t.Context(), row.ref); err != nil || string(got) != row.want {
			t.Errorf("%+v: got %q, %v", row.ref, got, err)
		}
	}
	if len(*identities) != 3 { // one client for each vault and identity
		t.Errorf("identities asked for: %q", *identities)
	}
}

func TestGetRefused(t *testing.T) {
	p, _ := open(t)
	for _, row := range []struct {
		ref  secrets.Ref
		want string
		is   error
	}{
		{secrets.Ref{Store: store, Name: "none"}, "no such secret (SecretNotFound)", secrets.ErrNotFound},
		{secrets.Ref{Store: store, Name: "forbidden"}, "access denied (Forbidden)", secrets.ErrDenied},
		{secrets.Ref{Store: store, Name: "broken"}, "azure answers 400 BadParameter", nil},
		{secrets.Ref{Store: store, Name: "empty"}, "no such secret", secrets.ErrNotFound},
		{secrets.Ref{Store: store, Name: "db", Identity: "nobody"}, "no Azure identity: nobody is known", nil},
		{secrets.Ref{Store: "https://evil.example", Name: "db"}, "no vault of Azure's", nil},
		{secrets.Ref{Store: "https://a.b.vault.azure.net", Name: "db"}, "no vault of Azure's", nil},
		{secrets.Ref{Store: "https://vault.azure.net.evil.example", Name: "db"}, "no vault of Azure's", nil},
		{secrets.Ref{Store: "https://x.vault.azure.net:8443", Name: "db"}, "no vault of Azure's", nil},
	} {
		_, err := p.Get(t.Context(), row.ref)
		if err == nil || !strings.Contains(err.Error(), row.want) || row.is != nil && !errors.Is(err, row.is) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want %q", row.ref, err, row.want)
		}
	}
}

// TestGetCanceled: who waits is told why he waits no more.
func TestGetCanceled(t *testing.T) {
	p, _ := open(t)
	reason := errors.New("run timed out")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if _, err := p.Get(ctx, secrets.Ref{Store: store, Name: "db"}); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}
