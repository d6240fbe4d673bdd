// Package secrets finds the values of secrets, and keeps some of them.
//
// A task file names a secret by the URL that it has in Azure Key Vault. The
// [Resolver] turns that into a [Ref] by the owner's aliases and asks a
// [Provider] for the value: values that are kept here, sealed by a [Key]
// (Local), variables of the daemon (Env), files (Files), HashiCorp Vault or
// OpenBao (Vault), or Azure itself (package keyvault).
//
// Nothing here puts a value, or the token that opens a provider, into an error
// or a log.
package secrets

import (
	"context"
	"errors"
	"fmt"

	"acrd/internal/pattern"
)

// A Ref says which secret is meant.
type Ref struct {
	// Name is what the provider calls the secret: "db-password", for Vault
	// "secret/app#password".
	Name string
	// Version is empty for the newest.
	Version string
	// Store is where in Azure it is, https://NAME.vault.azure.net, if that
	// is where it is.
	Store string
	// Identity is the managed identity, by its client id, that may read it.
	Identity string
}

// A Provider has the values of secrets. It is safe for concurrent use.
type Provider interface {
	// Get returns the value. It is ErrNotFound if there is no such secret
	// and ErrDenied if the daemon may not have it.
	Get(ctx context.Context, ref Ref) ([]byte, error)
}

// What callers test for.
var (
	ErrNotFound = errors.New("no such secret")
	ErrDenied   = errors.New("access denied")
	// ErrName says that no secret can have this name.
	ErrName = errors.New("the name of a secret is 1 to 127 letters, digits and dashes")
)

// MaxValue is the largest value in bytes: what BuildKit takes as a secret.
const MaxValue = 500 << 10

var validName = pattern.New(`^[0-9A-Za-z-]{1,127}$`)

func checkName(name string) error {
	if !validName().MatchString(name) {
		return fmt.Errorf("%q: %w", name, ErrName)
	}
	return nil
}

// unversioned refuses a version where there are none.
func (r Ref) unversioned(provider string) error {
	if r.Version == "" {
		return nil
	}
	return fmt.Errorf("version %s is asked for, and %s keeps one value of a secret: name what stands for it with --secret-alias", r.Version, provider)
}
