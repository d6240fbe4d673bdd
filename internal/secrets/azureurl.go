package secrets

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ParseURL reads the URL of a secret in Azure Key Vault by ACR's rules, and
// with its words where it is wrong: letters count as small ones, one slash at
// the end counts as none.
func ParseURL(text string) (Ref, error) {
	if text == "" {
		return Ref{}, errors.New("missing azure keyvault URL")
	}
	u, err := url.Parse(strings.TrimSuffix(strings.ToLower(text), "/"))
	if err != nil {
		return Ref{}, fmt.Errorf("failed to parse the azure keyvault secret URL: %w", errors.Unwrap(err))
	}
	if u.Scheme != "https" {
		return Ref{}, errors.New("invalid azure keyvault secret URL scheme. Expected Https")
	}
	segments := strings.Split(u.Path, "/") // the first is what is before the first slash
	if n := len(segments); n != 3 && n != 4 {
		return Ref{}, fmt.Errorf("invalid azure keyvault secret URL. Bad number of URL segments: %d", n)
	}
	if segments[1] != "secrets" {
		return Ref{}, fmt.Errorf("invalid azure keyvault secret URL. Expected 'secrets' collection, but found: %s", segments[1])
	}
	ref := Ref{Store: "https://" + u.Host, Name: segments[2]}
	if len(segments) == 4 {
		ref.Version = segments[3]
	}
	if _, domain, ok := strings.Cut(u.Host, "."); !ok || domain == "" {
		return Ref{}, fmt.Errorf("extracted vault resource %s from vault URL %s is invalid", ref.Store, ref.Store)
	}
	return ref, checkName(ref.Name)
}

// url is the secret's URL without its version.
func (r Ref) url() string { return r.Store + "/secrets/" + r.Name }
