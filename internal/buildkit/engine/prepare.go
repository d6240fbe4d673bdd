//go:build linux

package engine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"acrd/internal/buildkit/container"
	"acrd/internal/buildkit/control"
	"acrd/internal/buildkit/network"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// prepare makes everything that the container needs before it can start, and
// merges what the image says with what was asked for, as docker run does.
func (x *execution) prepare(ctx context.Context, image *rootImage) (container.Config, error) {
	var none container.Config
	var err error
	if x.rootfs, err = newRootfs(x.run.path("steps", x.spec.ID, "rootfs"), image); err != nil {
		return none, err
	}
	hosts, err := x.connect(ctx)
	if err != nil {
		return none, err
	}
	if err := x.publish(ctx); err != nil {
		return none, err
	}
	resolvConf, err := x.run.e.resolvConf(ctx)
	if err != nil {
		return none, err
	}
	c := container.Config{
		Rootfs: x.rootfs.path(), ReadOnly: x.spec.ReadOnly,
		Args:       args(x.spec, image.config.Config),
		Hostname:   hostname(first(x.spec.Hostname, x.spec.Step)),
		CgroupPath: filepath.Join(x.run.group(), x.spec.ID),
		Cwd:        first(x.spec.WorkDir, image.config.Config.WorkingDir, "/"),
		Mounts: []specs.Mount{
			container.Bind(resolvConf, "/etc/resolv.conf", true),
			container.Bind(hosts, "/etc/hosts", true),
		},
		Limits:  container.Limits(x.spec.Limits),
		ShmSize: x.spec.ShmSize, Ulimits: ulimits(x.spec.Ulimits),
		AddCaps: x.spec.AddCaps, DropCaps: x.spec.DropCaps,
		Devices: x.spec.Devices, Privileged: x.spec.Privileged,
	}
	if len(c.Args) == 0 {
		return none, &container.StartError{Code: 125, Reason: "no command specified, and the image has none"}
	}
	if x.endpoint != nil {
		c.NetworkNamespace = x.endpoint.Path()
	}
	c.Env = environment([]string{defaultPath, "HOSTNAME=" + c.Hostname}, image.config.Config.Env, x.spec.Env)
	if c.User, err = lookUpUser(x.rootfs.path(), first(x.spec.User, image.config.Config.User)); err != nil {
		return none, err
	}
	for _, m := range x.spec.Mounts {
		source := m.Source
		if !m.Host {
			source = x.run.path(m.Source)
		}
		c.Mounts = append(c.Mounts, container.Bind(source, m.Target, m.ReadOnly))
	}
	return c, nil
}

// connect puts the container on its network and returns its hosts file. The
// step's name resolves before the step runs.
func (x *execution) connect(ctx context.Context) (hosts string, err error) {
	switch x.spec.Network {
	case control.NetworkHost:
		return "/etc/hosts", nil
	case control.NetworkNone:
		x.endpoint, err = network.Nowhere()
		if err != nil {
			return "", err
		}
		return x.ownHosts(netip.Addr{})
	}
	n, err := x.run.network(ctx, x.spec.Network)
	if err != nil {
		return "", err
	}
	if x.endpoint, err = n.bridge.Attach(ctx, x.spec.Step); err != nil {
		return "", err
	}
	if x.spec.Network == control.NetworkBridge || len(x.spec.AddHosts) > 0 {
		// Names that are this container's alone cannot be in a shared file.
		return x.ownHosts(x.endpoint.Addr)
	}
	return n.hosts.path, n.hosts.add(x.endpoint.Addr, x.spec.Step)
}

func (x *execution) ownHosts(addr netip.Addr) (string, error) {
	path := x.run.path("steps", x.spec.ID, "hosts")
	h, err := newHostsFile(path)
	if err != nil {
		return "", err
	}
	if addr.IsValid() {
		if err := h.add(addr, x.spec.Step); err != nil {
			return "", err
		}
	}
	for _, entry := range x.spec.AddHosts {
		name, ip, _ := strings.Cut(entry, ":")
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return "", &container.StartError{Code: 125, Reason: fmt.Sprintf("add-host %s: %s", entry, err)}
		}
		if err := h.add(a, name); err != nil {
			return "", err
		}
	}
	return path, nil
}

// resolvConf is the host's, less what only the host can reach.
func (e *engine) resolvConf(ctx context.Context) (string, error) {
	dir := filepath.Join(e.config.Dir, "resolv")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("resolv.conf: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("resolv.conf: %w", err)
	}
	defer root.Close()
	name, err := oci.GetResolvConf(ctx, root, nil, nil, pb.NetMode_UNSET)
	if err != nil {
		return "", fmt.Errorf("resolv.conf: %w", err)
	}
	return filepath.Join(dir, name), nil
}

// args are entrypoint and command. An entrypoint that was asked for makes the
// image's command meaningless, so that does not count then.
func args(x control.Exec, image ocispecs.ImageConfig) []string {
	entrypoint, cmd := image.Entrypoint, image.Cmd
	if x.Entrypoint != nil {
		entrypoint, cmd = x.Entrypoint, nil
	}
	if len(x.Args) > 0 {
		cmd = x.Args
	}
	return slices.Concat(entrypoint, cmd)
}

// environment merges lists of NAME=value; later ones win, in place.
func environment(lists ...[]string) []string {
	var merged []string
	at := map[string]int{}
	for _, e := range slices.Concat(lists...) {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			merged[i] = e
			continue
		}
		at[name] = len(merged)
		merged = append(merged, e)
	}
	return merged
}

var notInHostname = regexp.MustCompile(`[^a-zA-Z0-9-]+`)

// hostname is the step's name as far as a host may have it.
func hostname(step string) string {
	h := strings.Trim(notInHostname.ReplaceAllString(step, "-"), "-")
	if len(h) > 63 {
		h = h[:63]
	}
	return first(h, "step")
}

func ulimits(asked []control.Ulimit) []specs.POSIXRlimit {
	var limits []specs.POSIXRlimit
	for _, u := range asked {
		limits = append(limits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	return limits
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
