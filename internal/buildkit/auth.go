package buildkit

import (
	"context"

	"acrd/steps"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The names that Docker Hub goes by.
var dockerHub = map[string]bool{
	"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true,
}

// authServer gives BuildKit the run's credentials, each to the host it is for
// and to no other. BuildKit fetches tokens itself.
type authServer struct {
	auth.UnimplementedAuthServer
	byHost map[string]steps.Credential
}

func newAuth(credentials []steps.Credential) session.Attachable {
	a := &authServer{byHost: map[string]steps.Credential{}}
	for _, c := range credentials {
		if dockerHub[c.Registry] {
			c.Registry = "docker.io"
		}
		a.byHost[c.Registry] = c
	}
	return a
}

func (a *authServer) Register(s *grpc.Server) { auth.RegisterAuthServer(s, a) }

func (a *authServer) Credentials(_ context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	host := req.Host
	if dockerHub[host] {
		host = "docker.io"
	}
	c, ok := a.byHost[host]
	if !ok {
		return &auth.CredentialsResponse{}, nil
	}
	return &auth.CredentialsResponse{Username: c.Username, Secret: c.Password}, nil
}

// BuildKit takes Unavailable for "do it yourself".
func (a *authServer) FetchToken(context.Context, *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	return nil, status.Error(codes.Unavailable, "no tokens here")
}

func (a *authServer) GetTokenAuthority(context.Context, *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "no tokens here")
}

func (a *authServer) VerifyTokenAuthority(context.Context, *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "no tokens here")
}
