package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"acrd/internal/api"
	"acrd/internal/pattern"
	"acrd/runner"

	"github.com/spf13/pflag"
)

func timerCommands() []command {
	return []command{
		{name: "add", summary: "Add a timer", run: addTimer},
		{name: "update", summary: "Change a timer", run: updateTimer},
		{name: "remove", summary: "Remove a timer", run: removeTimer},
		{name: "list", summary: "List the timers", run: listTimers},
	}
}

func credentialCommands() []command {
	return []command{
		{name: "add", summary: "Add the credential of a registry", run: addCredential},
		{name: "update", summary: "Change the credential of a registry", run: updateCredential},
		{name: "remove", summary: "Remove the credential of a registry", run: removeCredential},
		{name: "list", summary: "List the registries that there are credentials of", run: listCredentials},
	}
}

func identityCommands() []command {
	return []command{
		{name: "assign", summary: "Note identities with a task", run: assignIdentity},
		{name: "remove", summary: "Remove identities from a task", run: removeIdentity},
		{name: "show", summary: "Show the identities of a task", run: showIdentity},
	}
}

// onTask is a command about a part of one task.
func onTask(ctx context.Context, s *session, synopsis, description string, args []string, define func(fs *pflag.FlagSet), do func(c *connection, t *api.Task, o *output) error) error {
	return onNamed(ctx, s, "task", synopsis, description, args, define, func(c *connection, name string, o *output) error {
		t, err := c.Task(ctx, name)
		if err != nil {
			return err
		}
		return do(c, t, o)
	})
}

// timerFlags are the flags of acrd task timer.
type timerFlags struct {
	fs             *pflag.FlagSet
	name, schedule string
	enabled        bool
	options        timerOptions
}

// timerOptions are what timers have here and not in ACR.
type timerOptions struct{ zone, catchUp, overlap string }

func (o *timerOptions) define(fs *pflag.FlagSet) {
	fs.StringVar(&o.zone, "time-zone", "", "where the schedule is read, such as Europe/Berlin (default UTC)")
	fs.StringVar(&o.catchUp, "catch-up", "latest", "which times run that were missed within the last day: latest, skip (none), or all (at most 10)")
	fs.StringVar(&o.overlap, "overlap", "allow", "what a time does while the timer's last run has not ended: allow (run as well), skip, queue, or replace (cancel that run)")
}

// addTo adds to a timer what was given.
func (o *timerOptions) addTo(timer body, fs *pflag.FlagSet) {
	for flag, field := range map[string]struct{ name, value string }{
		"time-zone": {"timeZone", o.zone}, "catch-up": {"catchUp", o.catchUp}, "overlap": {"overlap", o.overlap},
	} {
		if fs.Changed(flag) {
			timer[field.name] = field.value
		}
	}
}

func (f *timerFlags) define(schedule bool) func(*pflag.FlagSet) {
	return func(fs *pflag.FlagSet) {
		f.fs = fs
		fs.StringVar(&f.name, "timer-name", "", "name of the timer")
		need(fs, "timer-name")
		if schedule {
			fs.StringVar(&f.schedule, "schedule", "", "five cron fields: minute hour day month weekday")
			fs.BoolVar(&f.enabled, "enabled", true, "whether the timer runs")
			f.options.define(fs)
		}
	}
}

func timersOf(t *api.Task) []runner.TimerTrigger {
	if t.Properties.Trigger == nil {
		return nil
	}
	return t.Properties.Trigger.Timers
}

// timer finds the timer that a flag names.
func (f *timerFlags) timer(t *api.Task) error {
	timers := timersOf(t)
	if len(timers) == 0 {
		return fmt.Errorf("No timer triggers exist for the task '%s'.", t.Name) //nolint:revive,staticcheck // az's words
	}
	if !slices.ContainsFunc(timers, func(one runner.TimerTrigger) bool { return one.Name == f.name }) {
		return fmt.Errorf("The timer '%s' does not exist for the task '%s'.", f.name, t.Name) //nolint:revive,staticcheck // az's words
	}
	return nil
}

func timerTable(timers []runner.TimerTrigger) table {
	t := table{head: []string{"NAME", "SCHEDULE", "STATUS"}}
	for _, one := range timers {
		t.add(one.Name, one.Schedule, string(one.Status))
	}
	return t
}

func (f *timerFlags) patch(ctx context.Context, s *session, c *connection, t *api.Task, o *output, timer body) error {
	t, err := c.PatchTask(ctx, t.Name, body{"properties": body{"trigger": body{"timerTriggers": []body{timer}}}})
	if err != nil {
		return err
	}
	return o.print(s, t, timerTable(timersOf(t)))
}

func addTimer(ctx context.Context, s *session, args []string) error {
	var f timerFlags
	return onTask(ctx, s, "task timer add -n TASK --timer-name NAME --schedule FIELDS [FLAGS]", "Add a timer to a task.", args, func(fs *pflag.FlagSet) {
		f.define(true)(fs)
		need(fs, "schedule")
	}, func(c *connection, t *api.Task, o *output) error {
		if slices.ContainsFunc(timersOf(t), func(one runner.TimerTrigger) bool { return one.Name == f.name }) {
			return fmt.Errorf("The timer '%s' already exists for the task '%s'.", f.name, t.Name) //nolint:revive,staticcheck // as az says it of others
		}
		timer := body{"name": f.name, "schedule": f.schedule, "status": string(enabled(f.enabled))}
		f.options.addTo(timer, f.fs)
		return f.patch(ctx, s, c, t, o, timer)
	})
}

func updateTimer(ctx context.Context, s *session, args []string) error {
	var f timerFlags
	return onTask(ctx, s, "task timer update -n TASK --timer-name NAME [FLAGS]", "Change a timer of a task.", args, f.define(true), func(c *connection, t *api.Task, o *output) error {
		if err := f.timer(t); err != nil {
			return err
		}
		timer := body{"name": f.name}
		if f.fs.Changed("schedule") {
			timer["schedule"] = f.schedule
		}
		if f.fs.Changed("enabled") {
			timer["status"] = string(enabled(f.enabled))
		}
		f.options.addTo(timer, f.fs)
		return f.patch(ctx, s, c, t, o, timer)
	})
}

// removeTimer writes the whole task: a patch can only add to the timers.
func removeTimer(ctx context.Context, s *session, args []string) error {
	var f timerFlags
	return onTask(ctx, s, "task timer remove -n TASK --timer-name NAME", "Remove a timer from a task.", args, f.define(false), func(c *connection, t *api.Task, o *output) error {
		if err := f.timer(t); err != nil {
			return err
		}
		trigger := t.Properties.Trigger
		trigger.Timers = slices.DeleteFunc(trigger.Timers, func(one runner.TimerTrigger) bool { return one.Name == f.name })
		t, err := c.PutTask(ctx, t.Name, t) // its secrets stay
		if err != nil {
			return err
		}
		return o.print(s, t, timerTable(timersOf(t)))
	})
}

func listTimers(ctx context.Context, s *session, args []string) error {
	return onTask(ctx, s, "task timer list -n TASK", "List the timers of a task, and the times that they run for next and have run for last.", args, nil, func(c *connection, t *api.Task, o *output) error {
		timers, err := c.TaskTimers(ctx, t.Name)
		if err != nil {
			return err
		}
		list := table{head: []string{"NAME", "SCHEDULE", "TIME ZONE", "STATUS", "NEXT", "LAST"}}
		for _, one := range timers {
			list.add(one.Name, one.Schedule, cmp.Or(one.TimeZone, "UTC"), string(one.Status), nextFire(one), fireTime(one.Last, one.TimeZone))
		}
		return o.print(s, timers, list)
	})
}

// nextFire says when a timer runs next, on the clocks of its zone.
func nextFire(t api.TaskTimer) string {
	switch {
	case !t.Status.Active():
		return "-"
	case t.Waits:
		return fireTime(t.Next, t.TimeZone) + " (waits for its last run)"
	case t.Next.IsZero():
		return "never"
	}
	return fireTime(t.Next, t.TimeZone)
}

func fireTime(at time.Time, zone string) string {
	if at.IsZero() {
		return "-"
	}
	if there, err := time.LoadLocation(zone); err == nil {
		at = at.In(there)
	}
	return at.Format(time.RFC3339)
}

// credentialFlags are the flags of acrd task credential.
type credentialFlags struct {
	server, user, password, identity string
	fromStdin                        bool
}

func (f *credentialFlags) define(value bool) func(*pflag.FlagSet) {
	return func(fs *pflag.FlagSet) {
		fs.StringVar(&f.server, "login-server", "", "registry, HOST[:PORT]")
		need(fs, "login-server")
		if value {
			fs.StringVarP(&f.user, "username", "u", "", "user name, or the Key Vault URL of one")
			fs.StringVarP(&f.password, "password", "p", "", "password, or the Key Vault URL of one")
			fs.BoolVar(&f.fromStdin, "password-stdin", false, "read the password from standard input")
			fs.StringVar(&f.identity, "use-identity", "", "[system] or the client id of an identity, in Azure; it opens nothing here")
		}
	}
}

// vaultURL is the address of a secret in a Key Vault.
var vaultURL = pattern.New(`^https://[^/]+\.vault\.[^/]+/secrets/`)

func secretObject(value string) body {
	if vaultURL().MatchString(strings.ToLower(value)) {
		return body{"type": runner.VaultSecret, "value": value}
	}
	return body{"type": runner.Opaque, "value": value}
}

func registriesOf(t *api.Task) map[string]runner.RegistryCredential {
	if t.Properties.Credentials == nil {
		return nil
	}
	return t.Properties.Credentials.CustomRegistries
}

func (f *credentialFlags) body(s *session) (body, error) {
	if f.fromStdin {
		b, err := io.ReadAll(io.LimitReader(s.stdin, 1<<20))
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		f.password = strings.TrimRight(string(b), "\r\n")
	}
	b := body{}
	if f.identity != "" {
		b["identity"] = f.identity
	}
	if f.user != "" || f.password != "" || f.identity == "" {
		if err := required("--username", f.user, "--password", f.password); err != nil {
			return nil, err
		}
		b["userName"], b["password"] = secretObject(f.user), secretObject(f.password)
	}
	return b, nil
}

// save writes a credential; nil takes it away.
func (f *credentialFlags) save(ctx context.Context, s *session, c *connection, t *api.Task, o *output, credential any) error {
	t, err := c.PatchTask(ctx, t.Name, body{"properties": body{"credentials": body{"customRegistries": body{f.server: credential}}}})
	if err != nil {
		return err
	}
	return printCredentials(s, t, o)
}

func printCredentials(s *session, t *api.Task, o *output) error {
	list := table{head: []string{"LOGIN SERVER", "TYPE"}}
	all := registriesOf(t)
	if all == nil {
		all = map[string]runner.RegistryCredential{}
	}
	for _, host := range sortedKeys(all) {
		kind := runner.Opaque
		switch c := all[host]; {
		case c.Password == nil:
			kind = "Identity"
		case c.Password.Type != "":
			kind = c.Password.Type
		}
		list.add(host, kind)
	}
	return o.print(s, all, list)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func addCredential(ctx context.Context, s *session, args []string) error {
	return setCredential(ctx, s, "task credential add -n TASK --login-server HOST [FLAGS]", "Add the credential of a registry to a task. It is stored encrypted and never shown.", args, func(f *credentialFlags, has bool) error {
		if has {
			return fmt.Errorf("Login server '%s' already exists. You cannot add it again.", f.server) //nolint:revive,staticcheck // az's words
		}
		return nil
	})
}

func updateCredential(ctx context.Context, s *session, args []string) error {
	return setCredential(ctx, s, "task credential update -n TASK --login-server HOST [FLAGS]", "Change the credential of a registry.", args, (*credentialFlags).mustHave)
}

func (f *credentialFlags) mustHave(has bool) error {
	if !has {
		return fmt.Errorf("Login server '%s' not found.", f.server) //nolint:revive,staticcheck // az's words
	}
	return nil
}

func setCredential(ctx context.Context, s *session, synopsis, description string, args []string, check func(f *credentialFlags, has bool) error) error {
	var f credentialFlags
	return onTask(ctx, s, synopsis, description, args, f.define(true), func(c *connection, t *api.Task, o *output) error {
		_, has := registriesOf(t)[f.server]
		if err := check(&f, has); err != nil {
			return err
		}
		b, err := f.body(s)
		if err != nil {
			return err
		}
		return f.save(ctx, s, c, t, o, b)
	})
}

func removeCredential(ctx context.Context, s *session, args []string) error {
	var f credentialFlags
	return onTask(ctx, s, "task credential remove -n TASK --login-server HOST", "Remove the credential of a registry from a task.", args, f.define(false), func(c *connection, t *api.Task, o *output) error {
		_, has := registriesOf(t)[f.server]
		if err := f.mustHave(has); err != nil {
			return err
		}
		return f.save(ctx, s, c, t, o, nil)
	})
}

func listCredentials(ctx context.Context, s *session, args []string) error {
	return onTask(ctx, s, "task credential list -n TASK", "List the registries that a task has credentials of.", args, nil, func(_ *connection, t *api.Task, o *output) error {
		return printCredentials(s, t, o)
	})
}

// systemIdentity and allIdentities are az's words for them.
const (
	systemIdentity = "[system]"
	allIdentities  = "[all]"
)

// identityBody is the identity of a resource that has these.
func identityBody(list []string) body {
	users := body{}
	system := len(list) == 0
	for _, id := range list {
		if id == systemIdentity {
			system = true
			continue
		}
		users[id] = body{}
	}
	switch {
	case system && len(users) > 0:
		return body{"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": users}
	case system:
		return body{"type": "SystemAssigned"}
	}
	return body{"type": "UserAssigned", "userAssignedIdentities": users}
}

// identitiesOf are those of a task in az's words.
func identitiesOf(t *api.Task) []string {
	var all []string
	if t.Identity == nil {
		return nil
	}
	if strings.Contains(t.Identity.Type, "SystemAssigned") {
		all = append(all, systemIdentity)
	}
	return append(all, sortedKeys(t.Identity.UserAssigned)...)
}

func changeIdentity(ctx context.Context, s *session, synopsis, description string, args []string, change func(has, given []string) []string) error {
	var given wordList
	define := func(fs *pflag.FlagSet) {
		fs.Var(&given, "identities", "[system], [all], or resource ids of identities")
		fs.Lookup("identities").NoOptDefVal = systemIdentity
	}
	return onTask(ctx, s, synopsis, description, args, define, func(c *connection, t *api.Task, o *output) error {
		now := change(identitiesOf(t), given)
		// Merged with what was there, an identity could not be taken away.
		if _, err := c.PatchTask(ctx, t.Name, body{"identity": nil}); err != nil {
			return err
		}
		if len(now) > 0 {
			if _, err := c.PatchTask(ctx, t.Name, body{"identity": identityBody(now)}); err != nil {
				return err
			}
		}
		t, err := c.Task(ctx, t.Name)
		if err != nil {
			return err
		}
		return printIdentities(s, t, o)
	})
}

func printIdentities(s *session, t *api.Task, o *output) error {
	list := table{head: []string{"IDENTITY"}}
	for _, id := range identitiesOf(t) {
		list.add(id)
	}
	var result any = json.RawMessage("null")
	if t.Identity != nil {
		result = t.Identity
	}
	return o.print(s, result, list)
}

func assignIdentity(ctx context.Context, s *session, args []string) error {
	return changeIdentity(ctx, s, "task identity assign -n TASK [--identities ID ...]", "Note identities with a task; without any, [system]. They open nothing here.", args, func(has, given []string) []string {
		if len(given) == 0 {
			given = []string{systemIdentity}
		}
		return slices.Compact(slices.Sorted(slices.Values(slices.Concat(has, given))))
	})
}

func removeIdentity(ctx context.Context, s *session, args []string) error {
	return changeIdentity(ctx, s, "task identity remove -n TASK [--identities ID ...]", "Remove identities from a task; without any, [system].", args, func(has, given []string) []string {
		if len(given) == 0 {
			given = []string{systemIdentity}
		}
		if slices.Contains(given, allIdentities) {
			return nil
		}
		return slices.DeleteFunc(has, func(id string) bool { return slices.Contains(given, id) })
	})
}

func showIdentity(ctx context.Context, s *session, args []string) error {
	return onTask(ctx, s, "task identity show -n TASK", "Show the identities of a task.", args, nil, func(_ *connection, t *api.Task, o *output) error {
		return printIdentities(s, t, o)
	})
}
