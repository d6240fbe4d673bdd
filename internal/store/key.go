package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrKey says that what is in the store was sealed with another key.
var ErrKey = errors.New("the store was sealed with another key: put the key file of the daemon that made it in the place of this one's")

// keyCheck is a value in meta that opens with the right key only.
const keyCheck = "key check"

// checkKey refuses a key that would open nothing, before anything is sealed
// with it. Daemons that share a store must share the key.
func (db *DB) checkKey(ctx context.Context) error {
	if db.sealer == nil {
		return nil
	}
	sealed, err := db.sealer.SealFor(keyCheck, []byte(keyCheck))
	if err != nil {
		return fmt.Errorf("check key: %w", err)
	}
	return db.change(ctx, "check key", func(ctx context.Context, t *tx) error {
		if err := lockClaim(ctx, t); err != nil {
			return err
		}
		var kept string
		err := t.row(ctx, "SELECT value FROM meta WHERE name = $1", keyCheck).Scan(&kept)
		if errors.Is(err, sql.ErrNoRows) {
			_, err := t.exec(ctx, "INSERT INTO meta (name, value) VALUES ($1, $2)", keyCheck, base64.StdEncoding.EncodeToString(sealed))
			return err
		}
		if err != nil {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(kept)
		if err == nil {
			_, err = db.sealer.OpenFor(keyCheck, b)
		}
		if err != nil {
			return fmt.Errorf("%w (%w)", ErrKey, err)
		}
		return nil
	})
}
