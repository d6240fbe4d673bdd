//go:build linux

package container

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A Config is what is special about one container; everything else is the
// same for all, see Spec.
type Config struct {
	Rootfs   string
	ReadOnly bool
	Args     []string
	Env      []string
	Cwd      string
	User     specs.User
	Hostname string
	// NetworkNamespace is the path of the namespace to join; empty means
	// the host's.
	NetworkNamespace string
	// CgroupPath is the container's own group.
	CgroupPath string
	Mounts     []specs.Mount
	Limits     Limits
	ShmSize    int64 // bytes; 0 means 64 MiB
	Ulimits    []specs.POSIXRlimit
	AddCaps    []string // CAP_NET_ADMIN
	DropCaps   []string // CAP_CHOWN or ALL
	// Devices are paths of the host's devices, to appear under the same name.
	Devices []string
	// Privileged removes every wall but the namespaces.
	Privileged bool
}

// dropped from docker's default set: raw sockets let a container forge
// packets on a shared bridge, and device nodes are a door to the host's.
var dropped = []string{"CAP_NET_RAW", "CAP_MKNOD"}

// Spec is the OCI runtime spec of a container: docker's defaults (seccomp
// profile, masked paths, capabilities) less the dropped ones, and with no way
// to gain privileges.
func Spec(ctx context.Context, c Config) (*specs.Spec, error) {
	ctx = namespaces.WithNamespace(ctx, "acrd")
	options := []oci.SpecOpts{
		oci.WithRootFSPath(c.Rootfs),
		oci.WithProcessArgs(c.Args...),
		oci.WithEnv(c.Env),
		oci.WithProcessCwd(c.Cwd),
		oci.WithHostname(c.Hostname),
		oci.WithCgroup(c.CgroupPath),
		oci.WithDroppedCapabilities(dropped),
		oci.WithAddedCapabilities(c.AddCaps),
		dropCaps(c.DropCaps),
		user(c.User),
		mounts(c),
		namespace(c.NetworkNamespace),
		limits(c.Limits),
		ulimits(c.Ulimits),
	}
	for _, d := range c.Devices {
		options = append(options, oci.WithDevices(d, "", "rwm"))
	}
	if c.ReadOnly {
		options = append(options, oci.WithRootFSReadonly())
	}
	if c.Privileged {
		options = append(options, oci.WithPrivileged, oci.WithAllDevicesAllowed, oci.WithHostDevices, oci.WithNewPrivileges)
	} else {
		options = append(options, confine)
	}
	spec, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: c.Hostname}, options...)
	if err != nil {
		return nil, fmt.Errorf("generate container spec: %w", err)
	}
	return spec, nil
}

// confine comes after the capabilities, because the seccomp profile depends
// on them. It leaves the x32 ABI out: nobody ships it, and runc takes 5 ms to
// compile the profile for each architecture.
func confine(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
	s.Process.NoNewPrivileges = true
	profile, err := seccomp.GetDefaultProfile(s)
	if err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	profile.Architectures = slices.DeleteFunc(profile.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	s.Linux.Seccomp = profile
	return nil
}

func user(u specs.User) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		s.Process.User = u
		return nil
	}
}

func dropCaps(caps []string) oci.SpecOpts {
	if slices.Contains(caps, "ALL") {
		return oci.WithCapabilities(nil)
	}
	return oci.WithDroppedCapabilities(caps)
}

// mounts puts ours after the default ones, shallow before deep.
func mounts(c Config) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		// What containerd mounts on /run would hide what an image keeps there.
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/run" })
		if c.ShmSize > 0 {
			for i, m := range s.Mounts {
				if m.Destination == "/dev/shm" {
					s.Mounts[i].Options = replacePrefix(m.Options, "size=", fmt.Sprintf("size=%d", c.ShmSize))
				}
			}
		}
		s.Mounts = append(s.Mounts, specs.Mount{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"ro", "nosuid", "noexec", "nodev"},
		})
		ours := slices.Clone(c.Mounts)
		slices.SortStableFunc(ours, func(a, b specs.Mount) int {
			return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
		})
		for _, m := range ours {
			s.Mounts = slices.DeleteFunc(s.Mounts, func(old specs.Mount) bool { return old.Destination == m.Destination })
			s.Mounts = append(s.Mounts, m)
		}
		return nil
	}
}

// Bind mounts a folder or file of the host.
func Bind(source, destination string, readOnly bool) specs.Mount {
	m := specs.Mount{Source: source, Destination: destination, Type: "bind", Options: []string{"rbind", "rprivate", "nodev", "nosuid"}}
	if readOnly {
		m.Options = append(m.Options, "ro")
	}
	return m
}

func namespace(network string) oci.SpecOpts {
	if network == "" {
		return oci.WithHostNamespace(specs.NetworkNamespace)
	}
	return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: network})
}

func limits(l Limits) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		r := s.Linux.Resources
		if r == nil {
			r = &specs.LinuxResources{}
			s.Linux.Resources = r
		}
		if l.Memory > 0 {
			r.Memory = &specs.LinuxMemory{Limit: &l.Memory, Swap: &l.Memory}
		}
		if l.PIDs > 0 {
			r.Pids = &specs.LinuxPids{Limit: &l.PIDs}
		}
		if l.CPUs > 0 {
			period, quota := uint64(cpuPeriod), int64(l.CPUs*cpuPeriod)
			r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
		}
		return nil
	}
}

// ulimits replaces containerd's own, which are lower than any shell's, and
// keeps core dumps, which may hold secrets, from being written.
func ulimits(asked []specs.POSIXRlimit) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		s.Process.Rlimits = asked
		if !slices.ContainsFunc(asked, func(r specs.POSIXRlimit) bool { return r.Type == "RLIMIT_CORE" }) {
			s.Process.Rlimits = append(slices.Clone(asked), specs.POSIXRlimit{Type: "RLIMIT_CORE"})
		}
		return nil
	}
}

func replacePrefix(options []string, prefix, with string) []string {
	options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return strings.HasPrefix(o, prefix) })
	return append(options, with)
}
