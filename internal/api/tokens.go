package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"acrd/internal/pattern"
	"acrd/runner"
)

// A Scope is what a token allows.
type Scope string

// The scopes. ScopeOwner holds all others, ScopeSubmit reading, and ScopePush
// pulling.
const (
	ScopeOwner  Scope = "owner"
	ScopeSubmit Scope = "submit"
	ScopeRead   Scope = "read"
	ScopePush   Scope = "registry-push"
	ScopePull   Scope = "registry-pull"
	// ScopePublish is for events, but those of acrd's own types.
	ScopePublish Scope = "event-publish"
)

// Scopes lists all of them.
var Scopes = []Scope{ScopeOwner, ScopeSubmit, ScopeRead, ScopePush, ScopePull, ScopePublish}

// holds says that one scope is enough for another.
func (s Scope) holds(need Scope) bool {
	return s == need || s == ScopeOwner || s == ScopeSubmit && need == ScopeRead || s == ScopePush && need == ScopePull
}

// A Token is what is kept of one: enough to know it again.
type Token struct {
	Name    string    `json:"name"`
	Scopes  []Scope   `json:"scopes"`
	Created time.Time `json:"created"`
	// Expires is zero for a token without end.
	Expires time.Time `json:"expires,omitzero"`
	// Hash is HashToken of the token itself.
	Hash string `json:"-"`
}

// allows says whether the token is good for something now.
func (t *Token) allows(need Scope, now time.Time) bool {
	return !t.expired(now) && slices.ContainsFunc(t.Scopes, func(s Scope) bool { return s.holds(need) })
}

func (t *Token) expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Tokens keep what is known of tokens. Each method is one transaction.
type Tokens interface {
	// AddToken is ErrTokenTaken if there is one of that name.
	AddToken(ctx context.Context, t *Token) error
	// TokenByHash is runner.ErrNotFound if there is none.
	TokenByHash(ctx context.Context, hash string) (*Token, error)
	// ListTokens are sorted by name.
	ListTokens(ctx context.Context) ([]*Token, error)
	// DeleteToken is runner.ErrNotFound if there is none.
	DeleteToken(ctx context.Context, name string) error
}

// ErrTokenTaken says that a token of that name is there.
var ErrTokenTaken = errors.New("there is a token of that name")

// tokenPrefix lets people and scanners know what they have found.
const tokenPrefix = "acrd_"

// HashToken is how a token is kept. A token is so random that it needs no
// salt, and no function that takes long.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// A NewToken asks for one.
type NewToken struct {
	Name    string    `json:"name"`
	Scopes  []Scope   `json:"scopes"`
	Expires time.Time `json:"expires,omitzero"`
}

// A FreshToken is one with the token itself, which is never shown again.
type FreshToken struct {
	Token
	Value string `json:"token"`
}

var validTokenName = pattern.New(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

func (n *NewToken) check(now time.Time) error {
	if !validTokenName().MatchString(n.Name) {
		return fmt.Errorf("the name %q is not 1 to 64 letters, digits, dots, dashes and underscores", n.Name)
	}
	if len(n.Scopes) == 0 {
		return fmt.Errorf("a token needs a scope: there are %s", scopeList(Scopes))
	}
	for _, s := range n.Scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("%q is no scope: there are %s", s, scopeList(Scopes))
		}
	}
	if !n.Expires.IsZero() && !n.Expires.After(now) {
		return errors.New("the token would have expired already")
	}
	return nil
}

func scopeList(scopes []Scope) string {
	var all []string
	for _, s := range scopes {
		all = append(all, string(s))
	}
	return strings.Join(all, ", ")
}

func (a *Admin) createToken(w http.ResponseWriter, r *http.Request) error {
	var ask NewToken
	if err := decode(w, r, &ask); err != nil {
		return err
	}
	now := time.Now().UTC()
	if err := ask.check(now); err != nil {
		return &runner.InvalidError{Err: err}
	}
	value := tokenPrefix + rand.Text() + rand.Text()
	t := &Token{Name: ask.Name, Scopes: ask.Scopes, Created: now.Truncate(time.Second), Expires: ask.Expires.UTC(), Hash: HashToken(value)}
	if err := a.Tokens.AddToken(r.Context(), t); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return reply(w, http.StatusCreated, FreshToken{*t, value})
}

func (a *Admin) listTokens(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Tokens.ListTokens(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		Value []*Token `json:"value"`
	}{append([]*Token{}, all...)})
}

func (a *Admin) deleteToken(w http.ResponseWriter, r *http.Request) error {
	if err := a.Tokens.DeleteToken(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// CreateToken asks for a token, and returns the only copy of it.
func (c *Client) CreateToken(ctx context.Context, n *NewToken) (*FreshToken, error) {
	var t FreshToken
	return &t, c.call(ctx, http.MethodPost, adminRoot+"/tokens", n, &t)
}

// Tokens lists what tokens there are.
func (c *Client) Tokens(ctx context.Context) ([]*Token, error) {
	var page struct{ Value []*Token }
	err := c.call(ctx, http.MethodGet, adminRoot+"/tokens", nil, &page)
	return page.Value, err
}

// DeleteToken makes a token worth nothing, also to whoever uses it just now.
func (c *Client) DeleteToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, adminRoot+"/tokens/"+url.PathEscape(name), nil, nil)
}
