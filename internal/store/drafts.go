package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"acrd/eventing"
	"acrd/runner"
)

// A Journal keeps the drafts of one owner, as internal/registry asks for it.
// Daemons that share a database have a registry and a journal each.
type Journal struct {
	DB *DB
	// Owner is the same for whoever opens that registry next.
	Owner string
}

// Begin keeps a draft, and settles others in the same transaction. It is
// syscall.ENOSPC if there is no space.
func (j *Journal) Begin(ctx context.Context, d eventing.Draft, settled ...eventing.Settled) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	err = j.DB.change(ctx, "keep draft", func(ctx context.Context, t *tx) error {
		if err := settle(ctx, t, settled); err != nil {
			return err
		}
		_, err := t.exec(ctx, "INSERT INTO drafts (id, owner, at, draft) VALUES ($1, $2, $3, $4)", d.Event.ID, j.Owner, micros(d.At), string(text))
		return err
	})
	if errors.Is(err, runner.ErrNoSpace) {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}

// Settle tells the events of drafts that have happened, and forgets all of
// them. One that is settled already stays as it was.
func (j *Journal) Settle(ctx context.Context, settled ...eventing.Settled) error {
	return j.DB.changeAnyway(ctx, "settle drafts", func(ctx context.Context, t *tx) error { return settle(ctx, t, settled) })
}

func settle(ctx context.Context, t *tx, settled []eventing.Settled) error {
	for _, s := range settled {
		n, err := t.exec(ctx, "DELETE FROM drafts WHERE id = $1", s.Event.ID)
		if err != nil {
			return err
		}
		if n == 0 || !s.Happened {
			continue
		}
		if err := insertEvents(ctx, t, []eventing.Event{s.Event}); err != nil {
			return err
		}
	}
	return nil
}

// Drafts lists what was kept before a time and is not settled, oldest first.
func (j *Journal) Drafts(ctx context.Context, before time.Time) ([]eventing.Draft, error) {
	var all []eventing.Draft
	err := j.DB.query(ctx, "list drafts", func(rows *sql.Rows) error {
		var d eventing.Draft
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return err
		}
		err := json.Unmarshal(text, &d)
		all = append(all, d)
		return err
	}, "SELECT draft FROM drafts WHERE owner = $1 AND at < $2 ORDER BY at", j.Owner, micros(before))
	return all, err
}
