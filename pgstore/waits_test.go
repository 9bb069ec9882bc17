package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/points"
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

// An update that is blocked names the session that blocks it, at whatever step, and also if a timeout of the database
// ends its statements before RetryTimeout.
func TestUpdateNamesBlockingSession(t *testing.T) {
	t.Parallel()
	const lockRow, lockTable = "SELECT FROM users WHERE id = 7 FOR UPDATE", "LOCK TABLE users"
	for name, test := range map[string]struct {
		block   string // what the blocking session does
		after   int64  // it does so when so many users are updated
		waiting string // what another session does then, and waits
		sparse  bool   // the ids
		set     string // a setting of the update's sessions
		timeout string // its value, in ms
		want    string // in the error
	}{
		"row":                             {block: lockRow},
		"row, statement_timeout":          {block: lockRow, set: "statement_timeout", timeout: "300", want: "ids 7 to 7: "},
		"row, long statement_timeout":     {block: lockRow, set: "statement_timeout", timeout: "3000", want: "ids 1 to 10: "},
		"row, lock_timeout":               {block: lockRow, set: "lock_timeout", timeout: "300", want: "ids 1 to 10: "},
		"row, transaction_timeout":        {block: lockRow, set: "transaction_timeout", timeout: "300", want: "ids 7 to 7: "},
		"table":                           {block: lockTable},
		"table, statement_timeout":        {block: lockTable, set: "statement_timeout", timeout: "300"},
		"table, lock_timeout":             {block: lockTable, set: "lock_timeout", timeout: "300"},
		"table, while batches run":        {block: lockTable, after: 20},
		"table, while ids are counted":    {block: lockTable, after: 20, sparse: true},
		"table, after the last batch":     {block: lockTable, after: 100},
		"partition":                       {block: "LOCK TABLE users_0"},
		"read, and ALTER TABLE behind it": {block: "SELECT FROM users", waiting: "ALTER TABLE users ADD COLUMN name text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			var known bool
			err := pool.QueryRow(t.Context(), "SELECT current_setting($1, true) IS NOT NULL", test.set).Scan(&known)
			require.NoError(t, err)
			if test.set != "" && !known {
				t.Skip("PostgreSQL has " + test.set + " since version 17")
			}
			if name == "partition" {
				exec(t, pool, "CREATE TABLE users (id bigint PRIMARY KEY, points int NOT NULL, inserted_at timestamptz NOT NULL,"+
					" updated_at timestamptz NOT NULL) PARTITION BY HASH (id)")
				exec(t, pool, "CREATE TABLE users_0 PARTITION OF users FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
			}
			admin, _ := impatientStore(t, pool)
			require.NoError(t, admin.Migrate(t.Context()))
			exec(t, pool, "INSERT INTO users (id, points, inserted_at, updated_at)"+
				" SELECT id, 0, now(), now() FROM generate_series(1, 100) AS id")
			if test.sparse {
				exec(t, pool, "UPDATE users SET id = 1000 * id")
			}
			cfg := pool.Config()
			if test.set != "" {
				cfg.ConnConfig.RuntimeParams[test.set] = test.timeout
			}
			own, err := pgxpool.NewWithConfig(t.Context(), cfg)
			require.NoError(t, err)
			t.Cleanup(own.Close)
			store, err := New(own, Config{RetryTimeout: 4 * time.Second, BatchSize: 10, Workers: 1})
			require.NoError(t, err)

			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) //nolint:errcheck // does nothing after Rollback
			others, stop := errgroup.WithContext(t.Context())
			ctx := t.Context()
			block := sync.OnceFunc(func() {
				_, err := tx.Exec(ctx, test.block)
				assert.NoError(t, err)
				if test.waiting == "" {
					return
				}
				others.Go(func() error {
					_, err := pool.Exec(stop, test.waiting)
					return err
				})
				require.Eventually(t, func() bool {
					var waits bool
					err := pool.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").Scan(&waits)
					return err == nil && waits
				}, time.Minute, 10*time.Millisecond)
			})
			if test.after == 0 {
				block()
			}
			_, err = store.UpdateAll(points.WithProgress(t.Context(), func(done, _ int64) {
				if done >= test.after {
					block()
				}
			}), 1)
			require.ErrorContains(t, err, fmt.Sprintf("it waits for a lock of session %d ", tx.Conn().PgConn().PID()))
			require.ErrorContains(t, err, "idle in transaction since ")
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, fmt.Sprintf("end its transaction, or call pg_terminate_backend(%d)",
				tx.Conn().PgConn().PID()))
			require.NoError(t, tx.Rollback(t.Context()))
			require.NoError(t, others.Wait())
			_, err = store.UpdateAll(t.Context(), 1)
			require.NoError(t, err)
		})
	}
}

// A Check that another session blocks logs which session that is, and its error names it if the context ends.
func TestCheckNamesBlockingSession(t *testing.T) {
	store, log := impatientStore(t, pgtest.Pool(t))
	require.NoError(t, store.Migrate(t.Context()))
	exec(t, store.pool, "COMMENT ON TABLE users IS NULL") // so that Check reads its values
	tx, err := store.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background()) //nolint:errcheck // it is not committed
	_, err = tx.Exec(t.Context(), "ALTER TABLE users ADD COLUMN name text")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	checked := make(chan error, 1)
	go func() { checked <- store.Check(ctx) }()
	session := fmt.Sprintf("it waits for a lock of session %d ", tx.Conn().PgConn().PID())
	requireLogged(t, log, "checking takes long")
	requireLogged(t, log, session)
	cancel()
	err = <-checked
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, session)
}

// A query that another session blocks names that session, and so does a call of the shared state.
func TestCallsNameBlockingSession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		table string // that is locked
		call  func(context.Context, *Store) error
	}{
		"read": {"users", func(ctx context.Context, s *Store) error { _, err := s.UsersAbove(ctx, -1, 2); return err }},
		"batch": {"users", func(ctx context.Context, s *Store) error {
			_, err := s.Capabilities().SharedState.AnswerBatch(ctx, 1, 2)
			return err
		}},
		"sync": {"users_servers", func(ctx context.Context, s *Store) error {
			_, err := s.Capabilities().SharedState.Sync(ctx, points.SyncRequest{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			store, err := New(pool, Config{Shared: true})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(context.Background()) //nolint:errcheck // it is not committed
			_, err = tx.Exec(t.Context(), "LOCK TABLE "+test.table)
			require.NoError(t, err)
			conns := pool.AcquireAllIdle(t.Context())
			for len(conns) < 2 { // of the call, and the one that looks
				conn, err := pool.Acquire(t.Context())
				require.NoError(t, err)
				conns = append(conns, conn)
			}
			for _, conn := range conns {
				conn.Release()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			require.ErrorContains(t, test.call(ctx, store),
				fmt.Sprintf("it waits for a lock of session %d ", tx.Conn().PgConn().PID()))
		})
	}
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

// Seed names the session whose Seed it waits for, which may have stopped for good.
func TestSeedNamesOtherSeed(t *testing.T) {
	store, log := impatientStore(t, pgtest.Pool(t))
	require.NoError(t, store.Migrate(t.Context()))
	other, err := New(store.pool, store.cfg)
	require.NoError(t, err)
	other.waitReport = store.waitReport
	waiting := make(chan error, 1)
	start := sync.OnceFunc(func() {
		var pid int
		assert.NoError(t, store.pool.QueryRow(t.Context(), "SELECT pid FROM pg_locks WHERE mode = 'ShareRowExclusiveLock'"+
			" AND relation = 'users'::regclass").Scan(&pid))
		go func() { waiting <- other.Seed(t.Context(), 100) }()
		requireLogged(t, log, fmt.Sprintf("another Seed runs in session %d (role ", pid))
	})
	require.NoError(t, store.Seed(points.WithProgress(t.Context(), func(int64, int64) { start() }), 100))
	require.NoError(t, <-waiting)
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
	const inUse = "all 4 connections of the pool are in use: each Store on it needs Config.Workers + 2 = 4"
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, inUse)

	users, err := store.table(t.Context())
	require.NoError(t, err)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = store.withLease(ctx, users, func(context.Context, *lease) error { return nil })
	require.ErrorContains(t, err, inUse)
	require.NoError(t, ctx.Err(), "it ends after RetryTimeout")
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
				require.ErrorContains(t, err, "its kind is composite type")
			}
		})
	}
}
