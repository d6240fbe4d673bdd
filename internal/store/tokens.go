package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"

	"acrd/internal/api"
)

var _ api.Tokens = (*DB)(nil)

// AddToken implements api.Tokens.
func (db *DB) AddToken(ctx context.Context, t *api.Token) error {
	hash, err := hex.DecodeString(t.Hash)
	if err != nil {
		return fmt.Errorf("token %s: %w", t.Name, err)
	}
	return db.change(ctx, "token "+t.Name, func(ctx context.Context, x *tx) error {
		n, err := x.exec(ctx, "INSERT INTO tokens (hash, name, scopes, created, expires) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
			hash, t.Name, scopeText(t.Scopes), micros(t.Created), micros(t.Expires))
		if err == nil && n == 0 {
			return api.ErrTokenTaken
		}
		return err
	})
}

// TokenByHash implements api.Tokens.
func (db *DB) TokenByHash(ctx context.Context, hash string) (*api.Token, error) {
	key, err := hex.DecodeString(hash)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	var row tokenRow
	if err := db.one(ctx, "token", "SELECT "+tokenColumns+" FROM tokens WHERE hash = $1", []any{key}, row.fields()...); err != nil {
		return nil, err
	}
	return row.token(), nil
}

// ListTokens implements api.Tokens.
func (db *DB) ListTokens(ctx context.Context) ([]*api.Token, error) {
	var all []*api.Token
	err := db.query(ctx, "list tokens", func(rows *sql.Rows) error {
		var row tokenRow
		if err := rows.Scan(row.fields()...); err != nil {
			return err
		}
		all = append(all, row.token())
		return nil
	}, "SELECT "+tokenColumns+" FROM tokens ORDER BY name")
	return all, err
}

// DeleteToken implements api.Tokens.
func (db *DB) DeleteToken(ctx context.Context, name string) error {
	return db.change(ctx, "token "+name, func(ctx context.Context, t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM tokens WHERE name = $1", name)
		if err == nil && n == 0 {
			return sql.ErrNoRows
		}
		return err
	})
}

const tokenColumns = "hash, name, scopes, created, expires"

type tokenRow struct {
	hash             []byte
	name, scopes     string
	created, expires int64
}

func (r *tokenRow) fields() []any {
	return []any{&r.hash, &r.name, &r.scopes, &r.created, &r.expires}
}

func (r *tokenRow) token() *api.Token {
	t := &api.Token{Name: r.name, Hash: hex.EncodeToString(r.hash), Created: moment(r.created), Expires: moment(r.expires)}
	for s := range strings.SplitSeq(r.scopes, " ") {
		t.Scopes = append(t.Scopes, api.Scope(s))
	}
	return t
}

func scopeText(scopes []api.Scope) string {
	var all []string
	for _, s := range scopes {
		all = append(all, string(s))
	}
	return strings.Join(all, " ")
}
