package storetest

import (
	"errors"
	"testing"
	"time"

	"acrd/internal/api"
	"acrd/internal/secrets"
	"acrd/internal/store"
	"acrd/runner"

	"github.com/google/go-cmp/cmp"
)

func tokens(t *testing.T, db *store.DB) {
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Microsecond)
	all := []*api.Token{
		{Name: "ci", Scopes: []api.Scope{api.ScopeSubmit, api.ScopePush}, Created: now, Expires: now.Add(time.Hour), Hash: api.HashToken("one")},
		{Name: "ever", Scopes: []api.Scope{api.ScopeRead}, Created: now, Hash: api.HashToken("two")},
	}
	for _, token := range all {
		if err := db.AddToken(ctx, token); err != nil {
			t.Fatal(err)
		}
	}
	for _, taken := range []*api.Token{{Name: "ci", Hash: api.HashToken("three")}, {Name: "other", Hash: api.HashToken("one")}} {
		if err := db.AddToken(ctx, taken); !errors.Is(err, api.ErrTokenTaken) {
			t.Errorf("add %s again: %v", taken.Name, err)
		}
	}
	got, err := db.ListTokens(ctx)
	if diff := cmp.Diff(all, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	one, err := db.TokenByHash(ctx, api.HashToken("one"))
	if diff := cmp.Diff(all[0], one); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := db.DeleteToken(ctx, "ci"); err != nil {
		t.Error(err)
	}
	if err := db.DeleteToken(ctx, "ci"); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("delete it again: %v", err)
	}
	if _, err := db.TokenByHash(ctx, api.HashToken("one")); !errors.Is(err, runner.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
	if err := db.AddToken(ctx, all[0]); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
}

func sealedSecrets(t *testing.T, db *store.DB) {
	ctx := t.Context()
	if _, err := db.SealedSecret(ctx, "none"); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	if err := db.DeleteSealedSecret(ctx, "none"); !errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("delete none: %v", err)
	}
	for _, value := range []string{"\x00first\xff", "second"} {
		for _, name := range []string{"b", "a"} {
			if err := db.PutSealedSecret(ctx, name, []byte(value)); err != nil {
				t.Fatal(err)
			}
			if got, err := db.SealedSecret(ctx, name); err != nil || string(got) != value {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
	}
	all, err := db.SealedSecrets(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "a" || time.Since(all[0].Updated).Abs() > time.Minute {
		t.Errorf("list: %v, %v", all, err)
	}
	if err := db.DeleteSealedSecret(ctx, "a"); err != nil {
		t.Error(err)
	}
	if all, err := db.SealedSecrets(ctx); err != nil || len(all) != 1 {
		t.Errorf("list: %v, %v", all, err)
	}
}
