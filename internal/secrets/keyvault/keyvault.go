// Package keyvault reads secrets from Azure Key Vault.
package keyvault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"acrd/internal/secrets"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// Domains are where Azure has its vaults. The daemon asks nobody else: a task
// file must not choose who gets to see the daemon's token.
var Domains = []string{".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net"}

// A Provider reads secrets as the identity that the secret names, or else as
// the one that the daemon has: of its environment, its workload, its machine,
// or the user of az. It connects when it is first used.
type Provider struct {
	// Transport replaces HTTP, and Credential the search for an identity;
	// nil is Azure's own.
	Transport  policy.Transporter
	Credential func(identity string) (azcore.TokenCredential, error)

	mu      sync.Mutex // guards clients
	clients map[key]*azsecrets.Client
}

type key struct{ store, identity string }

// Get reads a secret.
func (p *Provider) Get(ctx context.Context, ref secrets.Ref) ([]byte, error) {
	client, err := p.client(key{ref.Store, ref.Identity})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Store, err)
	}
	got, err := client.GetSecret(ctx, ref.Name, ref.Version, nil)
	if err != nil {
		return nil, fmt.Errorf("%s/secrets/%s: %w", ref.Store, ref.Name, plain(ctx, err))
	}
	if got.Value == nil {
		return nil, fmt.Errorf("%s/secrets/%s: %w", ref.Store, ref.Name, secrets.ErrNotFound)
	}
	return []byte(*got.Value), nil
}

func (p *Provider) client(k key) (*azsecrets.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients[k]; ok {
		return c, nil
	}
	if !azure(k.store) {
		return nil, fmt.Errorf("this is no vault of Azure's (%s): name what stands for it with --secret-alias", strings.Join(Domains, ", "))
	}
	find := p.Credential
	if find == nil {
		find = credential
	}
	cred, err := find(k.identity)
	if err != nil {
		return nil, fmt.Errorf("no Azure identity: %s", firstLine(err))
	}
	c, err := azsecrets.NewClient(k.store, cred, &azsecrets.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: p.Transport, Telemetry: policy.TelemetryOptions{ApplicationID: "acrd"},
	}})
	if err != nil {
		return nil, err
	}
	if p.clients == nil {
		p.clients = map[key]*azsecrets.Client{}
	}
	p.clients[k] = c
	return c, nil
}

func azure(store string) bool {
	host := strings.TrimPrefix(store, "https://")
	for _, d := range Domains {
		if name, ok := strings.CutSuffix(host, d); ok && name != "" && !strings.ContainsAny(name, "./:@") {
			return true
		}
	}
	return false
}

func credential(identity string) (azcore.TokenCredential, error) {
	if identity != "" {
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(identity)})
	}
	return azidentity.NewDefaultAzureCredential(nil)
}

// plain says what went wrong without Azure's pages about it.
func plain(ctx context.Context, err error) error {
	var answer *azcore.ResponseError
	switch {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case !errors.As(err, &answer):
		return errors.New(firstLine(err))
	case answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w (%s)", secrets.ErrNotFound, answer.ErrorCode)
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%w (%s): give the daemon's identity the right to get secrets", secrets.ErrDenied, answer.ErrorCode)
	}
	return fmt.Errorf("azure answers %d %s", answer.StatusCode, answer.ErrorCode)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
