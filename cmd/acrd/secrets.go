package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"acrd/internal/api"
	"acrd/steps"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxSecret is what BuildKit takes.
const maxSecret = 500 << 10

// readSecrets reads the values of --secret here, where the files and variables
// are. What travels on the build's command line is their ids.
func (f *buildFlags) readSecrets(s *session, req *api.RunRequest) error {
	for _, spec := range f.secrets {
		b, err := steps.ParseBuildArgs([]string{"--secret", spec, "."})
		if err != nil {
			return &usageError{err.Error()}
		}
		secret := b.Options.Secrets[0]
		value, err := readSecret(s, secret)
		if err != nil {
			return fmt.Errorf("secret %s: %w", secret.ID, err)
		}
		if req.Secrets == nil {
			req.Secrets = map[string][]byte{}
		}
		req.Secrets[secret.ID] = value
		req.BuildFlags = append(req.BuildFlags, "--secret", "id="+secret.ID)
	}
	return nil
}

// readSecret reads a variable or a file. If neither is named the id names one,
// as with docker.
func readSecret(s *session, secret steps.BuildSecret) ([]byte, error) {
	switch {
	case secret.Env != "":
		return []byte(s.getenv(secret.Env)), nil
	case secret.File != "":
		return readSecretFile(secret.File)
	}
	if v := s.getenv(secret.ID); v != "" {
		return []byte(v), nil
	}
	value, err := readSecretFile(secret.ID)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &usageError{"there is neither a variable nor a file of that name: give src=FILE or env=VARIABLE"}
	}
	return value, err
}

func readSecretFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("%s is larger than %d KiB", name, maxSecret>>10)
	}
	return b, err
}

// findAgents makes ready what --ssh names: agents by their sockets, keys by an
// agent in this process. Nothing of a key leaves it.
func (f *buildFlags) findAgents(s *session, req *api.RunRequest) (map[string]steps.Dial, error) {
	dials := map[string]steps.Dial{}
	for _, spec := range f.ssh {
		b, err := steps.ParseBuildArgs([]string{"--ssh", spec, "."})
		if err != nil {
			return nil, &usageError{err.Error()}
		}
		want := b.Options.SSH[0]
		dial, err := dialAgent(s, want.Paths)
		if err != nil {
			return nil, fmt.Errorf("--ssh %s: %w", spec, err)
		}
		place := rand.Text()
		if req.SSHAgents == nil {
			req.SSHAgents = map[string]string{}
		}
		req.SSHAgents[want.ID] = place
		req.BuildFlags = append(req.BuildFlags, "--ssh", want.ID)
		dials[place] = dial
	}
	return dials, nil
}

func dialAgent(s *session, paths []string) (steps.Dial, error) {
	if len(paths) == 0 {
		paths = []string{s.getenv("SSH_AUTH_SOCK")}
		if paths[0] == "" {
			return nil, fmt.Errorf("no agent: $SSH_AUTH_SOCK is empty; start one, or give the path of a key")
		}
	}
	info, err := os.Stat(paths[0])
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSocket != 0 {
		return func(ctx context.Context) (io.ReadWriteCloser, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", paths[0])
		}, nil
	}
	ring := agent.NewKeyring()
	for _, p := range paths {
		pem, err := readSecretFile(p)
		if err != nil {
			return nil, err
		}
		key, err := ssh.ParseRawPrivateKey(pem)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			_ = agent.ServeAgent(ring, ours)
		}()
		return theirs, nil
	}, nil
}

// offer parks a connection for each agent, and another whenever one is used.
func (c *connection) offer(ctx context.Context, agents map[string]steps.Dial) {
	for place, dial := range agents {
		go func() {
			for ctx.Err() == nil {
				conn, err := c.Park(ctx, place)
				if err != nil {
					return
				}
				first := make([]byte, 4096)
				n, err := conn.Read(first)
				if err != nil {
					conn.Close()
					return
				}
				go join(ctx, conn, slices.Clone(first[:n]), dial)
			}
		}()
	}
}

// join connects a parked connection, whose first bytes are here, to an agent.
func join(ctx context.Context, conn io.ReadWriteCloser, first []byte, dial steps.Dial) {
	defer conn.Close()
	a, err := dial(ctx)
	if err != nil {
		return
	}
	defer a.Close()
	go func() {
		defer a.Close()
		if _, err := a.Write(first); err == nil {
			_, _ = io.Copy(a, conn)
		}
	}()
	_, _ = io.Copy(conn, a)
}

// normalHost is a registry as docker names it in its config: without scheme and
// path, and Docker Hub as docker.io.
func normalHost(host string) string {
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if host == "index.docker.io" {
		return "docker.io"
	}
	return host
}
