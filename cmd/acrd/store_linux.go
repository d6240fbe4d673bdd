package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/runner"

	"github.com/spf13/pflag"
)

// storeValues are the flags for where the daemon keeps its records, and for
// how long.
type storeValues struct {
	url    string
	lease  time.Duration
	global int
	days   int
	keep   runner.Retention
	logs   string
}

// The files of the state folder that records are in.
const (
	storeFile = "acrd.db"
	keyFile   = "key"
	nameFile  = "name"
)

// aloneLease is the lease where nobody waits for its end.
const aloneLease = time.Minute

func storeFlags(fs *pflag.FlagSet, getenv func(string) string) *storeValues {
	v := &storeValues{}
	fs.StringVar(&v.url, "store", getenv("ACRD_STORE"), "where runs and tasks are recorded: postgres://..., shared by several daemons, or a SQLite file ($ACRD_STORE; default STATE/acrd.db)")
	fs.DurationVar(&v.lease, "lease", 15*time.Second, "after this time without a sign of life, other daemons on the same PostgreSQL take over the runs of this one")
	fs.IntVar(&v.global, "max-runs-total", 0, "runs that execute at a time on all daemons of one PostgreSQL together; 0 is no limit")
	fs.IntVar(&v.days, "keep-days", 30, "days that ended runs and their logs are kept, unless they are archived; 0 is for ever")
	fs.IntVar(&v.keep.Count, "keep-runs", 0, "how many of them are kept; 0 is any number")
	fs.StringVar(&v.logs, "keep-logs", "10g", "what their logs may take on the disk; 0 is no limit")
	return v
}

func (v *storeValues) read() error {
	var faults []error
	if v.lease < time.Second {
		faults = append(faults, &usageError{"--lease: at least 1s"})
	}
	if v.days < 0 || v.keep.Count < 0 {
		faults = append(faults, &usageError{"--keep-days and --keep-runs: not below 0"})
	}
	v.keep.Age = time.Duration(v.days) * 24 * time.Hour
	bytes, err := parseBytes(v.logs)
	if err != nil {
		faults = append(faults, &usageError{"--keep-logs: " + err.Error()})
	}
	v.keep.Bytes = bytes
	return errors.Join(faults...)
}

// openStore opens what must not be lost. On PostgreSQL the daemon needs a name
// under which it finds its own runs again.
func (d *daemon) openStore(ctx context.Context) (err error) {
	if d.key, err = secrets.OpenKeyFile(d.path(keyFile)); err != nil {
		return &hostError{err}
	}
	if d.records.url == "" {
		d.records.url = d.path(storeFile)
	}
	if d.store, err = store.Open(ctx, store.Options{URL: d.records.url, Sealer: d.key, Log: d.log}); err != nil {
		return storeError(err)
	}
	d.later(d.store.Close)
	return nil
}

// storeError adds an exit code to what a person must decide about.
func storeError(err error) error {
	if errors.Is(err, store.ErrNewer) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrKey) {
		return &hostError{err}
	}
	return err
}

// placeRunner says which daemon of how many this one is.
func (d *daemon) placeRunner(r *runner.Runner) (err error) {
	r.Alone = !store.Shared(d.records.url)
	r.Global = d.records.global
	if r.Alone {
		r.Name, r.Lease = "alone", aloneLease
		return nil
	}
	r.Lease = d.records.lease
	r.Name, err = daemonName(d.path(nameFile))
	return err
}

// daemonName is the same for each daemon that uses the state folder.
func daemonName(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("daemon's name: %w", err)
	}
	host, _ := os.Hostname()
	name := strings.Trim(host+"-"+strings.ToLower(rand.Text()[:8]), "-")
	if err := os.WriteFile(file, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("daemon's name: %w", err)
	}
	return name, nil
}

// eventAge is how long events are kept for who has not got them.
const eventAge = 7 * 24 * time.Hour

// intentAge is how long it is remembered what triggers have noticed: what is
// noticed again later is new. deliveryAge is the same for webhooks.
const (
	intentAge   = 90 * 24 * time.Hour
	deliveryAge = 30 * 24 * time.Hour
	noticeAge   = 24 * time.Hour // of other registries
)

// expire removes runs and events that nobody needs any more.
func (d *daemon) expire(ctx context.Context) error {
	removed, err := d.runner.Expire(ctx, d.records.keep)
	if removed > 0 {
		d.log.Info("old runs are removed", "runs", removed)
	}
	return errors.Join(err, d.store.RemoveEvents(ctx, eventAge), d.store.RemoveDead(ctx, eventAge), d.store.RemoveIntents(ctx, intentAge), d.store.RemoveDeliveries(ctx, deliveryAge), d.store.RemoveNotices(ctx, noticeAge))
}
