package secrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Vault has secrets in the key-value engine of HashiCorp Vault or OpenBao. The
// name of one is PATH#FIELD; without a field it is the one called "value", or
// the only one. Set the fields before the first use.
type Vault struct {
	// Address is http(s)://HOST:PORT, and Mount where the engine is.
	Address, Mount string
	// FirstVersion says that the engine is of the version without versions.
	FirstVersion bool
	Namespace    string
	// Token opens Vault, or what is in TokenFile does, which an agent may
	// renew, or a token got for RoleID and SecretID.
	Token, TokenFile string
	RoleID, SecretID string
	// CACert is a file of certificates to trust beside the system's.
	CACert string

	once   sync.Once
	client *http.Client
	opened error

	mu       sync.Mutex // guards what follows; held while logging in, so that one does
	login    string
	issued   time.Time
	lifetime time.Duration // 0: without end
}

// Get reads one field of a secret.
func (v *Vault) Get(ctx context.Context, ref Ref) ([]byte, error) {
	path, field, _ := strings.Cut(ref.Name, "#")
	fields, err := v.read(ctx, path, ref.Version)
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", path, err)
	}
	value, err := pick(fields, field)
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", path, err)
	}
	return value, nil
}

// pick finds a field. Numbers and the like are their JSON.
func pick(fields map[string]json.RawMessage, field string) ([]byte, error) {
	raw, ok := fields[field]
	if field == "" {
		if raw, ok = fields["value"]; !ok && len(fields) == 1 {
			for _, raw = range fields {
				ok = true
			}
		}
		if !ok {
			return nil, fmt.Errorf("it has %d fields and none is called value: say which one with an alias, vault:PATH#FIELD", len(fields))
		}
	}
	if !ok {
		return nil, fmt.Errorf("%w: it has no field %q", ErrNotFound, field)
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text), nil
	}
	return raw, nil
}

// read gets the fields of a secret. A token that has run out while it was not
// looked at is replaced once.
func (v *Vault) read(ctx context.Context, path, version string) (map[string]json.RawMessage, error) {
	address, err := v.location(path, version)
	if err != nil {
		return nil, err
	}
	token, err := v.token(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := v.call(ctx, http.MethodGet, address, token, nil)
	if errors.Is(err, ErrDenied) && v.RoleID != "" {
		v.forget(token)
		if token, err = v.token(ctx); err != nil {
			return nil, err
		}
		reply, err = v.call(ctx, http.MethodGet, address, token, nil)
	}
	if err != nil {
		return nil, err
	}
	return v.fields(reply.Data)
}

// location is where a secret is. Version 2 of the engine puts a word between
// its mount and the rest.
func (v *Vault) location(path, version string) (string, error) {
	mount, rest := v.Mount, path
	if after, ok := strings.CutPrefix(path, v.Mount+"/"); ok {
		rest = after
	}
	var parts []string
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("the path %q is not one of a secret", path)
		}
		parts = append(parts, url.PathEscape(part))
	}
	rest = strings.Join(parts, "/")
	if v.FirstVersion {
		if version != "" {
			return "", errors.New("this engine keeps no versions")
		}
		return "/" + mount + "/" + rest, nil
	}
	address := "/" + mount + "/data/" + rest
	if version != "" {
		address += "?version=" + url.QueryEscape(version)
	}
	return address, nil
}

func (v *Vault) fields(data json.RawMessage) (map[string]json.RawMessage, error) {
	if !v.FirstVersion {
		var second struct {
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(data, &second); err != nil {
			return nil, errNoAnswer
		}
		data = second.Data
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, errNoAnswer
	}
	if fields == nil {
		return nil, ErrNotFound
	}
	return fields, nil
}

// errNoAnswer stands for what json says, which could quote the value.
var errNoAnswer = errors.New("the answer is not Vault's: check its address, its mount and ?kv=1")

// token is what opens Vault now.
func (v *Vault) token(ctx context.Context) (string, error) {
	switch {
	case v.Token != "":
		return v.Token, nil
	case v.TokenFile != "":
		b, err := os.ReadFile(v.TokenFile)
		if err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	case v.RoleID == "":
		return "", errors.New("no way in: set VAULT_TOKEN, VAULT_TOKEN_FILE, or VAULT_ROLE_ID and VAULT_SECRET_ID for the daemon")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	age := time.Since(v.issued)
	switch {
	case v.login != "" && (v.lifetime == 0 || age < v.lifetime*2/3):
		return v.login, nil
	case v.login != "" && age < v.lifetime && v.renew(ctx) == nil:
		return v.login, nil // a secret id may be good for few logins, renewing is not counted
	}
	err := v.logIn(ctx)
	return v.login, err
}

// forget drops a token that Vault does not take any more.
func (v *Vault) forget(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.login == token {
		v.login = ""
	}
}

// logIn and renew are called with the lock held.
func (v *Vault) logIn(ctx context.Context) error {
	v.login = ""
	reply, err := v.call(ctx, http.MethodPost, "/auth/approle/login", "", map[string]string{"role_id": v.RoleID, "secret_id": v.SecretID})
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return v.keep(reply)
}

func (v *Vault) renew(ctx context.Context) error {
	reply, err := v.call(ctx, http.MethodPost, "/auth/token/renew-self", v.login, nil)
	if err != nil {
		return err
	}
	return v.keep(reply)
}

func (v *Vault) keep(reply *vaultReply) error {
	if reply.Auth.ClientToken == "" {
		return errNoAnswer
	}
	v.login, v.issued = reply.Auth.ClientToken, time.Now()
	v.lifetime = time.Duration(reply.Auth.LeaseDuration) * time.Second
	return nil
}

type vaultReply struct {
	Data json.RawMessage `json:"data"`
	Auth struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int    `json:"lease_duration"`
	} `json:"auth"`
	Errors []string `json:"errors"`
}

func (v *Vault) open() error {
	v.once.Do(func() {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		if v.CACert != "" {
			pool, err := certificates(v.CACert)
			if err != nil {
				v.opened = err
				return
			}
			transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		}
		// Go would take the token along to wherever it is sent.
		refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		v.client = &http.Client{Transport: transport, CheckRedirect: refuse, Timeout: vaultPatience}
	})
	return v.opened
}

// vaultPatience is how long one answer may take.
const vaultPatience = 30 * time.Second

func certificates(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates: there are none in %s", file)
	}
	return pool, nil
}
