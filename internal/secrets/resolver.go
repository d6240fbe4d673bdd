package secrets

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"acrd/steps"
)

// A Resolver finds the secrets of task files. It implements runner.Secrets.
type Resolver struct {
	// Default has the secrets that no alias names.
	Default Provider
	// Providers are those that aliases may name.
	Providers map[string]Provider

	aliases map[string]target
}

// A target is what an alias stands for.
type target struct {
	provider, name string
}

// Alias makes the secret of an Azure URL come from somewhere else, so that a
// task file written for Azure runs without it. A URL without version stands
// for all versions. The target is PROVIDER:NAME.
func (r *Resolver) Alias(from, to string) error {
	ref, err := ParseURL(from)
	if err != nil {
		return fmt.Errorf("alias %s: %w", from, err)
	}
	provider, name, ok := strings.Cut(to, ":")
	if _, known := r.Providers[provider]; !ok || !known || name == "" {
		return fmt.Errorf("alias %s: its target %q is not PROVIDER:NAME with one of the providers %s", from, to, names(r.Providers))
	}
	if r.aliases == nil {
		r.aliases = map[string]target{}
	}
	key := ref.url()
	if ref.Version != "" {
		key += "/" + ref.Version
	}
	r.aliases[key] = target{provider, name}
	return nil
}

// Secret finds the value of a secret of a task file.
func (r *Resolver) Secret(ctx context.Context, s steps.Secret) (string, error) {
	ref, err := ParseURL(s.KeyVault)
	if err != nil {
		return "", err
	}
	ref.Identity = s.ClientID
	provider, ref, err := r.find(ref)
	if err != nil {
		return "", err
	}
	value, err := provider.Get(ctx, ref)
	switch {
	case err != nil:
		return "", err
	case len(value) > MaxValue:
		return "", fmt.Errorf("the value is larger than %d KiB", MaxValue>>10)
	case !utf8.Valid(value):
		return "", fmt.Errorf("the value is not text: keep it as base64, and decode it in the step")
	}
	return string(value), nil
}

func (r *Resolver) find(ref Ref) (Provider, Ref, error) {
	for _, key := range []string{ref.url() + "/" + ref.Version, ref.url()} {
		if t, ok := r.aliases[key]; ok {
			aliased, err := t.ref(ref.Identity)
			return r.Providers[t.provider], aliased, err
		}
	}
	if r.Default == nil {
		return nil, ref, fmt.Errorf("nothing stands for %s: name a provider with --secrets, or an alias with --secret-alias", ref.url())
	}
	return r.Default, ref, nil
}

// ref is what a target's provider is asked for.
func (t target) ref(identity string) (Ref, error) {
	if t.provider != "keyvault" {
		return Ref{Name: t.name}, nil
	}
	ref, err := ParseURL(t.name)
	ref.Identity = identity
	return ref, err
}
