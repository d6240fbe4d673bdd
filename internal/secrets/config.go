package secrets

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Config says where secrets come from.
type Config struct {
	// Default is where those come from that no alias names: local,
	// env[:PREFIX], file:DIR, vault:URL or keyvault. Empty is local.
	Default string
	// Aliases are URL=PROVIDER:NAME.
	Aliases []string
	// Lookup finds variables of the daemon.
	Lookup func(string) (string, bool)
	// Local and KeyVault are made by others.
	Local, KeyVault Provider
}

// Open makes a Resolver. It asks nobody for anything yet.
func (c Config) Open() (*Resolver, error) {
	kind, rest, _ := strings.Cut(c.Default, ":")
	if kind == "" {
		kind = "local"
	}
	r := &Resolver{Providers: map[string]Provider{
		"env": Env{Prefix: EnvPrefix, Lookup: c.Lookup}, "file": Files{},
	}}
	if c.Local != nil {
		r.Providers["local"] = c.Local
	}
	if c.KeyVault != nil {
		r.Providers["keyvault"] = c.KeyVault
	}
	address := rest
	if kind != "vault" {
		address, _ = c.Lookup("VAULT_ADDR")
	}
	if address != "" {
		v, err := openVault(address, c.Lookup)
		if err != nil {
			return nil, err
		}
		r.Providers["vault"] = v
	}
	var err error
	if r.Default, err = c.open(r, kind, rest); err != nil {
		return nil, err
	}
	for _, a := range c.Aliases {
		from, to, ok := strings.Cut(a, "=")
		if !ok {
			return nil, fmt.Errorf("alias %q is not URL=PROVIDER:NAME", a)
		}
		if err := r.Alias(from, to); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (c Config) open(r *Resolver, kind, rest string) (Provider, error) {
	switch {
	case kind == "env" && rest != "":
		return Env{Prefix: rest, Lookup: c.Lookup}, nil
	case kind == "file":
		if !filepath.IsAbs(rest) {
			return nil, fmt.Errorf("secrets from %q: want file:DIR with the whole path of a folder", c.Default)
		}
		f := Files{Dir: rest}
		r.Providers["file"] = f
		return f, nil
	case kind != "vault" && kind != "env" && rest != "":
		return nil, fmt.Errorf("secrets from %q: %s takes nothing after it", c.Default, kind)
	}
	p, ok := r.Providers[kind]
	if !ok {
		return nil, fmt.Errorf("secrets from %q: want local, env, env:PREFIX, file:DIR, vault:URL or keyvault", c.Default)
	}
	return p, nil
}

// ReadAliases reads aliases from YAML, a map of URLs to PROVIDER:NAME.
func ReadAliases(b []byte) ([]string, error) {
	var m map[string]string
	if err := yaml.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read aliases of secrets: want a map of URL to PROVIDER:NAME: %w", err)
	}
	var all []string
	for _, from := range slices.Sorted(maps.Keys(m)) {
		all = append(all, from+"="+m[from])
	}
	return all, nil
}

func names(m map[string]Provider) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

// openVault reads an address: the path is the mount of the secrets engine,
// ?kv=1 is for its first version. How to get in is in the same variables that
// Vault's own program reads.
func openVault(address string, lookup func(string) (string, bool)) (*Vault, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("address of Vault: want http(s)://HOST:PORT/MOUNT, without user and password") // whatever else it holds is not shown
	}
	variable := func(name string) string {
		v, _ := lookup(name)
		return v
	}
	v := &Vault{
		Address: u.Scheme + "://" + u.Host, Mount: strings.Trim(u.Path, "/"),
		Token: variable("VAULT_TOKEN"), Namespace: variable("VAULT_NAMESPACE"),
		RoleID: variable("VAULT_ROLE_ID"), SecretID: variable("VAULT_SECRET_ID"),
		TokenFile: variable("VAULT_TOKEN_FILE"), CACert: variable("VAULT_CACERT"),
	}
	if v.Mount == "" {
		v.Mount = "secret"
	}
	switch kv := u.Query().Get("kv"); kv {
	case "", "2":
	case "1":
		v.FirstVersion = true
	default:
		return nil, fmt.Errorf("address of Vault: kv=%s is neither 1 nor 2", kv)
	}
	return v, nil
}
