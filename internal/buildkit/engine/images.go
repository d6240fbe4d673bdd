//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"acrd/internal/buildkit/control"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/moby/buildkit/util/resolver"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"
)

const containerdNamespace = "buildkit"

// imageStore puts every call into BuildKit's containerd namespace, which its
// worker does not do by itself.
type imageStore struct{ images.Store }

func in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, containerdNamespace)
}

func (s imageStore) Get(ctx context.Context, name string) (images.Image, error) {
	return s.Store.Get(in(ctx), name)
}

func (s imageStore) List(ctx context.Context, filters ...string) ([]images.Image, error) {
	return s.Store.List(in(ctx), filters...)
}

func (s imageStore) Create(ctx context.Context, i images.Image) (images.Image, error) {
	return s.Store.Create(in(ctx), i)
}

func (s imageStore) Update(ctx context.Context, i images.Image, fields ...string) (images.Image, error) {
	return s.Store.Update(in(ctx), i, fields...)
}

func (s imageStore) Delete(ctx context.Context, name string, o ...images.DeleteOpt) error {
	return s.Store.Delete(in(ctx), name, o...)
}

// forget deletes the names that begin with prefix. Their content stays as long
// as the build cache wants it.
func (s imageStore) forget(ctx context.Context, prefix string) error {
	all, err := s.List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	var errs []error
	for _, i := range all {
		if strings.HasPrefix(i.Name, prefix) {
			errs = append(errs, s.Delete(ctx, i.Name))
		}
	}
	return errors.Join(errs...)
}

// registryHosts says how to speak to registries. The names of a run's own
// images belong to none: BuildKit asks for them all the same, is told at once
// that nobody answers, and then looks into the image store. The daemon's own
// registry is reached by its socket, whatever it asks of others, and told which
// run asks, if there is one.
func registryHosts(plainHTTP []string, own *control.Door, run string) docker.RegistryHosts {
	yes := true
	config := map[string]resolverconfig.RegistryConfig{}
	for _, host := range plainHTTP {
		config[host] = resolverconfig.RegistryConfig{PlainHTTP: &yes}
	}
	known := resolver.NewRegistryConfig(config)
	return func(host string) ([]docker.RegistryHost, error) {
		if own != nil && host == own.Address {
			return []docker.RegistryHost{ownHost(own, run)}, nil
		}
		if host != control.ImageDomain {
			return known(host)
		}
		return []docker.RegistryHost{{
			Client: &http.Client{Transport: nobody{}}, Host: host, Scheme: "http", Path: "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		}}, nil
	}
}

func ownHost(own *control.Door, run string) docker.RegistryHost {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return own.Dial(ctx, run) }
	return docker.RegistryHost{
		Client: &http.Client{Transport: &http.Transport{DialContext: dial, IdleConnTimeout: 10 * time.Second}}, Host: own.Address, Scheme: "http", Path: "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush,
	}
}

// nobody answers no request.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("images of a run are in no registry")
}
