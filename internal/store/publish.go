package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"

	"acrd/eventing"
	"acrd/internal/api"
)

var _ api.PublishedEvents = (*DB)(nil)

// PublishEvents implements api.PublishedEvents. Ids of strangers may be those
// of others, so that what is there is compared.
func (db *DB) PublishEvents(ctx context.Context, events ...eventing.Event) error {
	return db.change(ctx, "publish events", func(ctx context.Context, t *tx) error {
		for i, e := range events {
			old, err := scanEvent(t.QueryRowContext(ctx, t.dialect.sql("SELECT "+eventColumns+" FROM events WHERE id = $1"), e.ID))
			switch {
			case errors.Is(err, sql.ErrNoRows):
				err = insertEvents(ctx, t, []eventing.Event{e})
			case err == nil && !sameEvent(old, e):
				return &api.TakenError{Index: i}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// sameEvent compares what a publisher says. A time that it left out is another
// each time.
func sameEvent(a, b eventing.Event) bool {
	return a.Type == b.Type && a.Topic == b.Topic && a.Subject == b.Subject && bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}
