package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// A Postgres is a PostgreSQL server for one test, on a folder of its own and a
// socket in it: nothing else on the machine sees it.
type Postgres struct {
	dir  string
	bin  string
	user *syscall.Credential // nil: the test's own
	cmd  *exec.Cmd
	next atomic.Int64
}

// StartPostgres starts a server for the length of a test. The test is skipped
// where PostgreSQL is not installed.
func StartPostgres(t testing.TB) *Postgres {
	t.Helper()
	p := &Postgres{bin: postgresPrograms()}
	if p.bin == "" {
		t.Skip("PostgreSQL is not installed: make deps installs Debian's package postgresql")
	}
	var err error
	if p.dir, err = os.MkdirTemp("", "acrd-postgres-*"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(p.dir) })
	if err := p.init(); err != nil {
		t.Fatalf("make a PostgreSQL database: %v", err)
	}
	if err := p.Start(); err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(p.Stop)
	return p
}

// postgresPrograms is the folder of the newest server's programs.
func postgresPrograms() string {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	best, newest := "", 0
	for _, f := range found {
		dir := filepath.Dir(f)
		if n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))); n > newest {
			best, newest = dir, n
		}
	}
	return best
}

// init makes the database files, as a user without rights: PostgreSQL refuses
// root.
func (p *Postgres) init() error {
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.user = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return err
		}
	}
	out, err := p.command("initdb", "-D", p.data(), "-U", "acrd", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user, Setpgid: true}
	return cmd
}

// Start starts the server, also after Stop or Kill.
func (p *Postgres) Start() error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = p.command("postgres", "-D", p.data(), "-k", p.dir, "-c", "listen_addresses=", "-c", "max_connections=100", "-c", "shared_buffers=64MB")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for db.PingContext(ctx) != nil {
		if ctx.Err() != nil {
			text, _ := os.ReadFile(log.Name())
			return errors.New(strings.TrimSpace(string(text)))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// Stop ends the server; connections to it are cut.
func (p *Postgres) Stop() { p.end(syscall.SIGINT) }

// Kill ends it as a crash does.
func (p *Postgres) Kill() { p.end(syscall.SIGQUIT) }

func (p *Postgres) end(how syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(how)
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Database makes an empty database, and returns its URL.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", p.next.Add(1))
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return p.url(name)
}

func (p *Postgres) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("acrd"), Path: "/" + database, RawQuery: url.Values{"host": {p.dir}}.Encode()}
	return u.String()
}
