package secrets

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Values keep sealed values by name. Each method is one transaction.
type Values interface {
	// SealedSecret is ErrNotFound if there is none of that name.
	SealedSecret(ctx context.Context, name string) ([]byte, error)
	PutSealedSecret(ctx context.Context, name string, sealed []byte) error
	// DeleteSealedSecret is ErrNotFound if there is none of that name.
	DeleteSealedSecret(ctx context.Context, name string) error
	// SealedSecrets lists what there is, by name.
	SealedSecrets(ctx context.Context) ([]Info, error)
}

// Info is what may be known of a secret.
type Info struct {
	Name    string    `json:"name"`
	Updated time.Time `json:"updated"`
}

// Local keeps secrets on this machine, sealed. Names are the same in small and
// in capital letters, as they are in Azure.
type Local struct {
	Values Values
	Key    *Key
}

// Get opens a value.
func (l *Local) Get(ctx context.Context, ref Ref) ([]byte, error) {
	if err := ref.unversioned("the local provider"); err != nil {
		return nil, err
	}
	name, err := localName(ref.Name)
	if err != nil {
		return nil, err
	}
	sealed, err := l.Values.SealedSecret(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w: set it with 'acrd secret set %s'", name, err, name)
	}
	value, err := l.Key.OpenFor(localContext+name, sealed)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return value, nil
}

// Set keeps a value, in the place of an earlier one of that name.
func (l *Local) Set(ctx context.Context, name string, value []byte) error {
	name, err := localName(name)
	if err != nil {
		return err
	}
	if len(value) > MaxValue {
		return fmt.Errorf("secret %s: the value is larger than %d KiB", name, MaxValue>>10)
	}
	sealed, err := l.Key.SealFor(localContext+name, value)
	if err != nil {
		return fmt.Errorf("secret %s: %w", name, err)
	}
	return l.Values.PutSealedSecret(ctx, name, sealed)
}

// Delete forgets a value.
func (l *Local) Delete(ctx context.Context, name string) error {
	name, err := localName(name)
	if err != nil {
		return err
	}
	if err := l.Values.DeleteSealedSecret(ctx, name); err != nil {
		return fmt.Errorf("secret %s: %w", name, err)
	}
	return nil
}

// List says which secrets there are.
func (l *Local) List(ctx context.Context) ([]Info, error) { return l.Values.SealedSecrets(ctx) }

// localContext keeps what is sealed for a secret from opening as anything else.
const localContext = "secret:"

func localName(name string) (string, error) {
	return strings.ToLower(name), checkName(name)
}
