package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"acrd/steps"
)

// Secrets find the values of what task files call secrets.
type Secrets interface {
	// Secret returns the value. Its error does not hold it.
	Secret(ctx context.Context, s steps.Secret) (string, error)
}

// credentials are those of the request, with the values of what it names only
// by addresses in a vault. From here on the log hides them.
func (r *Runner) credentials(ctx context.Context, run *Run, t *transcript) ([]steps.Credential, error) {
	all := slices.Clone(run.Request.Credentials)
	for _, c := range run.Request.VaultCredentials {
		user, err := r.open(ctx, c.UserName, c.UserNameVault)
		var password string
		if err == nil {
			password, err = r.open(ctx, c.Password, c.PasswordVault)
		}
		if err != nil {
			return nil, &InvalidError{fmt.Errorf("credential of %s: %w", c.Registry, err)}
		}
		t.know([]string{password})
		all = append(all, steps.Credential{Registry: c.Registry, Username: user, Password: password})
	}
	return all, nil
}

// open is a value, or what a vault has at its address.
func (r *Runner) open(ctx context.Context, value string, vault bool) (string, error) {
	switch {
	case !vault:
		return value, nil
	case r.Secrets == nil:
		return "", errors.New("this daemon has no provider for it: give user name and password themselves")
	}
	return r.Secrets.Secret(ctx, steps.Secret{ID: "credential", KeyVault: value})
}

// Secrets are fetched as ACR does: five at a time, each five within two
// minutes.
const (
	secretBatch   = 5
	secretTimeout = 2 * time.Minute
)

var errSecretTimeout = errors.New("timeout in fetching secrets. please check permissions are valid")

// reveal loads the task file with the values of the secrets that it declares,
// and adds them to secrets. From here on the log hides them.
func (r *Runner) reveal(ctx context.Context, run *Run, root *os.Root, secrets map[string][]byte, t *transcript) (*steps.File, error) {
	task, err := r.taskFile(ctx, run, root)
	if err != nil {
		return nil, err
	}
	declared, err := steps.DeclaredSecrets(task.name, task.text, task.values)
	if err != nil || len(declared) == 0 {
		return loadUnless(err, task)
	}
	if _, err := task.trial(); err != nil {
		return nil, err // wrong whatever the secrets are, so it may be quoted
	}
	if run.Request.Untrusted {
		return nil, &InvalidError{errUntrusted}
	}
	if r.Secrets == nil {
		return nil, &InvalidError{errors.New("this daemon has no provider for the secrets of the task: pass their values with --set-secret")}
	}
	values, err := r.fetchSecrets(ctx, declared)
	if err != nil {
		return nil, &InvalidError{fmt.Errorf("unable to render task: failed to resolve secrets in the task with error: %w", err)}
	}
	t.know(slices.Collect(maps.Values(values)))
	for id, v := range values {
		secrets[id] = []byte(v)
	}
	file, err := task.load(values)
	if err != nil {
		return nil, withoutText(err)
	}
	return file, nil
}

func loadUnless(err error, task *taskFile) (*steps.File, error) {
	if err != nil {
		return nil, err
	}
	return task.load(nil)
}

// brokenBySecret stands for what the parser says, which quotes the file, and
// with it parts of values that no mask would find.
const brokenBySecret = "the value of a secret makes the file wrong here: put quotes around it, or use b64enc and a volume"

// withoutText is an error about a file whose text holds secrets. The same file
// was right without them.
func withoutText(err error) error {
	faults, ok := errors.AsType[steps.Errors](err)
	if !ok {
		return &InvalidError{errors.New(brokenBySecret)}
	}
	var quiet steps.Errors
	for _, f := range faults {
		quiet = append(quiet, &steps.Error{File: f.File, Line: f.Line, Column: f.Column, Msg: brokenBySecret})
	}
	return quiet
}

func (r *Runner) fetchSecrets(ctx context.Context, wanted []steps.Secret) (map[string]string, error) {
	values := map[string]string{}
	for batch := range slices.Chunk(wanted, secretBatch) {
		got, err := r.fetchBatch(ctx, batch)
		if err != nil {
			return nil, err
		}
		maps.Copy(values, got)
	}
	return values, nil
}

// fetchBatch returns when every provider has. The first error ends the others.
func (r *Runner) fetchBatch(ctx context.Context, batch []steps.Secret) (map[string]string, error) {
	ctx, stop := context.WithTimeoutCause(ctx, secretTimeout, errSecretTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards values
	values := map[string]string{}
	var fetching sync.WaitGroup
	for _, s := range batch {
		fetching.Go(func() {
			v, err := r.Secrets.Secret(ctx, s)
			if err != nil {
				cancel(fmt.Errorf("secret ID: %s: %w", s.ID, err)) // the first counts
				return
			}
			mu.Lock()
			defer mu.Unlock()
			values[s.ID] = v
		})
	}
	fetching.Wait()
	if len(values) < len(batch) {
		return nil, context.Cause(ctx)
	}
	return values, nil
}
