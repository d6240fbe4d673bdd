package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"acrd/internal/api"
	"acrd/internal/buildkit/control"
	"acrd/internal/realm"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// serveValues are what the flags of acrd serve say. Those that need no reading
// are in the options at once.
type serveValues struct {
	options      daemonOptions
	state        string
	hosts        string
	tokenServers []string
	ssh          *sshValues
	certificate  api.Certificate
	secrets      *secretValues
	records      *storeValues
	identity     *identity
	limits       *limitValues
	cache        *cacheValues
	logJSON      bool
}

func serveFlags(fs *pflag.FlagSet, s *session) *serveValues {
	v := &serveValues{options: daemonOptions{followed: true}}
	o := &v.options
	fs.StringVar(&v.state, "state", s.getenv("ACRD_STATE"), "folder for everything that must last ($ACRD_STATE; default /var/lib/acrd for root)")
	fs.StringVar(&o.listen, "listen", cmp.Or(s.getenv("ACRD_LISTEN"), defaultListen), "address of API and registry ($ACRD_LISTEN)")
	fs.StringVar(&o.socket, "socket", "", "unix socket for the commands of this machine (default STATE/acrd.sock)")
	fs.StringVar(&o.engine, "engine", "", "address of a remote BuildKit, tcp://HOST:PORT or unix://PATH, instead of the engine that is built in")
	fs.StringVar(&v.hosts, "host-name", "", "further names under which clients reach this daemon, with commas")
	fs.IntVar(&o.slots, "max-runs", defaultSlots(), "runs that execute at a time")
	fs.IntVar(&o.automatic, "max-automatic-runs", 0, "runs that triggers may have in the queue and executing at a time (default one less than --max-runs)")
	fs.DurationVar(&o.quiet, "base-image-quiet", 5*time.Second, "time for which a base image has to be left alone before what builds on it is built; 0 is none")
	fs.DurationVar(&o.poll, "git-poll", time.Minute, "how long the repository of a source trigger is left alone between two looks at its branches")
	fs.DurationVar(&o.drain, "drain-timeout", time.Minute, "time that runs get to finish after SIGTERM")
	fs.StringVar(&o.subnets, "subnets", "", "range that runs get their addresses from (default 172.28.0.0/14)")
	fs.StringSliceVar(&o.plainHTTP, "plain-http", nil, "registries that speak HTTP without TLS, HOST:PORT (repeat)")
	fs.StringArrayVar(&v.tokenServers, "token-server", nil, "server that may be shown the credential of a registry beside the registry itself, REGISTRY=HOST[:PORT] (repeat)")
	fs.StringSliceVar(&o.allowPrivate, "allow-private", nil, "destinations at private addresses, HOST:PORT, that event subscriptions made over the network may name (repeat)")
	fs.StringToStringVar(&o.imageAliases, "image-alias", nil, "image that the first word of a cmd stands for, NAME=IMAGE; acr, az, bash, curl and cssc are Microsoft's otherwise (repeat)")
	fs.StringVar(&o.logArchive, "log-archive", "", "folder or bucket for the logs of runs that have ended (default STATE/log-archive)")
	v.ssh = sshFlags(fs)
	fs.StringVar(&v.certificate.CertFile, "tls-cert", "", "file with the certificate to serve TLS with; it is read again when it has changed")
	fs.StringVar(&v.certificate.KeyFile, "tls-key", "", "file with the certificate's key")
	v.secrets = secretFlags(fs, s)
	v.records = storeFlags(fs, s.getenv)
	v.identity = identityFlags(fs)
	v.limits = limitFlags(fs)
	v.cache = cacheFlags(fs)
	fs.BoolVar(&o.debug, "debug", false, "log what the engine does")
	fs.BoolVar(&v.logJSON, "log-json", false, "log in JSON")
	return v
}

// read checks all flags and tells all faults together.
func (v *serveValues) read(fs *pflag.FlagSet) (daemonOptions, error) {
	o := v.options
	if o.quiet == 0 {
		o.quiet = -1
	}
	if v.hosts != "" {
		o.hosts = strings.Split(v.hosts, ",")
	}
	if v.certificate.CertFile != "" {
		o.certificate = &v.certificate
	}
	var faults [10]error
	o.state, faults[0] = stateDir(v.state)
	if (v.certificate.CertFile == "") != (v.certificate.KeyFile == "") {
		faults[1] = &usageError{"--tls-cert and --tls-key belong together"}
	}
	o.secrets, faults[2] = v.secrets.read()
	o.limits, o.disk, faults[3] = v.limits.read(o.state)
	o.ssh, faults[4] = v.ssh.read()
	o.cache, faults[5] = v.cache.read(o.state)
	faults[6], faults[7] = v.records.read(), v.identity.check()
	o.tokenServers, faults[8] = readTokenServers(v.tokenServers)
	faults[9] = checkRemote(fs, o.engine)
	o.records, o.identity = *v.records, *v.identity
	return o, errors.Join(faults[:]...)
}

// defaultListen makes images localhost:5000/name, which every client takes for
// plain HTTP.
const defaultListen = "127.0.0.1:5000"

func defaultSlots() int { return max(4, 4*runtime.NumCPU()) }

// limitValues are the flags for what a run may use.
type limitValues struct {
	memory, disk string
	pids, files  int64
	cpus         float64
}

func limitFlags(fs *pflag.FlagSet) *limitValues {
	v := &limitValues{}
	fs.StringVar(&v.memory, "run-memory", "4g", "memory that the commands of one run, or one RUN of a build, may use; 0 is no limit")
	fs.Int64Var(&v.pids, "run-pids", 4096, "processes that they may have; 0 is no limit")
	fs.Float64Var(&v.cpus, "run-cpus", 0, "processors that they may use; 0 is no limit")
	fs.StringVar(&v.disk, "run-disk", "", "what they may write to the disk; 0 is no limit (default half of the disk, at most 50g)")
	fs.Int64Var(&v.files, "run-files", 2_000_000, "files that they may write; 0 is no limit")
	return v
}

// read takes a share of the disk for what is not given.
func (v *limitValues) read(state string) (control.Limits, control.Disk, error) {
	memory, err := parseBytes(v.memory)
	if err != nil {
		err = &usageError{"--run-memory: " + err.Error()}
	}
	disk := control.Disk{Bytes: min(diskSize(state)/2, 50<<30), Files: v.files}
	if v.disk != "" {
		var e error
		if disk.Bytes, e = parseBytes(v.disk); e != nil {
			err = errors.Join(err, &usageError{"--run-disk: " + e.Error()})
		}
	}
	return control.Limits{Memory: memory, PIDs: v.pids, CPUs: v.cpus}, disk, err
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
	var faults []error
	for _, f := range []struct {
		name, text string
		into       *int64
	}{{"--cache-max", v.max, &c.MaxUsed}, {"--cache-min-free", v.free, &c.MinFree}, {"--cache-reserved", v.reserved, &c.Reserved}} {
		if f.text == "" {
			continue
		}
		n, err := parseBytes(f.text)
		if err != nil {
			faults = append(faults, &usageError{f.name + ": " + err.Error()})
		}
		*f.into = n
	}
	return c, errors.Join(faults...)
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

// ownEngineFlags are about the engine that is built in: another BuildKit has
// its own limits and its own cache.
var ownEngineFlags = []string{"subnets", "run-memory", "run-pids", "run-cpus", "run-disk", "run-files", "cache-max", "cache-min-free", "cache-reserved"}

// checkRemote refuses an address that no BuildKit can have, and flags that
// would mean nothing with a remote one.
func checkRemote(fs *pflag.FlagSet, engine string) error {
	if engine == "" {
		return nil
	}
	var faults []error
	u, err := url.Parse(engine)
	if err != nil || u.Scheme != "tcp" && u.Scheme != "unix" || u.Host+u.Path == "" {
		faults = append(faults, &usageError{fmt.Sprintf("--engine: %q is no address of a BuildKit: want tcp://HOST:PORT or unix://PATH", engine)})
	}
	for _, name := range ownEngineFlags {
		if fs.Changed(name) {
			faults = append(faults, &usageError{fmt.Sprintf("--%s is for the engine that is built in: with --engine, set it up at %s", name, engine)})
		}
	}
	return errors.Join(faults...)
}

// readTokenServers reads REGISTRY=HOST[:PORT].
func readTokenServers(words []string) (realm.Pairs, error) {
	pairs := realm.Pairs{}
	var faults []error
	for _, w := range words {
		registry, server, ok := strings.Cut(w, "=")
		if !ok || registry == "" || server == "" || strings.Contains(server, "/") {
			faults = append(faults, &usageError{fmt.Sprintf("--token-server %s: want REGISTRY=HOST[:PORT]", w)})
		}
		pairs[registry] = append(pairs[registry], server)
	}
	return pairs, errors.Join(faults...)
}
