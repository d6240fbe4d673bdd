//go:build linux

package engine

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
)

// A hostsFile is the /etc/hosts of every container of one network. It only
// grows, by whole lines: a container that has it mounted sees a step that
// starts later, and never half a file.
type hostsFile struct {
	path string
	mu   sync.Mutex // guards known
	seen map[string]bool
}

const localhostLines = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"

func newHostsFile(path string) (*hostsFile, error) {
	if err := os.WriteFile(path, []byte(localhostLines), 0o644); err != nil {
		return nil, fmt.Errorf("hosts file: %w", err)
	}
	return &hostsFile{path: path, seen: map[string]bool{}}, nil
}

// add makes names resolve to addr. Saying the same twice is no harm.
func (h *hostsFile) add(addr netip.Addr, names ...string) error {
	line := addr.String() + "\t" + strings.Join(names, " ") + "\n"
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen[line] {
		return nil
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	h.seen[line] = true
	return nil
}
