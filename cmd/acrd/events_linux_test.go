package main

import (
	"context"
	"errors"
	"testing"

	"acrd/eventing"
)

// passwordSink lets in who has the password.
type passwordSink struct{ given, want string }

func (s *passwordSink) Deliver(context.Context, eventing.Delivery) (*eventing.Exchange, error) {
	if s.given != s.want {
		return nil, &eventing.DeliveryError{Outcome: eventing.Unauthorized, Err: errors.New("refused")}
	}
	return nil, nil
}

func (s *passwordSink) Close() error { return nil }

// TestRotatedSecret delivers with a secret that gets a new value.
func TestRotatedSecret(t *testing.T) {
	value, opened := "old", 0
	sink := &lazySink{open: func(context.Context) (eventing.Sink, error) {
		opened++
		return &passwordSink{given: value, want: "new"}, nil
	}}
	deliver := func() error {
		_, err := sink.Deliver(t.Context(), eventing.Delivery{})
		return err
	}
	for range 2 {
		if deliver() == nil {
			t.Fatal("the old value was taken")
		}
	}
	value = "new"
	for range 3 {
		if err := deliver(); err != nil {
			t.Fatal(err)
		}
	}
	if opened != 3 {
		t.Errorf("opened %d times, want 3", opened)
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
}

// TestOrigin is what receivers of CloudEvents know a daemon as.
func TestOrigin(t *testing.T) {
	for want, o := range map[string]daemonOptions{
		"a.example":           {hosts: []string{"a.example", "b.example"}},
		"eventgrid.azure.net": {hosts: []string{"a.example"}, identity: identity{origin: "eventgrid.azure.net"}},
	} {
		if got := (&daemon{daemonOptions: o}).origin(); got != want {
			t.Errorf("origin %q, want %q", got, want)
		}
	}
}
