package sinktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// User and Password log in to the servers of this package.
const (
	User     = "ada"
	Password = "pass-4711"
)

// required skips a test that needs a server, by its name.
func required(t *testing.T, name, path string) string {
	t.Helper()
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		t.Skipf("%s: ACRD_INTEGRATION is not 1", name)
	}
	found, err := exec.LookPath(path)
	if err != nil {
		t.Skipf("%s is not installed: make deps CI=true", name)
	}
	return found
}

// ports are free ones of the loopback.
func ports(t *testing.T, n int) (free []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		free = append(free, l.Addr().(*net.TCPAddr).Port)
	}
	return free
}

// A Server is a process of a test.
type Server struct {
	name    string
	command func() *exec.Cmd
	ready   []string // host:port

	process *exec.Cmd
	output  *output
}

// output is what a server has printed. It is safe for concurrent use.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a server until the test ends.
func start(t *testing.T, name string, ready []string, command func() *exec.Cmd) *Server {
	t.Helper()
	s := &Server{name: name, command: command, ready: ready}
	t.Cleanup(func() { s.Stop(t) })
	s.Start(t)
	return s
}

// Start starts a server that is stopped, and waits until it answers.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	s.process, s.output = s.command(), &output{}
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.process.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, address := range s.ready {
		for !answers(ctx, address) {
			if ctx.Err() != nil {
				t.Fatalf("%s does not answer at %s: %s", s.name, address, s.output)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func answers(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Stop kills a server, and what it has started.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	if s.process == nil || s.process.Process == nil {
		return
	}
	_ = syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL)
	_ = s.process.Wait()
	s.process = nil
	if t.Failed() {
		text := s.output.String()
		t.Logf("%s has printed: %s", s.name, text[max(0, len(text)-1500):])
	}
}

// NATS starts a nats-server with JetStream, and returns its host:port. The user
// "mute" may not publish. More is added to its configuration.
func NATS(t *testing.T, more ...string) (*Server, string) {
	t.Helper()
	path := required(t, "nats-server", "nats-server")
	dir, port := t.TempDir(), ports(t, 1)[0]
	address := fmt.Sprintf("127.0.0.1:%d", port)
	config := filepath.Join(dir, "nats.conf")
	write(t, config, fmt.Sprintf(`
listen: %q
jetstream { store_dir: %q }
authorization { users: [
	{user: %q, password: %q}
	{user: "mute", password: %[4]q, permissions: {publish: {deny: ">"}}}
] }
`, address, filepath.Join(dir, "js"), User, Password)+strings.Join(more, "\n"))
	return start(t, "nats-server", []string{address}, func() *exec.Cmd { return exec.Command(path, "-c", config) }), address
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// RabbitMQ starts a rabbitmq-server that speaks AMQP 1.0, and returns its
// host:port.
func RabbitMQ(t *testing.T) (*Server, string) {
	t.Helper()
	path := required(t, "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
	mapper := required(t, "epmd", "epmd")
	dir, free := t.TempDir(), ports(t, 3)
	address, mapping := fmt.Sprintf("127.0.0.1:%d", free[0]), fmt.Sprint(free[1])
	write(t, filepath.Join(dir, "rabbitmq.conf"), fmt.Sprintf(`
listeners.tcp.1 = %s
default_user = %s
default_pass = %s
disk_free_limit.absolute = 1MB
`, address, User, Password))
	write(t, filepath.Join(dir, "plugins"), "[rabbitmq_amqp1_0].\n")
	environment := append(os.Environ(),
		"HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+mapping,
		"RABBITMQ_NODENAME=sinks@localhost", fmt.Sprintf("RABBITMQ_DIST_PORT=%d", free[2]),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
	)
	command := func(path string, arguments ...string) func() *exec.Cmd {
		return func() *exec.Cmd {
			c := exec.Command(path, arguments...)
			c.Dir, c.Env = dir, environment
			return c
		}
	}
	// Erlang would leave one behind.
	start(t, "epmd", []string{"127.0.0.1:" + mapping}, command(mapper, "-port", mapping, "-address", "127.0.0.1"))
	return start(t, "rabbitmq-server", []string{address}, command(path)), address
}

// An Azure is an Azurite: Azure Storage on this machine.
type Azure struct {
	*Server
	// Account and Key log in to it.
	Account, Key string
	// Queue and Blob are the host:ports of its two services.
	Queue, Blob string
}

// Azurite starts an Azurite.
func Azurite(t *testing.T) *Azure {
	t.Helper()
	path := required(t, "azurite", filepath.Join(root(t), "build/tools/azurite/node_modules/.bin/azurite"))
	required(t, "node", "node")
	key := make([]byte, 64)
	_, _ = rand.Read(key)
	dir, free := t.TempDir(), ports(t, 3)
	a := &Azure{
		Account: "acrdtest", Key: base64.StdEncoding.EncodeToString(key),
		Blob: fmt.Sprintf("127.0.0.1:%d", free[0]), Queue: fmt.Sprintf("127.0.0.1:%d", free[1]),
	}
	a.Server = start(t, "azurite", []string{a.Blob, a.Queue}, func() *exec.Cmd {
		c := exec.Command(path, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", dir,
			"--blobHost", "127.0.0.1", "--blobPort", fmt.Sprint(free[0]),
			"--queueHost", "127.0.0.1", "--queuePort", fmt.Sprint(free[1]),
			"--tableHost", "127.0.0.1", "--tablePort", fmt.Sprint(free[2]))
		c.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+a.Account+":"+a.Key)
		return c
	})
	return a
}

// root is the folder of the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
