package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

// A server is where a command finds its daemon.
type server struct {
	address, token, state string
	listen                string
}

func serverFlags(fs *pflag.FlagSet, s *session) *server {
	v := &server{}
	fs.StringVar(&v.address, "server", s.getenv("ACRD_SERVER"), "daemon to use: unix:PATH or http(s)://HOST:PORT ($ACRD_SERVER)")
	fs.StringVar(&v.state, "state", s.getenv("ACRD_STATE"), "state folder of the daemon on this machine ($ACRD_STATE)")
	v.token, v.listen = s.getenv("ACRD_TOKEN"), s.getenv("ACRD_LISTEN")
	return v
}

// A connection is a client, and the daemon that was started for it, if any.
type connection struct {
	*api.Client
	local bool // over a socket of this machine
	ends  bool // the daemon ends with the command
	close func(context.Context) error
}

// remind says that what was made to start or to tell something by itself does
// so while a daemon runs, if none does.
func (c *connection) remind(s *session) {
	if c.ends {
		fmt.Fprintln(s.stderr, "acrd: this is kept, and does nothing by itself before a daemon runs: acrd serve")
	}
}

// connect finds the daemon. Without an address it is the one on the state
// folder, and if none runs there, one is started in this process and ends with
// the command.
func (v *server) connect(ctx context.Context, s *session) (*connection, error) {
	nothing := func(context.Context) error { return nil }
	c, err := v.client()
	if err != nil {
		return nil, err
	}
	if v.address != "" {
		return &connection{Client: c, close: nothing}, nil
	}
	state, err := stateDir(v.state)
	if err != nil {
		return nil, err
	}
	_, err = c.Info(ctx)
	switch {
	case err == nil:
		return &connection{Client: c, local: true, close: nothing}, nil
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("the daemon on %s belongs to another user: run this as that user (sudo), or use its address with --server and $ACRD_TOKEN", state)
	case !errors.Is(err, api.ErrUnreachable):
		return nil, err
	}
	stop, err := startLocal(ctx, s, state, v.listen)
	if err != nil {
		return nil, err
	}
	return &connection{Client: c, local: true, ends: true, close: stop}, nil
}

// with connects, does something with the daemon, and lets go of it.
func (v *server) with(ctx context.Context, s *session, do func(c *connection) error) error {
	conn, err := v.connect(ctx, s)
	if err != nil {
		return err
	}
	return conn.during(ctx, func() error { return do(conn) })
}

// askInfo asks the daemon, if there is one, and never starts any.
func (v *server) askInfo(ctx context.Context) (api.Info, error) {
	c, err := v.client()
	if err != nil {
		return api.Info{}, err
	}
	return c.Info(ctx)
}

// client speaks to the daemon, if there is one.
func (v *server) client() (*api.Client, error) {
	address := v.address
	if address == "" {
		state, err := stateDir(v.state)
		if err != nil {
			return nil, err
		}
		address = "unix:" + filepath.Join(state, socketName)
	}
	c, err := api.NewClient(address, v.token)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	return c, nil
}

// during does something with the connection and closes it, whatever comes.
func (c *connection) during(ctx context.Context, do func() error) error {
	err := do()
	return errors.Join(err, c.close(context.WithoutCancel(ctx)))
}

// socketName is the daemon's socket in its state folder.
const socketName = "acrd.sock"

// stateDir is the folder that was given, or else the default one.
func stateDir(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	if os.Getuid() == 0 {
		return "/var/lib/acrd", nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		return filepath.Join(data, "acrd"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state folder: %w: give one with --state", err)
	}
	return filepath.Join(home, ".local", "share", "acrd"), nil
}
