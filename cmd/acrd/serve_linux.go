package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"acrd/internal/api"
	"acrd/internal/buildkit/control"
	"acrd/internal/buildkit/engine"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// daemonCommands are those that only Linux has.
func daemonCommands() []command {
	return []command{
		{name: "serve", summary: "Run the daemon", run: serve},
		{name: "backup", summary: "Write what must not be lost to a file", run: backup},
		{name: "restore", summary: "Put such a file into a state folder", run: restore},
		{name: "doctor", summary: "Say what this host lacks, and what to do about it", run: doctor},
		{name: "engine", hidden: true, run: func(context.Context, *session, []string) error {
			os.Exit(engine.Main()) // a process of its own, with exit codes of its own
			return nil
		}},
	}
}

func serve(ctx context.Context, s *session, args []string) error {
	fs := newFlags(s, "serve [FLAGS]", `Run the daemon: engine, registry and API on one address, until SIGTERM or
Ctrl-C. Runs in progress are then given time to finish; a second signal ends
everything at once.`)
	o := daemonOptions{followed: true}
	var state, allowHosts string
	fs.StringVar(&state, "state", s.getenv("ACRD_STATE"), "folder for everything that must last ($ACRD_STATE; default /var/lib/acrd for root)")
	fs.StringVar(&o.listen, "listen", orDefault(s.getenv("ACRD_LISTEN"), defaultListen), "address of API and registry ($ACRD_LISTEN)")
	fs.StringVar(&o.socket, "socket", "", "unix socket for the commands of this machine (default STATE/acrd.sock)")
	fs.StringVar(&o.engine, "engine", "", "address of a remote BuildKit, tcp://HOST:PORT or unix://PATH, instead of the engine that is built in")
	fs.StringVar(&allowHosts, "host-name", "", "further names under which clients reach this daemon, with commas")
	fs.IntVar(&o.slots, "max-runs", defaultSlots(), "runs that execute at a time")
	fs.IntVar(&o.automatic, "max-automatic-runs", 0, "runs that triggers may have in the queue and executing at a time (default one less than --max-runs)")
	fs.DurationVar(&o.quiet, "base-image-quiet", 5*time.Second, "time for which a base image has to be left alone before what builds on it is built; 0 is none")
	fs.DurationVar(&o.poll, "git-poll", time.Minute, "how long the repository of a source trigger is left alone between two looks at its branches")
	fs.DurationVar(&o.drain, "drain-timeout", time.Minute, "time that runs get to finish after SIGTERM")
	fs.StringVar(&o.subnets, "subnets", "", "range that runs get their addresses from (default 172.28.0.0/14)")
	fs.StringSliceVar(&o.plainHTTP, "plain-http", nil, "registries that speak HTTP without TLS, HOST:PORT (repeat)")
	fs.StringSliceVar(&o.allowPrivate, "allow-private", nil, "destinations at private addresses, HOST:PORT, that event subscriptions made over the network may name (repeat)")
	fs.StringToStringVar(&o.imageAliases, "image-alias", nil, "image that the first word of a cmd stands for, NAME=IMAGE; acr, az, bash, curl and cssc are Microsoft's otherwise (repeat)")
	fs.StringVar(&o.logArchive, "log-archive", "", "folder or bucket for the logs of runs that have ended (default STATE/log-archive)")
	ssh := sshFlags(fs)
	certificate := &api.Certificate{}
	fs.StringVar(&certificate.CertFile, "tls-cert", "", "file with the certificate to serve TLS with; it is read again when it has changed")
	fs.StringVar(&certificate.KeyFile, "tls-key", "", "file with the certificate's key")
	secretSources := secretFlags(fs, s)
	records := storeFlags(fs, s.getenv)
	id := identityFlags(fs)
	limits := limitFlags(fs)
	cache := cacheFlags(fs)
	fs.BoolVar(&o.debug, "debug", false, "log what the engine does")
	logJSON := fs.Bool("log-json", false, "log in JSON")
	if _, err := parse(fs, args, 0, 0); err != nil {
		return err
	}
	var err error
	if o.state, err = stateDir(state); err != nil {
		return err
	}
	switch {
	case (certificate.CertFile == "") != (certificate.KeyFile == ""):
		return &usageError{"--tls-cert and --tls-key belong together"}
	case certificate.CertFile != "":
		o.certificate = certificate
	}
	if o.quiet == 0 {
		o.quiet = -1
	}
	if o.secrets, err = secretSources.read(); err != nil {
		return err
	}
	if allowHosts != "" {
		o.hosts = strings.Split(allowHosts, ",")
	}
	if o.limits, err = limits.read(); err != nil {
		return err
	}
	if o.ssh, err = ssh.read(); err != nil {
		return err
	}
	if err := records.read(); err != nil {
		return err
	}
	o.records = *records
	if err := id.check(); err != nil {
		return err
	}
	o.identity = *id
	if o.cache, err = cache.read(o.state); err != nil {
		return err
	}
	o.log = slog.New(slog.NewTextHandler(s.stderr, nil))
	if *logJSON {
		o.log = slog.New(slog.NewJSONHandler(s.stderr, nil))
	}
	o.ready = func(registry string) {
		fmt.Fprintf(s.stderr, "acrd %s serves on %s (registry, API); state in %s\n", version, registry, o.state)
	}
	if err := checkHost(ctx, o.engine == ""); err != nil {
		return err
	}
	var stop func()
	o.hurry, stop = hurryOnSignal(os.Exit)
	defer stop()
	return runDaemon(ctx, o)
}

// defaultListen makes images localhost:5000/name, which every client takes for
// plain HTTP.
const defaultListen = "127.0.0.1:5000"

func defaultSlots() int { return max(4, 4*runtime.NumCPU()) }

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// limitValues are the flags for what a run may use.
type limitValues struct {
	memory string
	pids   int64
	cpus   float64
}

func limitFlags(fs *pflag.FlagSet) *limitValues {
	v := &limitValues{}
	fs.StringVar(&v.memory, "run-memory", "4g", "memory that the commands of one run, or one RUN of a build, may use; 0 is no limit")
	fs.Int64Var(&v.pids, "run-pids", 4096, "processes that they may have; 0 is no limit")
	fs.Float64Var(&v.cpus, "run-cpus", 0, "processors that they may use; 0 is no limit")
	return v
}

func (v *limitValues) read() (control.Limits, error) {
	memory, err := parseBytes(v.memory)
	if err != nil {
		return control.Limits{}, &usageError{"--run-memory: " + err.Error()}
	}
	return control.Limits{Memory: memory, PIDs: v.pids, CPUs: v.cpus}, nil
}

// cacheValues are the flags for how large the build cache may be.
type cacheValues struct{ max, free, reserved string }

func cacheFlags(fs *pflag.FlagSet) *cacheValues {
	v := &cacheValues{}
	fs.StringVar(&v.max, "cache-max", "", "most that the build cache may hold (default 60% of the disk, at most 100g)")
	fs.StringVar(&v.free, "cache-min-free", "", "what the build cache leaves free on the disk (default 10% of it)")
	fs.StringVar(&v.reserved, "cache-reserved", "", "what of the build cache is kept even if it is old (default 10% of the disk, at most 10g)")
	return v
}

// read takes shares of the disk for what is not given.
func (v *cacheValues) read(state string) (control.Cache, error) {
	disk := diskSize(state)
	c := control.Cache{
		MaxUsed: min(disk*6/10, 100<<30), MinFree: disk / 10, Reserved: min(disk/10, 10<<30),
	}
	for _, f := range []struct {
		name, text string
		into       *int64
	}{{"--cache-max", v.max, &c.MaxUsed}, {"--cache-min-free", v.free, &c.MinFree}, {"--cache-reserved", v.reserved, &c.Reserved}} {
		if f.text == "" {
			continue
		}
		n, err := parseBytes(f.text)
		if err != nil {
			return c, &usageError{f.name + ": " + err.Error()}
		}
		*f.into = n
	}
	return c, nil
}

// diskSize is the size of the disk below the nearest folder that exists.
func diskSize(path string) int64 {
	var st unix.Statfs_t
	for {
		if err := unix.Statfs(path, &st); err == nil {
			return int64(st.Blocks) * st.Bsize
		}
		cut := strings.LastIndexByte(path, '/')
		if cut <= 0 {
			return 100 << 30
		}
		path = path[:cut]
	}
}
