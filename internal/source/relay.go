package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A relay is the network of git for a repository behind ssh or git://. Like a
// gateway it keeps address policy, deadlines and limits in this process, but
// it can only pass bytes on: it listens on loopback for connections to one
// address.
type relay struct {
	meter   *meter
	dialer  *net.Dialer
	address string
	l       net.Listener

	mu    sync.Mutex // guards fault
	fault error
}

func (r *relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil && err != nil {
		r.fault = err
	}
}

func (r *relay) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

// serve passes connections on until the listener is closed and ctx ends.
func (r *relay) serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := r.l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { r.pass(ctx, conn) })
	}
}

// pass connects near with the server until one of them hangs up. Why it could
// not is recorded before near is closed, because that is the end of git.
func (r *relay) pass(ctx context.Context, near net.Conn) {
	defer near.Close()
	far, err := r.dialer.DialContext(ctx, "tcp", r.address)
	if err != nil {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			err = fmt.Errorf("%w: %s did not answer in time", ErrNoProgress, r.address)
		}
		r.fail(err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() {
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			r.fail(err)
		}
		near.Close()
		far.Close()
	})
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(far, near)
		closeWrite(far) // the server goes on after the client has said all
	})
	_, _ = io.Copy(near, r.meter.watch(ctx, far, cancel))
	closeWrite(near) // and the client has yet to read what the server said
	asking.Wait()
	cancel(nil)
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// reachRelayed is reach for ssh://, git:// and user@host:path.
func (f *Fetcher) reachRelayed(ctx context.Context, address string, m *meter) (*peer, error) {
	u, err := url.Parse(address)
	scp := err != nil || u.Host == ""
	if scp {
		host, _, _ := strings.Cut(address, ":")
		u = &url.URL{Scheme: "ssh", Host: host[strings.Index(host, "@")+1:]}
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ssh": "22", "git": "9418"}[u.Scheme]
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for git: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &relay{meter: m, dialer: f.dialer(m.limits), address: net.JoinHostPort(u.Hostname(), port), l: l}
	var served sync.WaitGroup
	served.Go(func() { r.serve(ctx) })
	to := &peer{url: address, protocol: u.Scheme, show: address, failed: r.failed}
	to.close = func() {
		cancel()
		l.Close()
		served.Wait()
	}
	if u.Scheme == "git" {
		to.url = (&url.URL{Scheme: "git", Host: l.Addr().String(), Path: u.Path, RawPath: u.RawPath}).String()
		to.env = []string{"GIT_OVERRIDE_VIRTUAL_HOST=" + u.Host}
		return to, nil
	}
	if !scp {
		bare := *u
		bare.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
		to.url = bare.String()
	}
	config, err := f.writeSSHConfig(u.Hostname(), port, l.Addr().(*net.TCPAddr).Port)
	if err != nil {
		to.close()
		return nil, err
	}
	stop := to.close
	to.close = func() {
		stop()
		os.Remove(config)
	}
	to.env = []string{"GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=ssh -F " + shellQuote(config)}
	return to, nil
}

// writeSSHConfig writes all that ssh is to know into a file of its own: git
// passes the command line of ssh to a shell, and a user's own configuration
// could run commands.
func (f *Fetcher) writeSSHConfig(host, port string, relayed int) (string, error) {
	alias := host
	if port != "22" {
		alias = "[" + host + "]:" + port // as in a known_hosts file
	}
	lines := []string{
		"Host *",
		"HostName 127.0.0.1",
		fmt.Sprintf("Port %d", relayed),
		"HostKeyAlias " + alias,
		"CheckHostIP no",
		"BatchMode yes",
		"StrictHostKeyChecking yes",
		"UpdateHostKeys no",
		"IdentitiesOnly yes",
		"IdentityAgent none",
		"PreferredAuthentications publickey",
		"ForwardAgent no",
		"ForwardX11 no",
		"ClearAllForwardings yes",
		"PermitLocalCommand no",
		"ControlMaster no",
		"ControlPath none",
	}
	identity := "none"
	if f.Identity != "" {
		identity = sshQuote(f.Identity)
	}
	lines = append(lines, "IdentityFile "+identity)
	if f.KnownHosts != "" {
		lines = append(lines, "UserKnownHostsFile "+sshQuote(f.KnownHosts), "GlobalKnownHostsFile "+os.DevNull)
	}
	file, err := os.CreateTemp(f.Dir, "ssh-*")
	if err != nil {
		return "", fmt.Errorf("configure ssh: %w", err)
	}
	_, err = io.WriteString(file, strings.Join(lines, "\n")+"\n")
	if e := file.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(file.Name())
		return "", fmt.Errorf("configure ssh: %w", err)
	}
	return filepath.Abs(file.Name())
}

// sshQuote quotes a path of ours for a configuration file of ssh, where % is
// special even inside quotes.
func sshQuote(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
