package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"acrd/eventing"
	"acrd/runner"
)

var _ eventing.Subscriptions = (*DB)(nil)

// A subscription's name is unique without regard to case, and shown as it was
// given.
func subscriptionKey(name string) string { return strings.ToLower(name) }

func subscriptionName(kind eventing.Kind, key string) string {
	return "subscription " + string(kind) + " " + key
}

func (db *DB) openSubscription(kind eventing.Kind, key string, sealed []byte) (*eventing.Subscription, error) {
	s := new(eventing.Subscription)
	return s, db.unseal(subscriptionName(kind, key), sealed, s)
}

// Subscriptions implements eventing.Subscriptions.
func (db *DB) Subscriptions(ctx context.Context, kind eventing.Kind) ([]eventing.Subscription, error) {
	var all []eventing.Subscription
	err := db.query(ctx, "list subscriptions", func(rows *sql.Rows) error {
		var kind, key string
		var sealed []byte
		if err := rows.Scan(&kind, &key, &sealed); err != nil {
			return err
		}
		s, err := db.openSubscription(eventing.Kind(kind), key, sealed)
		if err == nil {
			all = append(all, *s)
		}
		return err
	}, "SELECT kind, name, sealed FROM subscriptions WHERE $1 = '' OR kind = $1 ORDER BY kind, name", string(kind))
	return all, err
}

// Subscription implements eventing.Subscriptions.
func (db *DB) Subscription(ctx context.Context, kind eventing.Kind, name string) (*eventing.Subscription, error) {
	key := subscriptionKey(name)
	var sealed []byte
	err := db.one(ctx, subscriptionWords(kind, name), "SELECT sealed FROM subscriptions WHERE kind = $1 AND name = $2", []any{string(kind), key}, &sealed)
	if err != nil {
		return nil, noSubscription(err)
	}
	return db.openSubscription(kind, key, sealed)
}

// ChangeSubscription implements eventing.Subscriptions.
func (db *DB) ChangeSubscription(ctx context.Context, kind eventing.Kind, name string, change func(*eventing.Subscription) (*eventing.Subscription, error)) error {
	key := subscriptionKey(name)
	err := db.change(ctx, subscriptionWords(kind, name), func(ctx context.Context, t *tx) error {
		// Two that make the same subscription must wait for each other as well.
		if err := lockClaim(ctx, t); err != nil {
			return err
		}
		old, err := db.subscriptionIn(ctx, t, kind, key)
		if err != nil {
			return err
		}
		changed, err := change(old)
		if err != nil || changed == nil && old == nil {
			return err
		}
		if old == nil {
			if err := beginOutbox(ctx, t); err != nil {
				return err
			}
		}
		if err := db.saveSubscription(ctx, t, kind, key, changed); err != nil {
			return err
		}
		return newSubscriptions(ctx, t)
	})
	if err == nil {
		db.callEvents()
	}
	return noSubscription(err)
}

// beginOutbox settles what there was before anybody wanted events.
func beginOutbox(ctx context.Context, t *tx) error {
	var n int
	err := t.row(ctx, "SELECT count(*) FROM (SELECT 1 FROM subscriptions LIMIT 1) s").Scan(&n)
	if err != nil || n > 0 {
		return err
	}
	return settleAll(ctx, t)
}

// subscriptionIn is nil if there is none.
func (db *DB) subscriptionIn(ctx context.Context, t *tx, kind eventing.Kind, key string) (*eventing.Subscription, error) {
	var sealed []byte
	err := t.row(ctx, "SELECT sealed FROM subscriptions WHERE kind = $1 AND name = $2", string(kind), key).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return db.openSubscription(kind, key, sealed)
}

// saveSubscription removes it if s is nil.
func (db *DB) saveSubscription(ctx context.Context, t *tx, kind eventing.Kind, key string, s *eventing.Subscription) error {
	if s == nil {
		_, err := t.exec(ctx, "DELETE FROM subscriptions WHERE kind = $1 AND name = $2", string(kind), key)
		return err
	}
	if s.Kind != kind || subscriptionKey(s.Name) != key {
		return fmt.Errorf("a subscription cannot be renamed: it was %s %s and is %s %s", kind, key, s.Kind, s.Name)
	}
	sealed, err := db.seal(subscriptionName(kind, key), s)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "INSERT INTO subscriptions (kind, name, sealed) VALUES ($1, $2, $3) ON CONFLICT (kind, name) DO UPDATE SET sealed = excluded.sealed",
		string(kind), key, sealed)
	return err
}

// newSubscriptions goes with each change of one, for SubscriptionsVersion.
func newSubscriptions(ctx context.Context, t *tx) error {
	_, err := t.exec(ctx, "INSERT INTO meta (name, value) VALUES ('subscriptions', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", rand.Text())
	return err
}

// SubscriptionsVersion is another text after each change of a subscription.
// Asking costs next to nothing.
func (db *DB) SubscriptionsVersion(ctx context.Context) (string, error) {
	var version string
	err := db.one(ctx, "version of subscriptions", "SELECT value FROM meta WHERE name = 'subscriptions'", nil, &version)
	if errors.Is(err, runner.ErrNotFound) {
		return "", nil // none has been made yet
	}
	return version, err
}

// noSubscription makes the error that package eventing knows.
func noSubscription(err error) error {
	if errors.Is(err, runner.ErrNotFound) {
		return noSubscriptionError{err}
	}
	return err
}

// noSubscriptionError is eventing.ErrNotFound, and says which.
type noSubscriptionError struct{ error }

func (e noSubscriptionError) Unwrap() []error { return []error{e.error, eventing.ErrNotFound} }

// subscriptionWords are what a subscription is called in errors.
func subscriptionWords(kind eventing.Kind, name string) string {
	if kind == eventing.Webhook {
		return "webhook " + name
	}
	return "event subscription " + name
}

// EventsChanged returns a channel that is closed when an event is new or a
// subscription has changed, here or on another daemon. It may miss changes.
func (db *DB) EventsChanged() <-chan struct{} { return db.events.wait() }

// callEvents wakes those who wait for that, here and elsewhere.
func (db *DB) callEvents() {
	db.events.ring()
	db.call(callEvents)
}
