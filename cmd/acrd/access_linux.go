package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"os"
	"slices"

	"acrd/internal/api"
	"acrd/internal/buildkit/control"
	"acrd/internal/secrets"
	"acrd/internal/secrets/keyvault"

	"github.com/spf13/pflag"
)

// openTLS puts TLS over the TCP listener. What other machines can reach has
// it, or is not served: tokens and images would be there for all to see.
func (d *daemon) openTLS() error {
	if d.certificate == nil {
		if api.Loopback(d.tcp.Addr()) {
			return nil
		}
		return &usageError{fmt.Sprintf("--listen %s can be reached from other machines, and needs TLS for that: give --tls-cert and --tls-key, or listen on 127.0.0.1", d.listen)}
	}
	d.certificate.Log = d.log
	config, err := d.certificate.Config()
	if err != nil {
		return &usageError{"--tls-cert: " + err.Error()}
	}
	// Not HTTP/2, where a connection cannot turn to an SSH agent's.
	d.tcp = tls.NewListener(d.tcp, config)
	return nil
}

// own is how the engine gets at the registry, whatever that wants of everybody
// else.
func (d *daemon) own() *control.Door {
	return &control.Door{Address: d.host(), Socket: d.path("registry.sock")}
}

// names are those that clients may call this daemon by.
func (d *daemon) names() []string {
	names := append(slices.Clone(d.hosts), "localhost", "127.0.0.1", "::1", hostOnly(d.listen))
	if d.certificate == nil {
		return names
	}
	return append(names, d.certificate.Names()...)
}

// openSecrets finds out where task files' secrets are.
func (d *daemon) openSecrets(local *secrets.Local) (*secrets.Resolver, error) {
	c := d.secrets
	c.Local, c.KeyVault, c.Lookup = local, &keyvault.Provider{}, os.LookupEnv
	r, err := c.Open()
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return r, nil
}

// secretValues are the flags for where secrets are.
type secretValues struct {
	provider string
	aliases  []string
	file     string
}

func secretFlags(fs *pflag.FlagSet, s *session) *secretValues {
	v := &secretValues{}
	fs.StringVar(&v.provider, "secrets", cmp.Or(s.getenv("ACRD_SECRETS"), "local"), "where the secrets of task files are: local (acrd secret set), env, env:PREFIX, file:DIR, vault:URL or keyvault ($ACRD_SECRETS)")
	fs.StringArrayVar(&v.aliases, "secret-alias", nil, "what stands for a secret, https://VAULT.vault.azure.net/secrets/NAME=PROVIDER:NAME (repeat)")
	fs.StringVar(&v.file, "secret-aliases", s.getenv("ACRD_SECRETS_ALIASES"), "YAML file with such aliases, a map of URL to PROVIDER:NAME ($ACRD_SECRETS_ALIASES)")
	return v
}

func (v *secretValues) read() (secrets.Config, error) {
	c := secrets.Config{Default: v.provider, Aliases: v.aliases}
	if v.file == "" {
		return c, nil
	}
	b, err := os.ReadFile(v.file)
	if err != nil {
		return c, fmt.Errorf("--secret-aliases: %w", err)
	}
	more, err := secrets.ReadAliases(b)
	if err != nil {
		return c, &usageError{err.Error()}
	}
	c.Aliases = append(more, c.Aliases...) // a flag wins over the file
	return c, nil
}
