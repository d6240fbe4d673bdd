package store

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"acrd/runner"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

var postgresDialect = dialect{
	name: "postgres",
	replace: strings.NewReplacer(
		"{now}", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
		"{lock}", "FOR UPDATE",
		"{skip}", "FOR UPDATE SKIP LOCKED",
		"{later}", "greatest",
		"{list(}", "json_array_elements_text(",
		"{rows(}", "json_array_elements(",
		"{)}", "::json)",
	),
	notifies: true,
	kind:     postgresKind,
	again:    postgresAgain,
}

// connections is how many a daemon has to PostgreSQL, beside the one that
// listens.
const connections = 16

func (db *DB) openPostgres(ctx context.Context, url string) error {
	db.dialect = postgresDialect
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return errors.New("open store: the URL of the database is not valid") // the parser's text may show the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	db.listen = config.Copy()
	db.write = stdlib.OpenDB(*config)
	db.write.SetMaxOpenConns(connections)
	db.write.SetMaxIdleConns(connections)
	db.read = db.write
	if err := db.write.PingContext(ctx); err != nil {
		return db.fail(ctx, "open store "+config.Host+"/"+config.Database, err)
	}
	return nil
}

func postgresKind(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "53100":
			return runner.ErrNoSpace
		case strings.HasPrefix(e.Code, "57P"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "08"):
			return runner.ErrUnavailable
		}
		return nil
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return runner.ErrUnavailable
	}
	if _, ok := errors.AsType[net.Error](err); ok || pgconn.SafeToRetry(err) {
		return runner.ErrUnavailable
	}
	return nil
}

// postgresAgain: serialization failures and deadlocks.
func postgresAgain(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// channel is what daemons call each other on.
const channel = "acrd"

// What they call.
const (
	callQueue  = "queue"  // there may be something to take
	callOthers = "others" // somebody wants something of another daemon
	// an intent is new, a look is asked for, or a task has changed
	callTriggers = "triggers"
	// an event is new, or a subscription has changed
	callEvents = "events"
)

// call tells other daemons; at most once in a while, for PostgreSQL takes a
// lock of the whole server for it. What is not said they find by looking.
func (db *DB) call(what string) {
	if !db.dialect.notifies {
		return
	}
	select {
	case db.notify <- what:
	default:
	}
}

// callEvery is the while.
const callEvery = 20 * time.Millisecond

// serveNotices sends what this daemon calls, and hears what others do.
func (db *DB) serveNotices(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.sendNotices(ctx)
	}()
	defer func() { <-done }()
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		start := time.Now()
		err := db.hearNotices(ctx)
		if ctx.Err() != nil {
			break
		}
		db.log.Warn("connection that listens was lost", "err", err)
		if time.Since(start) > time.Minute {
			pause = 100 * time.Millisecond
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, 5*time.Second)
	}
	return nil
}

func (db *DB) sendNotices(ctx context.Context) {
	tick := time.NewTicker(callEvery)
	defer tick.Stop()
	for {
		calls := map[string]bool{}
		select {
		case what := <-db.notify:
			calls[what] = true
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case what := <-db.notify:
				calls[what] = true
			default:
				more = false
			}
		}
		for what := range calls {
			if _, err := db.write.ExecContext(ctx, "SELECT pg_notify($1, $2)", channel, what); err != nil && ctx.Err() == nil {
				db.log.Warn("other daemons could not be called", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// hearNotices rings this daemon's bells, until the connection is lost.
func (db *DB) hearNotices(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, db.listen)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	db.queue.ring() // what was called before is not heard
	db.others.ring()
	db.triggers.ring()
	db.events.ring()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		switch n.Payload {
		case callOthers:
			db.others.ring()
		case callTriggers:
			db.triggers.ring()
		case callEvents:
			db.events.ring()
		default:
			db.queue.ring()
		}
	}
}
