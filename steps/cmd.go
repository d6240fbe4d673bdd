package steps

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Cmd is a step that runs a container.
type Cmd struct {
	// Line is the value of "cmd:" as written.
	Line  string
	Image string
	Args  []string
	Flags CmdFlags
}

// CmdFlags are flags of docker run in front of the image. Those that a step
// has a property for go into the step.
type CmdFlags struct {
	RunFlags
	Env        []string
	Ports      []string
	Volumes    []string
	WorkDir    string
	Network    string
	EntryPoint string
	Detach     bool
	Pull       bool
}

// parseCmd reads what follows "docker run": flags, image, arguments.
func parseCmd(line string) (*Cmd, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	c := &Cmd{Line: line}
	rest, err := c.Flags.flags().parse(words, false)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errors.New("names no image")
	}
	c.Image, c.Args = rest[0], rest[1:]
	return c, nil
}

func (c *CmdFlags) flags() flagSet {
	fs := flagSet{}
	fs.list(&c.Env, "-e", "--env")
	fs.list(&c.Ports, "-p", "--publish")
	fs.list(&c.Volumes, "-v", "--volume")
	fs.text(&c.WorkDir, "-w", "--workdir")
	fs.text(&c.User, "-u", "--user")
	fs.text(&c.Network, "--network", "--net")
	fs.text(&c.EntryPoint, "--entrypoint")
	fs.text(&c.Hostname, "-h", "--hostname")
	fs.text(&c.Platform, "--platform")
	fs.toggle(&c.Privileged, "--privileged")
	fs.toggle(&c.Detach, "-d", "--detach")
	fs.toggle(&c.ReadOnly, "--read-only")
	fs.list(&c.AddHosts, "--add-host")
	fs.value(capability(&c.AddCaps), "--cap-add")
	fs.value(capability(&c.DropCaps), "--cap-drop")
	fs.list(&c.Devices, "--device")
	fs.value(size(&c.Memory), "-m", "--memory")
	fs.value(size(&c.ShmSize), "--shm-size")
	fs.value(ulimit(&c.Ulimits), "--ulimit")
	fs.value(func(v string) (err error) { c.CPUs, err = parseCPUs(v); return err }, "--cpus")
	fs.value(func(v string) (err error) { c.PIDs, err = strconv.ParseInt(v, 10, 64); return err }, "--pids-limit")
	fs.value(func(v string) error { c.Pull = v == "always"; return nil }, "--pull")
	fs.ignoredSwitch("--rm", "-i", "--interactive", "-t", "--tty", "--init", "-P", "--publish-all", "-q", "--quiet")
	fs.ignored("--expose", "--label", "-l", "--restart", "--log-driver", "--log-opt", "--stop-signal", "--stop-timeout",
		"--oom-score-adj", "--cpu-shares", "-c", "--memory-swap", "--isolation", "--cidfile")
	fs.refused("a step's id is its name", "--name")
	fs.refused("steps reach each other by id on their network", "--link", "--network-alias")
	fs.refused("every container has its own", "--pid", "--ipc", "--uts", "--userns", "--cgroupns", "--cgroup-parent", "--volumes-from")
	fs.refused("the seccomp profile is the engine's; privileged: true turns it off", "--security-opt")
	fs.refused("use env:", "--env-file")
	fs.refused("use -v or volumeMounts", "--mount", "--tmpfs")
	fs.refused("GPUs are not handed to steps", "--gpus")
	return fs
}

// op is what the engine is asked for.
func (c *Cmd) op(s *Step) *ExecOp {
	op := &ExecOp{
		Step: s.ID, Image: c.Image, Args: c.Args, RunFlags: c.Flags.RunFlags,
		Env: s.Env, WorkDir: s.WorkingDirectory, Network: s.Network, Pull: s.Pull,
		Ports: s.Ports, Volumes: s.VolumeMounts, Detach: s.Detach,
	}
	op.User, op.Privileged = s.User, s.Privileged
	if s.EntryPoint != "" {
		op.Entrypoint = []string{s.EntryPoint}
	}
	return op
}

func (c *Cmd) run(ctx context.Context, s *Step, env *Env) (*Result, error) {
	if s.Pull {
		env.Notice("Step specified pull. Performing an explicit pull...")
	}
	op := c.op(s)
	if err := s.withSecrets(op, env); err != nil {
		return nil, err
	}
	env.Notice("Launching container with name: %s", s.ID)
	err := env.Engine.Exec(ctx, op, Output{env.Output, env.Output})
	if err == nil {
		env.Notice("Successfully executed container: %s", s.ID)
	}
	return nil, err
}

// capability takes NET_ADMIN and CAP_NET_ADMIN alike.
func capability(into *[]string) func(string) error {
	return func(v string) error {
		v = strings.ToUpper(v)
		if v != "ALL" && !strings.HasPrefix(v, "CAP_") {
			v = "CAP_" + v
		}
		*into = append(*into, v)
		return nil
	}
}

func parseCPUs(v string) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || n < 0 || n > 4096 {
		return 0, fmt.Errorf("%q is not a number of processors", v)
	}
	return n, nil
}

// size reads 512m, 1g, 64kb or bytes, as docker does.
func size(into *int64) func(string) error {
	return func(v string) error {
		number := strings.TrimRight(strings.ToLower(v), "bi")
		shift := 0
		if n := len(number); n > 0 {
			if at := strings.IndexByte("kmgt", number[n-1]); at >= 0 {
				shift, number = 10*(at+1), number[:n-1]
			}
		}
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || f < 0 || f > 1<<20 && shift == 40 {
			return fmt.Errorf("%q is not a size: want a number with b, k, m or g", v)
		}
		*into = int64(f * float64(int64(1)<<shift))
		return nil
	}
}

func ulimit(into *[]Ulimit) func(string) error {
	return func(v string) error {
		name, values, ok := strings.Cut(v, "=")
		soft, hard, two := strings.Cut(values, ":")
		if !two {
			hard = soft
		}
		u := Ulimit{Name: name}
		var err1, err2 error
		u.Soft, err1 = strconv.ParseInt(soft, 10, 64)
		u.Hard, err2 = strconv.ParseInt(hard, 10, 64)
		if !ok || err1 != nil || err2 != nil || name == "" {
			return fmt.Errorf("%q is not a limit: want NAME=SOFT[:HARD]", v)
		}
		*into = append(*into, u)
		return nil
	}
}
