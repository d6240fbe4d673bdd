package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// secretsFunc is a provider made of a function.
type secretsFunc func(ctx context.Context, s steps.Secret) (string, error)

func (f secretsFunc) Secret(ctx context.Context, s steps.Secret) (string, error) { return f(ctx, s) }

const twoSecrets = `version: v1.1.0
secrets:
  - id: db
    keyvault: https://v.vault.azure.net/secrets/db
  - id: other-one
    keyvault: https://v.vault.azure.net/secrets/other
    clientID: c72b2df0-b9d8-4ac6-9363-7c1eb06c1c86
alias:
  values:
    pw: "{{.Secrets.db}}"
steps:
  - id: show
    cmd: alpine show {{.Secrets.db}} {{index .Secrets "other-one"}} $pw
`

// TestSecretsOfTask: steps get the values, and no place where people look has
// them.
func TestSecretsOfTask(t *testing.T) {
	for _, row := range []struct {
		name string
		exit error
		want runner.Status
	}{
		{"success", nil, runner.Succeeded},
		{"failure", &steps.ExitError{Code: 3}, runner.Failed},
	} {
		t.Run(row.name, func(t *testing.T) {
			var daemonLog bytes.Buffer
			var asked atomic.Int32
			b := newBench(t, func(r *runner.Runner) {
				r.Log = slog.New(slog.NewTextHandler(&daemonLog, nil))
				r.Secrets = secretsFunc(func(_ context.Context, s steps.Secret) (string, error) {
					asked.Add(1)
					return "canary-" + s.ID + s.ClientID, nil
				})
			})
			var args []string
			b.engine.ExecFunc = func(_ context.Context, op *steps.ExecOp, out steps.Output) error {
				args = op.Args
				fmt.Fprintf(out.Stdout, "the value is %s\n", strings.Join(op.Args, " "))
				return row.exit
			}
			run, log := b.do(twoSecrets)
			b.end()
			want := "show canary-db canary-other-onec72b2df0-b9d8-4ac6-9363-7c1eb06c1c86 canary-db"
			if got := strings.Join(args, " "); got != want || run.Status != row.want || asked.Load() != 2 {
				t.Errorf("%s, args %q, asked %d times\n%s", run.Status, got, asked.Load(), log)
			}
			for place, text := range map[string]string{"log": log, "record": fmt.Sprintf("%+v", run), "daemon's log": daemonLog.String()} {
				if strings.Contains(text, "canary") {
					t.Errorf("the %s has a secret:\n%s", place, text)
				}
			}
		})
	}
}

// TestSecretsThatBreakTheFile: a value that the file cannot have where it
// stands is not told.
func TestSecretsThatBreakTheFile(t *testing.T) {
	for _, row := range []struct{ name, file, value, want string }{
		{"number", "stepTimeout: {{.Secrets.db}}", "canary-1", "task.yaml:3:14: the value of a secret makes the file wrong here"},
		{"lines", "stepTimeout: {{.Secrets.db}}", "canary-1\nsteps: []", "task.yaml:3:14: the value of a secret makes the file wrong here"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var daemonLog bytes.Buffer
			b := newBench(t, func(r *runner.Runner) {
				r.Log = slog.New(slog.NewTextHandler(&daemonLog, nil))
				r.Secrets = secretsFunc(func(context.Context, steps.Secret) (string, error) { return row.value, nil })
			})
			b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error {
				t.Error("a step ran")
				return nil
			}
			// Without the value the file is right, so that it is accepted.
			run, log := b.do("secrets: [{id: db, keyvault: 'https://v.vault.azure.net/secrets/db'}]\nsteps: [{cmd: alpine}]\n" +
				strings.Replace(row.file, "{{.Secrets.db}}", "{{if .Secrets.db}}{{.Secrets.db}}{{else}}1{{end}}", 1))
			b.end()
			if run.Status != runner.Failed || !strings.Contains(log, row.want) {
				t.Errorf("%s, want Failed and %q:\n%s", run.Status, row.want, log)
			}
			for place, text := range map[string]string{"log": log, "record": fmt.Sprintf("%+v", run), "daemon's log": daemonLog.String()} {
				if strings.Contains(text, "canary") {
					t.Errorf("the %s has a secret:\n%s", place, text)
				}
			}
		})
	}
}

func manySecrets(n int) string {
	var b strings.Builder
	b.WriteString("secrets:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {id: s%02d, keyvault: 'https://v.vault.azure.net/secrets/s%02d'}\n", i, i)
	}
	b.WriteString("steps:\n  - cmd: alpine {{.Secrets.s00}}\n")
	return b.String()
}

// TestSecretBatches: five at a time, and no more than two minutes for five.
func TestSecretBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		b := newBench(t, func(r *runner.Runner) {
			r.Secrets = secretsFunc(func(context.Context, steps.Secret) (string, error) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer now.Add(-1)
				time.Sleep(time.Minute)
				return "value", nil
			})
		})
		b.engine.ExecFunc = func(context.Context, *steps.ExecOp, steps.Output) error { return nil }
		begin := time.Now()
		run, log := b.do(manySecrets(12))
		if took := time.Since(begin); run.Status != runner.Succeeded || most.Load() != 5 || took < 3*time.Minute || took > 3*time.Minute+time.Second {
			t.Errorf("%s after %v, %d at a time\n%s", run.Status, took, most.Load(), log)
		}
		b.end()
	})
}

func TestSecretsRefused(t *testing.T) {
	for _, row := range []struct {
		name   string
		secret secretsFunc
		took   time.Duration
		want   string
	}{
		{"none", nil, 0, "this daemon has no provider for the secrets of the task"},
		{
			"denied", func(context.Context, steps.Secret) (string, error) { return "", errors.New("access denied") }, 0,
			"unable to render task: failed to resolve secrets in the task with error: secret ID: s0",
		},
		{
			"one of them", func(ctx context.Context, s steps.Secret) (string, error) {
				if s.ID == "s03" {
					return "", errors.New("access denied")
				}
				<-ctx.Done() // nobody waits for the others
				return "", ctx.Err()
			}, 0, "secret ID: s03: access denied",
		},
		{
			"no answer", func(ctx context.Context, _ steps.Secret) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}, 2 * time.Minute, "timeout in fetching secrets. please check permissions are valid",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(r *runner.Runner) {
					if row.secret != nil {
						r.Secrets = row.secret
					}
				})
				begin := time.Now()
				run, log := b.do(manySecrets(7))
				if took := time.Since(begin); run.Status != runner.Failed || took < row.took || took > row.took+time.Second || !strings.Contains(log, row.want) {
					t.Errorf("%s after %v, want %q\n%s", run.Status, took, row.want, log)
				}
				b.end()
			})
		})
	}
}

// TestSecretsStayWhereTheyStand: a value that is YAML, shell or flags of docker
// is one word all the same.
func TestSecretsStayWhereTheyStand(t *testing.T) {
	for _, value := range []string{
		"x\nsteps: [{cmd: a, privileged: true}]", "x: y: [", "--privileged -v /:/host evil", "a; b $(c) 'd \" e", "{{.Run.ID}}", "# x",
	} {
		b := newBench(t, func(r *runner.Runner) {
			r.Secrets = secretsFunc(func(context.Context, steps.Secret) (string, error) { return value, nil })
		})
		var op *steps.ExecOp
		b.engine.ExecFunc = func(_ context.Context, o *steps.ExecOp, _ steps.Output) error {
			op = o
			return nil
		}
		run, log := b.do("version: v1.1.0\nsecrets: [{id: db, keyvault: 'https://v.vault.azure.net/secrets/db'}]\n" +
			"steps:\n  - cmd: alpine use {{.Secrets.db}} end\n    env: [\"A={{.Secrets.db}}\"]\n")
		b.end()
		if run.Status != runner.Succeeded || op == nil || op.Privileged || len(op.HostMounts) > 0 {
			t.Fatalf("%q: %s, %+v\n%s", value, run.Status, op, log)
		}
		if want := []string{"use", value, "end"}; !slices.Equal(op.Args, want) || !slices.Equal(op.Env, []string{"A=" + value}) {
			t.Errorf("args %q, env %q, want %q", op.Args, op.Env, want)
		}
	}
}

// TestStepSecrets: a step has a secret as a variable or as a file, and nothing
// that a person can read has it.
func TestStepSecrets(t *testing.T) {
	b := newBench(t, func(r *runner.Runner) {
		r.Secrets = secretsFunc(func(context.Context, steps.Secret) (string, error) { return "canary-value", nil })
	})
	var op *steps.ExecOp
	b.engine.ExecFunc = func(_ context.Context, o *steps.ExecOp, _ steps.Output) error {
		op = o
		return nil
	}
	run, log := b.do(`secrets: [{id: db, keyvault: 'https://v.vault.azure.net/secrets/db'}]
steps:
  - cmd: alpine
    secrets:
      - {id: db, env: TOKEN}
      - {id: db, file: /run/secrets/db}
`)
	b.end()
	if run.Status != runner.Succeeded {
		t.Fatal(log)
	}
	if !slices.Contains(op.Env, "TOKEN=canary-value") || len(op.Volumes) != 1 || op.Volumes[0].Path != "/run/secrets/db" || op.Volumes[0].File == "" {
		t.Errorf("%+v", op)
	}
	if text := log + fmt.Sprintf("%+v", run); strings.Contains(text, "canary") {
		t.Errorf("a secret is told:\n%s", text)
	}
}
