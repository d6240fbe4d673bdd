package store_test

import (
	"testing"

	"acrd/internal/store/storetest"
)

func TestSQLite(t *testing.T) { storetest.TestStore(t, storetest.SQLite) }

func TestTimersSimulated(t *testing.T) { storetest.TestTimersSimulated(t, 20) }

func TestPostgres(t *testing.T) {
	server := storetest.StartPostgres(t)
	storetest.TestStore(t, server.Database)
}
