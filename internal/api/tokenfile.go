package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"acrd/runner"
)

// TokenFile keeps tokens in a file, for the one daemon that has it. It is safe
// for concurrent use.
type TokenFile struct {
	Path string

	mu sync.Mutex // one change at a time
}

// kept is a token with its hash, which a Token does not show.
type kept struct {
	*Token
	Hash string `json:"hash"`
}

func (f *TokenFile) read() ([]*Token, error) {
	b, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("tokens: %w", err)
	}
	var all []kept
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("tokens in %s: %w", f.Path, err)
	}
	var tokens []*Token
	for _, k := range all {
		k.Token.Hash = k.Hash
		tokens = append(tokens, k.Token)
	}
	return tokens, nil
}

// change replaces the file: after a crash it is the old one or the new.
func (f *TokenFile) change(edit func([]*Token) ([]*Token, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	tokens, err := f.read()
	if err != nil {
		return err
	}
	if tokens, err = edit(tokens); err != nil {
		return err
	}
	all := []kept{}
	for _, t := range tokens {
		all = append(all, kept{t, t.Hash})
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.Path), ".tokens-*")
	if err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	return os.Rename(tmp.Name(), f.Path)
}

// AddToken adds one.
func (f *TokenFile) AddToken(_ context.Context, t *Token) error {
	return f.change(func(all []*Token) ([]*Token, error) {
		if slices.ContainsFunc(all, func(other *Token) bool { return other.Name == t.Name }) {
			return nil, fmt.Errorf("token %s: %w", t.Name, ErrTokenTaken)
		}
		all = append(all, t)
		slices.SortFunc(all, func(a, b *Token) int { return cmp.Compare(a.Name, b.Name) })
		return all, nil
	})
}

// TokenByHash finds one.
func (f *TokenFile) TokenByHash(_ context.Context, hash string) (*Token, error) {
	all, err := f.read()
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.Hash == hash {
			return t, nil
		}
	}
	return nil, runner.ErrNotFound
}

// ListTokens lists them.
func (f *TokenFile) ListTokens(context.Context) ([]*Token, error) { return f.read() }

// DeleteToken removes one.
func (f *TokenFile) DeleteToken(_ context.Context, name string) error {
	return f.change(func(all []*Token) ([]*Token, error) {
		left := slices.DeleteFunc(slices.Clone(all), func(t *Token) bool { return t.Name == name })
		if len(left) == len(all) {
			return nil, runner.ErrNotFound
		}
		return left, nil
	})
}
