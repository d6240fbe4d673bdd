package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"acrd/internal/acr"
)

// policies keeps the registry's policies, in a file.
type policies struct {
	dir *os.Root
	mu  sync.Mutex // guards now, and the file
	now acr.Policies
}

const policiesFile = "policies.json"

func openPolicies(dir string) (*policies, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open policies: %w", err)
	}
	p := &policies{dir: root, now: acr.NoPolicies()}
	b, err := root.ReadFile(policiesFile)
	if err == nil {
		err = json.Unmarshal(b, &p.now)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open policies: %w", errors.Join(err, root.Close()))
	}
	return p, nil
}

func (p *policies) close() error { return p.dir.Close() }

// Policies are the registry's.
func (r *Registry) Policies() acr.Policies {
	r.policies.mu.Lock()
	defer r.policies.mu.Unlock()
	return r.policies.now
}

// ChangePolicies keeps what change makes of the policies, or nothing, if it
// fails.
func (r *Registry) ChangePolicies(change func(*acr.Policies) error) (acr.Policies, error) {
	p := r.policies
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now
	if err := change(&now); err != nil {
		return p.now, err
	}
	if err := putJSON(p.dir, policiesFile, now); err != nil {
		return p.now, fmt.Errorf("change policies: %w", err)
	}
	p.now = now
	return now, nil
}
