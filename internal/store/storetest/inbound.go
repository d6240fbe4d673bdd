package storetest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/internal/api"
	"acrd/internal/store"

	"github.com/google/go-cmp/cmp"
)

func addSource(t *testing.T, db *store.DB, name string) *inbound.Source {
	t.Helper()
	s := &inbound.Source{
		Name: name, Kind: inbound.Harbor, Registry: "harbor.example", Secret: "hook", Credential: "robot",
		ConnectedRegistry: "edge", Hash: inbound.HashToken(name), Created: time.Now().UTC().Truncate(time.Second),
	}
	if err := db.AddSource(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func sources(t *testing.T, db *store.DB) {
	want := addSource(t, db, "b")
	addSource(t, db, "a")
	if err := db.AddSource(t.Context(), want); !errors.Is(err, inbound.ErrTaken) {
		t.Errorf("a second of the name: %v", err)
	}
	for _, find := range []func() (*inbound.Source, error){
		func() (*inbound.Source, error) { return db.Source(t.Context(), "b") },
		func() (*inbound.Source, error) { return db.SourceByHash(t.Context(), inbound.HashToken("b")) },
	} {
		got, err := find()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("source (-want +got, %v):\n%s", err, diff)
		}
	}
	if all, err := db.Sources(t.Context()); err != nil || len(all) != 2 || all[0].Name != "a" {
		t.Errorf("sources %v (%v)", all, err)
	}
	want.Secret, want.Trusted = "", true
	changed, err := db.ChangeSource(t.Context(), "b", func(s *inbound.Source) error {
		s.Secret, s.Trusted = "", true
		return nil
	})
	if diff := cmp.Diff(want, changed); diff != "" || err != nil {
		t.Errorf("changed (-want +got, %v):\n%s", err, diff)
	}
	no := errors.New("no")
	if _, err := db.ChangeSource(t.Context(), "b", func(s *inbound.Source) error { s.Header = "X"; return no }); !errors.Is(err, no) {
		t.Errorf("a change that fails: %v", err)
	}
	if got, err := db.SourceByHash(t.Context(), inbound.HashToken("b")); !cmp.Equal(want, got) || err != nil {
		t.Errorf("after that %+v (%v)", got, err)
	}
	if _, err := db.ChangeSource(t.Context(), "none", func(*inbound.Source) error { return nil }); !errors.Is(err, inbound.ErrNotFound) {
		t.Errorf("a change of none: %v", err)
	}
	if _, err := db.AddNotices(t.Context(), "b", []inbound.Notice{{ID: "1", Action: inbound.Push, Repository: "app", Tag: "v1"}}, 10); err != nil {
		t.Fatal(err)
	}
	if err := db.DeleteSource(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := db.DeleteSource(t.Context(), "b"); !errors.Is(err, inbound.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := db.SourceByHash(t.Context(), inbound.HashToken("b")); !errors.Is(err, inbound.ErrNotFound) {
		t.Errorf("found after its end: %v", err)
	}
	if _, due, err := db.NextNotice(t.Context()); due || err != nil {
		t.Errorf("its notices are left (%v)", err)
	}
}

func notices(t *testing.T, db *store.DB) {
	addSource(t, db, "harbor")
	digest := "sha256:" + strings.Repeat("a", 64)
	first := inbound.Notice{ID: "1", Action: inbound.Push, Repository: "app", Tag: "v1", Size: 7, Chart: &inbound.Chart{Name: "app", Version: "1"}}
	second := inbound.Notice{ID: "2", Action: inbound.Delete, Repository: "app", Digest: digest}
	for i, want := range []int{2, 0} {
		if n, err := db.AddNotices(t.Context(), "harbor", []inbound.Notice{first, second}, 4); err != nil || n != want {
			t.Errorf("time %d: %d are new (%v), want %d", i, n, err, want)
		}
	}
	if _, err := db.AddNotices(t.Context(), "harbor", make([]inbound.Notice, 3), 4); !errors.Is(err, inbound.ErrFull) {
		t.Errorf("too many: %v", err)
	}
	now := time.Now().Add(time.Second)
	c, ok, err := db.ClaimSource(t.Context(), now, time.Minute)
	if !ok || err != nil || c.Source != "harbor" {
		t.Fatalf("claimed %+v, %v (%v)", c, ok, err)
	}
	if again, ok, err := db.ClaimSource(t.Context(), now, time.Minute); ok || err != nil {
		t.Errorf("claimed twice: %+v (%v)", again, err)
	}
	if err := db.FreeSources(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, ok, err = db.ClaimSource(t.Context(), now, time.Minute); !ok || err != nil {
		t.Fatalf("not claimed though it is free (%v)", err)
	}
	due, err := db.DueNotices(t.Context(), "harbor", now, 10)
	if err != nil || len(due) != 2 {
		t.Fatalf("due: %+v (%v)", due, err)
	}
	if diff := cmp.Diff(first, due[0].Notice); diff != "" {
		t.Errorf("notice (-want +got):\n%s", diff)
	}
	due[0].Outcome, due[0].Digest = inbound.Confirmed, digest
	stale := inbound.Claim{Source: "harbor", Key: "x"}
	if err := db.EndNotice(t.Context(), stale, due[0], eventing.Event{ID: "no", Time: now}); !errors.Is(err, inbound.ErrFenced) {
		t.Errorf("ended by a stranger: %v", err)
	}
	if err := db.EndNotice(t.Context(), c, due[0], eventing.Event{ID: "e", Type: "x", Topic: "/connectedRegistries/edge", Time: now, Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if open, err := db.OpenEvents(t.Context(), 10); err != nil || len(open) != 1 || open[0].ID != "e" {
		t.Errorf("outbox %+v (%v)", open, err)
	}
	if last, err := db.LastPush(t.Context(), "harbor", "app", "v1"); err != nil || last != digest {
		t.Errorf("last push %q (%v)", last, err)
	}
	due[1].Tries, due[1].Why = 1, "still there"
	if err := db.PutOffNotice(t.Context(), c, due[1], now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := db.ReleaseSource(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if c, ok, _ := db.ClaimSource(t.Context(), now.Add(2*time.Minute), time.Minute); ok {
		t.Errorf("claimed what is not due: %+v", c)
	}
	c, ok, err = db.ClaimSource(t.Context(), now.Add(2*time.Hour), time.Minute)
	if !ok || err != nil {
		t.Fatalf("not claimed when it is due (%v)", err)
	}
	due, err = db.DueNotices(t.Context(), "harbor", now.Add(2*time.Hour), 10)
	if err != nil || len(due) != 1 || due[0].Tries != 1 || due[0].Why != "still there" {
		t.Fatalf("due: %+v (%v)", due, err)
	}
	due[0].Outcome = inbound.Confirmed
	if err := db.EndNotice(t.Context(), c, due[0]); err != nil {
		t.Fatal(err)
	}
	if last, err := db.LastPush(t.Context(), "harbor", "app", "v1"); err != nil || last != "" {
		t.Errorf("last push %q after the image is gone (%v)", last, err)
	}
	recent, err := db.Recent(t.Context(), "harbor", 10)
	if err != nil || len(recent) != 2 || recent[0].Outcome != inbound.Confirmed {
		t.Errorf("recent: %+v (%v)", recent, err)
	}
	if err := db.RemoveNotices(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if recent, err := db.Recent(t.Context(), "harbor", 10); err != nil || len(recent) != 0 {
		t.Errorf("kept: %+v (%v)", recent, err)
	}
}

func published(t *testing.T, db *store.DB) {
	at := time.Now()
	one := eventing.Event{ID: "1", Type: "x", Topic: "shop", Time: at, Data: []byte("{}")}
	two := eventing.Event{ID: "2", Type: "x", Topic: "shop", Time: at, Data: []byte("7"), Extensions: []byte(`{"a":1}`)}
	again := one
	again.Time = at.Add(time.Second)
	for range 2 {
		if err := db.PublishEvents(t.Context(), again, two); err != nil {
			t.Fatal(err)
		}
	}
	other := two
	other.Topic = "another shop"
	err := db.PublishEvents(t.Context(), eventing.Event{ID: "3", Type: "x", Time: at, Data: []byte("1")}, other)
	if taken, ok := errors.AsType[*api.TakenError](err); !ok || taken.Index != 1 {
		t.Errorf("the id of another event: %v", err)
	}
	if open, err := db.OpenEvents(t.Context(), 10); err != nil || len(open) != 2 {
		t.Errorf("outbox %+v (%v), want two events", open, err)
	}
}
