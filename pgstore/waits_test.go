package pgstore

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// requireLogged waits until the text is logged.
func requireLogged(t *testing.T, log *testenv.Log, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), text) }, time.Minute, 10*time.Millisecond, text)
}

// impatientStore returns a store that reports early what it waits for.
func impatientStore(t *testing.T, pool *pgxpool.Pool) (*Store, *testenv.Log) {
	t.Helper()
	log := new(testenv.Log)
	store, err := New(pool, Config{RetryTimeout: 4 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))})
	require.NoError(t, err)
	store.waitReport = 500 * time.Millisecond
	return store, log
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// An update that is blocked names the session that blocks it.
func TestUpdateNamesBlockingSession(t *testing.T) {
	pool := pgtest.Pool(t)
	store, _ := impatientStore(t, pool)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 100))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // does nothing after Rollback
	_, err = tx.Exec(t.Context(), "SELECT FROM users WHERE id = 7 FOR UPDATE")
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "it waits for a lock of session ")
	require.ErrorContains(t, err, "idle in transaction since ")
	require.ErrorContains(t, err, "end its transaction, or call pg_terminate_backend(")
	require.NoError(t, tx.Rollback(t.Context()))
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
}

// Prepared transactions and a missing synchronous standby are reported. The test has its own server, because it changes
// settings.
//
//nolint:tparallel // the subtests are steps of one scenario
func TestWaitsOfServer(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	exec(t, pool, "ALTER SYSTEM SET max_prepared_transactions = 4")
	server.Stop()
	server.Start()
	pool.Reset()
	store, log := impatientStore(t, pool)
	require.NoError(t, store.Migrate(t.Context()))

	prepare := func(statement string) {
		_, err := pool.Exec(t.Context(), "BEGIN; "+statement+"; PREPARE TRANSACTION 'forgotten'")
		require.NoError(t, err)
	}
	const forgotten = "it waits for a lock of prepared transaction forgotten: COMMIT PREPARED or ROLLBACK PREPARED it"
	t.Run("Seed beside a prepared transaction", func(t *testing.T) {
		prepare("INSERT INTO users (points) VALUES (1)")
		seeded := make(chan error, 1)
		go func() { seeded <- store.Seed(t.Context(), 100) }()
		requireLogged(t, log, forgotten)
		exec(t, pool, "ROLLBACK PREPARED 'forgotten'")
		require.NoError(t, <-seeded)
	})
	t.Run("UpdateAll beside a prepared transaction", func(t *testing.T) {
		prepare("UPDATE users SET points = 3 WHERE id = 7")
		_, err := store.UpdateAll(t.Context(), 1)
		require.ErrorContains(t, err, forgotten)
		exec(t, pool, "ROLLBACK PREPARED 'forgotten'")
	})

	exec(t, pool, "CREATE SCHEMA empty")
	other, err := New(pool, Config{Schema: "empty", Logger: store.cfg.Logger})
	require.NoError(t, err)
	other.waitReport = store.waitReport
	exec(t, pool, "ALTER SYSTEM SET synchronous_standby_names = 'missing'")
	exec(t, pool, "SELECT pg_reload_conf()")
	const missing = "its commit waits for a synchronous standby: start it, or change synchronous_standby_names"
	t.Run("UpdateAll without its synchronous standby", func(t *testing.T) {
		require.Eventually(t, func() bool {
			_, err := store.UpdateAll(t.Context(), 2)
			return err != nil && strings.Contains(err.Error(), missing)
		}, time.Minute, time.Millisecond, "the server reads its configuration again")
	})
	t.Run("Migrate without its synchronous standby", func(t *testing.T) {
		migrated := make(chan error, 1)
		go func() { migrated <- other.Migrate(t.Context()) }()
		requireLogged(t, log, "migrating takes long")
		requireLogged(t, log, missing)
		exec(t, pool, "ALTER SYSTEM RESET synchronous_standby_names")
		exec(t, pool, "SELECT pg_reload_conf()")
		require.NoError(t, <-migrated)
	})
}

// Several stores on one small pool take each other's connections. The error says so.
func TestPoolOfSeveralStoresIsTooSmall(t *testing.T) {
	cfg := pgtest.Pool(t).Config()
	cfg.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, _ := impatientStore(t, pool)
	require.NoError(t, store.Migrate(t.Context()))
	for range 3 { // leases of three other stores
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "all 4 connections of the pool are in use: each Store on it needs Config.Workers + 2 = 4")
}

// Another session creates the table while Migrate does: Migrate uses it.
func TestMigrateBesideCreateTable(t *testing.T) {
	for name, create := range map[string]string{
		"fit":    "CREATE TABLE users (id bigint PRIMARY KEY, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)",
		"a type": "CREATE TYPE users AS (id int)",
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			store, log := impatientStore(t, pool)
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) //nolint:errcheck // does nothing after Commit
			_, err = tx.Exec(t.Context(), create)
			require.NoError(t, err)
			migrated := make(chan error, 1)
			go func() { migrated <- store.Migrate(t.Context()) }()
			requireLogged(t, log, "it waits for a lock of session ")
			require.NoError(t, tx.Commit(t.Context()))
			if err := <-migrated; name == "fit" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, `it is a relation of kind "c"`)
			}
		})
	}
}
