package steps

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// flags are those of docker run --help, each honoured, harmlessly ignored, or
// refused by name.
func (c *CmdFlags) flags() flagSet {
	fs := make(flagSet, 140)
	fs.list(&c.Env, checkAssignment, "-e", "--env")
	fs.list(&c.Ports, checkPort, "-p", "--publish")
	fs.list(&c.Volumes, checkVolume, "-v", "--volume")
	fs.value(c.mount, "--mount")
	fs.value(absolutePath(&c.WorkDir), "-w", "--workdir")
	fs.text(&c.User, "-u", "--user")
	fs.value(c.network, "--network", "--net")
	fs.value(func(v string) error { c.EntryPoint, c.NoEntryPoint = v, v == ""; return nil }, "--entrypoint")
	fs.text(&c.Hostname, "-h", "--hostname")
	fs.value(onePlatform(&c.Platform), "--platform")
	fs.toggle(&c.Privileged, "--privileged")
	fs.toggle(&c.Detach, "-d", "--detach")
	fs.toggle(&c.ReadOnly, "--read-only")
	fs.value(addHost(&c.AddHosts), "--add-host")
	fs.value(capability(&c.AddCaps), "--cap-add")
	fs.value(capability(&c.DropCaps), "--cap-drop")
	fs.list(&c.Devices, nil, "--device")
	fs.value(size(&c.Memory), "-m", "--memory")
	fs.value(size(&c.ShmSize), "--shm-size")
	fs.value(ulimit(&c.Ulimits), "--ulimit")
	fs.value(func(v string) (err error) { c.CPUs, err = parseCPUs(v); return err }, "--cpus")
	fs.value(count(&c.PIDs, -1), "--pids-limit")
	fs.value(c.pull, "--pull")
	ignoreRunFlags(fs)
	refuseRunFlags(fs)
	return fs
}

// ignoreRunFlags: a step has no terminal, its container is removed with the
// run, and what is only a hint to the kernel is not passed on.
func ignoreRunFlags(fs flagSet) {
	fs.ignoredSwitch("--rm", "-i", "--interactive", "-t", "--tty", "--init", "-P", "--publish-all", "-q", "--quiet",
		"--disable-content-trust", "--no-healthcheck", "--sig-proxy")
	fs.ignored("-a", "--attach", "--annotation", "--detach-keys", "--expose", "-l", "--label", "--label-file", "--log-driver", "--log-opt",
		"--stop-signal", "--stop-timeout", "--health-cmd", "--health-interval", "--health-retries", "--health-start-interval",
		"--health-start-period", "--health-timeout", "--blkio-weight", "--blkio-weight-device", "-c", "--cpu-shares", "--kernel-memory",
		"--memory-reservation", "--memory-swap", "--memory-swappiness", "--oom-score-adj")
	fs.value(only("isolation is Windows': leave it out", "default"), "--isolation")
	fs.value(only("a step that ends is not started again: see retries and repeat", "no"), "--restart")
}

func refuseRunFlags(fs flagSet) {
	fs.refused("a step's id is its name", "--name")
	fs.refused("steps reach each other by id on their network", "--link", "--network-alias", "--net-alias", "--domainname")
	fs.refused("every container has its own", "--pid", "--ipc", "--uts", "--userns", "--cgroupns", "--cgroup-parent")
	fs.refused("steps share /workspace, and volumeMounts: shows a volume of the file", "--volumes-from", "--volume-driver")
	fs.refused("the engine gives addresses out", "--ip", "--ip6", "--link-local-ip", "--mac-address")
	fs.refused("names are found by the host's own resolver; --add-host adds some", "--dns", "--dns-option", "--dns-opt", "--dns-search")
	fs.refused("the seccomp profile is the engine's; privileged: true turns it off", "--security-opt")
	fs.refused("there is one runtime and one storage", "--runtime", "--storage-opt")
	fs.refused("use env: or -e", "--env-file")
	fs.refused("write to /workspace, or to /tmp of the container", "--tmpfs")
	fs.refused("GPUs are not handed to steps", "--gpus")
	fs.refused("write the group behind the user: --user USER:GROUP", "--group-add")
	fs.refused("settings of the kernel are the host's", "--sysctl")
	fs.refused("use --cpus", "--cpu-period", "--cpu-quota", "--cpu-rt-period", "--cpu-rt-runtime", "--cpuset-cpus", "--cpuset-mems")
	fs.refused("devices are not limited", "--device-cgroup-rule", "--device-read-bps", "--device-read-iops", "--device-write-bps", "--device-write-iops")
	fs.refused("it is Windows'", "--cpu-count", "--cpu-percent", "--io-maxbandwidth", "--io-maxiops")
	fs.refused("a container has no id that a command could use; steps find it by the step's id", "--cidfile")
	fs.refusedSwitch("a container that has no memory left is ended", "--oom-kill-disable")
	fs.refusedSwitch("there is no docker engine around a step", "--use-api-socket")
	fs.refusedSwitch("docker's help is docker's", "--help")
}

// only takes the values that change nothing.
func only(instead string, harmless ...string) func(string) error {
	return func(v string) error {
		if v == "" || slices.Contains(harmless, v) {
			return nil
		}
		return fmt.Errorf("%s is not supported: %s", brief(v), instead)
	}
}

// pull is whether the registry is asked even if the image is there. Never to
// ask is not offered: what is not there must come from somewhere.
func (c *CmdFlags) pull(v string) error {
	if v != "always" && v != "missing" {
		return fmt.Errorf("%q: want always or missing", brief(v))
	}
	c.Pull = v == "always"
	return nil
}

func (c *CmdFlags) network(v string) error {
	if strings.ContainsAny(v, ":=,") {
		return fmt.Errorf("%s is not supported: write the name of a network of the file, or host, none or bridge", brief(v))
	}
	c.Network = v
	return nil
}

// mount is --mount: of its kinds, a folder of the host.
func (c *CmdFlags) mount(v string) error {
	fields, err := keyValues(v)
	if err != nil {
		return err
	}
	kind, source, target, mode := "volume", "", "", ""
	for _, f := range fields {
		switch f.key {
		case "type":
			kind = f.value
		case "src", "source":
			source = f.value
		case "dst", "destination", "target":
			target = f.value
		case "ro", "readonly":
			if f.value != "false" && f.value != "0" {
				mode = ":ro"
			}
		case "bind-propagation", "consistency":
		default:
			return fmt.Errorf("has no field %q here", brief(f.key))
		}
	}
	if kind != "bind" {
		return fmt.Errorf("type=%s is not supported: use volumeMounts: for a volume of the file, and /workspace for what steps share", brief(kind))
	}
	volume := source + ":" + target + mode
	c.Volumes = append(c.Volumes, volume)
	return checkVolume(volume)
}

// checkVolume reads SOURCE:TARGET[:OPTIONS].
func checkVolume(v string) error {
	parts := strings.Split(v, ":")
	switch {
	case len(parts) < 2 || len(parts) > 3 || parts[0] == "":
		return fmt.Errorf("%s: want SOURCE:TARGET[:ro]", brief(v))
	case !path.IsAbs(parts[0]):
		return fmt.Errorf("%s: %s is not a folder of the host: use volumeMounts: for a volume of the file, and /workspace for what steps share", brief(v), brief(parts[0]))
	case !path.IsAbs(parts[1]):
		return fmt.Errorf("%s: the target is not absolute", brief(v))
	}
	return nil
}

func absolutePath(into *string) func(string) error {
	return func(v string) error {
		if !path.IsAbs(v) && !unsettled(v) {
			return fmt.Errorf("%q is not an absolute path", brief(v))
		}
		*into = v
		return nil
	}
}

// checkAssignment reads NAME=VALUE, or NAME alone for a value from elsewhere.
func checkAssignment(v string) error {
	name, _, _ := strings.Cut(v, "=")
	return checkName(name)
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("has no name before the =: want NAME=VALUE")
	case strings.ContainsAny(name, " \t\r\n"):
		return fmt.Errorf("%q is not a name: it has a blank", brief(name))
	}
	return nil
}

// capability takes NET_ADMIN and CAP_NET_ADMIN alike.
func capability(into *[]string) func(string) error {
	return func(v string) error {
		v = strings.ToUpper(v)
		if v != "ALL" && !strings.HasPrefix(v, "CAP_") {
			v = "CAP_" + v
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') }) {
			return fmt.Errorf("%q is not a capability", brief(v))
		}
		*into = append(*into, v)
		return nil
	}
}
