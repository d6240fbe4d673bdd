package api

import (
	"context"
	"sync"

	"acrd/internal/secrets"
	"acrd/runner"
)

// memorySecrets keep sealed values of one test.
type memorySecrets map[string][]byte

func (m memorySecrets) SealedSecret(_ context.Context, name string) ([]byte, error) {
	return m[name], nil
}

func (m memorySecrets) PutSealedSecret(_ context.Context, name string, sealed []byte) error {
	m[name] = sealed
	return nil
}

func (m memorySecrets) DeleteSealedSecret(_ context.Context, name string) error {
	if _, ok := m[name]; !ok {
		return secrets.ErrNotFound
	}
	delete(m, name)
	return nil
}

func (m memorySecrets) SealedSecrets(context.Context) ([]secrets.Info, error) {
	var all []secrets.Info
	for name := range m {
		all = append(all, secrets.Info{Name: name})
	}
	return all, nil
}

// memoryTokens are Tokens of one test.
type memoryTokens struct {
	mu   sync.Mutex // guards what follows
	all  []*Token
	err  error
	asks int
}

func (m *memoryTokens) AddToken(_ context.Context, t *Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.all {
		if other.Name == t.Name {
			return ErrTokenTaken
		}
	}
	m.all = append(m.all, t)
	return m.err
}

func (m *memoryTokens) TokenByHash(_ context.Context, hash string) (*Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asks++
	for _, t := range m.all {
		if t.Hash == hash && m.err == nil {
			return t, nil
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	return nil, runner.ErrNotFound
}

func (m *memoryTokens) ListTokens(context.Context) ([]*Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all, m.err
}

func (m *memoryTokens) DeleteToken(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, t := range m.all {
		if t.Name == name {
			m.all = append(m.all[:i:i], m.all[i+1:]...)
			return nil
		}
	}
	return runner.ErrNotFound
}
