package buildkit

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"acrd/internal/realm"
	"acrd/steps"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The names that Docker Hub goes by.
var dockerHub = map[string]bool{
	"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true,
}

// Registries say how registries are reached with the credentials of runs.
type Registries struct {
	// Transport is nil for http.DefaultTransport.
	Transport http.RoundTripper
	// PlainHTTP are registries without TLS, by host. Those on loopback may be.
	PlainHTTP []string
	// TokenServers are trusted with credentials beside the registries.
	TokenServers realm.Pairs
}

// guard is the way to one registry with its credential.
func (r *Registries) guard(registry string) realm.Guard {
	next := r.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	plain := slices.Contains(r.PlainHTTP, registry) || realm.OnLoopback(registry)
	return realm.Guard{Next: next, Registry: registry, Plain: plain, Pairs: r.TokenServers}
}

// authServer gives BuildKit the run's credentials, each to the host it is for
// and to no other. Tokens it fetches itself: BuildKit would send the credential
// to whatever server a registry names.
type authServer struct {
	auth.UnimplementedAuthServer
	byHost     map[string]steps.Credential
	registries *Registries
}

func newAuth(credentials []steps.Credential, r *Registries) session.Attachable {
	a := &authServer{byHost: map[string]steps.Credential{}, registries: r}
	for _, c := range credentials {
		if dockerHub[c.Registry] {
			c.Registry = "docker.io"
		}
		a.byHost[c.Registry] = c
	}
	return a
}

func (a *authServer) Register(s *grpc.Server) { auth.RegisterAuthServer(s, a) }

func (a *authServer) credential(host string) (steps.Credential, bool) {
	if dockerHub[host] {
		host = "docker.io"
	}
	c, ok := a.byHost[host]
	return c, ok
}

// Credentials is asked for a registry that wants the password itself.
func (a *authServer) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	c, _ := a.credential(req.Host)
	return &auth.CredentialsResponse{Username: c.Username, Secret: c.Password}, nil
}

// tokenTimeout bounds the exchange of a credential for a token.
const tokenTimeout = 30 * time.Second

// FetchToken exchanges the credential of a registry for a token, at the realm
// that the registry names, if that may see it.
func (a *authServer) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	c, ok := a.credential(req.Host)
	if !ok {
		return nil, status.Error(codes.Unavailable, "no credential")
	}
	client := &http.Client{Transport: brief{a.registries.guard(req.Host)}, Timeout: tokenTimeout}
	want := dockerauth.TokenOptions{Realm: req.Realm, Service: req.Service, Scopes: req.Scopes, Username: c.Username, Secret: c.Password}
	header := http.Header{"User-Agent": {"acrd"}}
	got, err := dockerauth.FetchToken(ctx, client, header, want)
	if err == nil {
		return token(got.Token, got.ExpiresInSeconds, got.IssuedAt), nil
	}
	if refused, ok := errors.AsType[remoteserrors.ErrUnexpectedStatus](err); ok && slices.Contains(otherWay, refused.StatusCode) {
		// Some servers know the other way only.
		if granted, other := dockerauth.FetchTokenWithOAuth(ctx, client, header, req.ClientID, want); other == nil {
			return token(granted.AccessToken, granted.ExpiresInSeconds, granted.IssuedAt), nil
		}
	}
	return nil, tokenError(req.Host, err)
}

var otherWay = []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed}

// tokenError keeps of an error what quotes no address, which the registry has
// made up.
func tokenError(host string, err error) error {
	if refused, ok := errors.AsType[remoteserrors.ErrUnexpectedStatus](err); ok {
		code := codes.Unavailable
		if refused.StatusCode < http.StatusInternalServerError {
			code = codes.Unauthenticated
		}
		return status.Errorf(code, "the token server of registry %s answers %d %s", host, refused.StatusCode, http.StatusText(refused.StatusCode))
	}
	if stranger, ok := errors.AsType[*realm.Error](err); ok {
		return status.Error(codes.PermissionDenied, stranger.Error())
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return status.Errorf(codes.Unavailable, "the token server of registry %s: %v", host, err)
}

// brief bounds the answers of token servers.
type brief struct{ next http.RoundTripper }

const longestToken = 256 << 10

func (b brief) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, longestToken)
	}
	return resp, err
}

func token(text string, seconds int, issued time.Time) *auth.FetchTokenResponse {
	r := &auth.FetchTokenResponse{Token: text, ExpiresIn: int64(seconds)}
	if !issued.IsZero() {
		r.IssuedAt = issued.Unix()
	}
	return r
}

// GetTokenAuthority answers who fetches tokens for a host: this server, if it
// has the credential.
func (a *authServer) GetTokenAuthority(_ context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key, ok := a.authority(req.Host, req.Salt)
	if !ok {
		return nil, status.Error(codes.Unavailable, "no credential")
	}
	public, _ := key.Public().(ed25519.PublicKey)
	return &auth.GetTokenAuthorityResponse{PublicKey: public}, nil
}

// VerifyTokenAuthority proves that this run has the very credential that
// tokens were fetched with, so that BuildKit lets it use them.
func (a *authServer) VerifyTokenAuthority(_ context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key, ok := a.authority(req.Host, req.Salt)
	if !ok {
		return nil, status.Error(codes.Unavailable, "no credential")
	}
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, (*[64]byte)(key))}, nil
}

// authoritySeed makes keys that no other process can have.
var authoritySeed = func() []byte {
	seed := make([]byte, sha256.Size)
	_, _ = rand.Read(seed) // never fails
	return seed
}()

// authority is a key that runs with the same credential have in common.
func (a *authServer) authority(host string, salt []byte) (ed25519.PrivateKey, bool) {
	c, ok := a.credential(host)
	if !ok {
		return nil, false
	}
	sum := hmac.New(sha256.New, authoritySeed)
	for _, part := range [][]byte{salt, []byte(c.Registry), []byte(c.Username), []byte(c.Password)} {
		_ = binary.Write(sum, binary.BigEndian, uint64(len(part))) // a hash takes all
		sum.Write(part)
	}
	return ed25519.NewKeyFromSeed(sum.Sum(nil)), true
}
