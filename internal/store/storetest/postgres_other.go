//go:build !linux

package storetest

import "testing"

// A Postgres is a PostgreSQL server for one test.
type Postgres struct{}

// StartPostgres skips the test.
func StartPostgres(t testing.TB) *Postgres {
	t.Skip("PostgreSQL is started by tests on Linux only")
	return nil
}

// Start does nothing.
func (*Postgres) Start() error { return nil }

// Stop does nothing.
func (*Postgres) Stop() {}

// Kill does nothing.
func (*Postgres) Kill() {}

// Database is none.
func (*Postgres) Database(testing.TB) string { return "" }
