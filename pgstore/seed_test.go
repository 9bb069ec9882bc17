package pgstore_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// A logBuffer keeps what is logged.
type logBuffer struct{ testenv.Log }

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func assertUsers(t *testing.T, store *pgstore.Store, want int64) {
	t.Helper()
	n, err := store.Count(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, n)
}

func TestSeed(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	require.EqualError(t, store.Seed(t.Context(), -1), "pgstore: the number of users must not be negative, got -1")
	require.NoError(t, store.Seed(t.Context(), 0))
	assertUsers(t, store, 0)

	var reported []int64
	require.NoError(t, store.Seed(points.WithProgress(t.Context(), func(done, total int64) {
		assert.EqualValues(t, 120_000, total)
		reported = append(reported, done)
	}), 120_000))
	assert.Equal(t, []int64{0, 50_000, 100_000, 120_000}, reported)
	assertUsers(t, store, 120_000)
	assert.Equal(t, []int64{0, 1, 120_000}, queryOne[[]int64](t, pool, "SELECT ARRAY[max(points), min(id), max(id)] FROM users"))
	if !pgtest.Distributed() { // then the workers have the statistics
		assert.InDelta(t, 120_000, queryOne[float64](t, pool, "SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass"), 0,
			"statistics are fresh")
	}

	require.NoError(t, store.Seed(points.WithProgress(t.Context(), func(int64, int64) {
		assert.Fail(t, "a table with users is left alone")
	}), 130_000))
	assertUsers(t, store, 120_000)
}

// A Seed that fails leaves an empty table. What it has written is vacuumed away before the next one.
func TestSeedIsAllOrNothing(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	const users = 150_000
	for name, interrupt := range map[string]func(cancel context.CancelFunc){
		"cancelled": func(cancel context.CancelFunc) { cancel() },
		"connection lost": func(context.CancelFunc) {
			execSQL(t, pool, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"+
				" WHERE datname = current_database() AND state = 'idle in transaction'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := store.Seed(points.WithProgress(ctx, func(done, _ int64) {
				if done == 100_000 {
					interrupt(cancel)
				}
			}), users)
			require.ErrorContains(t, err, "pgstore: seeding table users: ")
			assertUsers(t, store, 0)
		})
	}
	require.NoError(t, store.Seed(t.Context(), users))
	assertUsers(t, store, users)
	assert.Less(t, queryOne[int64](t, pool, "SELECT pg_relation_size('users')"), int64(users*150), "no dead rows are left")
	assert.Equal(t, "(0,1)", queryOne[string](t, pool, "SELECT min(ctid)::text FROM users"))
}

// An own table that Seed cannot fill is not marked in any way: users that its owner inserts then remain the only ones.
func TestSeedAfterFailureOnOwnTable(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "CREATE TABLE users (id bigserial PRIMARY KEY, points int, email text NOT NULL,"+
		" inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)")
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.ErrorContains(t, store.Seed(t.Context(), 1_000), `null value in column "email"`)
	assert.Equal(t, []string{"users", "users_id_seq"}, relations(t, pool))

	execSQL(t, pool, "INSERT INTO users (points, email, inserted_at, updated_at) SELECT 1, 'a@example.com', now(), now()"+
		" FROM generate_series(1, 50)")
	execSQL(t, pool, "ALTER TABLE users ALTER email DROP NOT NULL")
	require.NoError(t, store.Seed(t.Context(), 1_000))
	assertUsers(t, store, 50)
}

// Inserted rows that go elsewhere are noticed at the first batch.
func TestSeedNoticesRedirectedRows(t *testing.T) {
	for name, test := range map[string]struct{ redirect, want string }{
		"trigger": {`CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO elsewhere VALUES (NEW.id); RETURN NULL; END $$;
			CREATE TRIGGER redirect BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION redirect()`,
			"INSERT of 50000 users reported 0: a trigger or a rule of the table redirects them"},
		"rule": {
			"CREATE RULE redirect AS ON INSERT TO users DO INSTEAD INSERT INTO elsewhere VALUES (NEW.id)",
			"the table has 0 users after 50000 were inserted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, pool := open(t, pgstore.Config{}, nil)
			execSQL(t, pool, "CREATE TABLE elsewhere (id bigint); "+test.redirect)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := store.Seed(points.WithProgress(ctx, func(done, _ int64) {
				if done > 50_000 {
					cancel()
				}
			}), 100_000)
			require.ErrorContains(t, err, test.want)
			assert.Zero(t, queryOne[int](t, pool, "SELECT count(*)::int FROM elsewhere"), "nothing was kept")
		})
	}
}

// A trigger that adds users makes Seed fail.
func TestSeedNoticesAddedUsers(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	execSQL(t, pool, `CREATE FUNCTION add() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF pg_trigger_depth() = 1 THEN INSERT INTO users (points) VALUES (42); END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER add AFTER INSERT ON users FOR EACH STATEMENT EXECUTE FUNCTION add()`)
	err := store.Seed(t.Context(), 1_000)
	require.ErrorContains(t, err, "the table has 1001 users after 1000 were inserted")
	assertUsers(t, store, 0)
}

// Seed waits for transactions that have written to the table, and keeps out of a table that has users then.
func TestSeedWaitsForOpenTransactions(t *testing.T) {
	store, pool := open(t, pgstore.Config{}, nil)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO users (points) VALUES (7), (7), (7)")
	require.NoError(t, err)
	seeded := make(chan error, 1)
	go func() { seeded <- store.Seed(t.Context(), 1_000) }()
	requireWaiting(t, pool, "relation")
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-seeded)
	assertUsers(t, store, 3)
}

// Timeouts for sessions, statements and transactions end neither Seed nor the lease of an update.
func TestTimeoutsDoNotEndSeedOrLease(t *testing.T) {
	t.Parallel()
	admin := pgtest.Pool(t)
	conn, err := admin.Acquire(t.Context()) // opened before the timeouts are set, so they do not apply to it
	require.NoError(t, err)
	defer conn.Release()
	for _, setting := range []string{"idle_in_transaction_session_timeout", "statement_timeout", "transaction_timeout"} {
		_, err := conn.Exec(t.Context(), `DO $$ BEGIN
			IF EXISTS (SELECT FROM pg_settings WHERE name = '`+setting+`') THEN -- transaction_timeout is new in 17
				EXECUTE format('ALTER DATABASE %I SET `+setting+` = 5000', current_database());
			END IF; END $$`)
		require.NoError(t, err)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), admin.Config())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{Workers: 1})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	ctx := points.WithProgress(t.Context(), func(done, _ int64) {
		if done == 1_000 || done == 0 { // in mid-update, and in mid-seed
			_, err := conn.Exec(t.Context(), "SELECT pg_sleep(6)")
			require.NoError(t, err)
		}
	})
	require.NoError(t, store.Seed(ctx, 3_000))
	n, err := store.UpdateAll(ctx, 1)
	require.NoError(t, err)
	assert.EqualValues(t, 3_000, n)
}

// A statement_timeout or transaction_timeout that is too short for a batch makes the batches smaller.
func TestUpdateWithShortStatementTimeout(t *testing.T) {
	for _, setting := range []string{"statement_timeout", "transaction_timeout"} {
		t.Run(setting, func(t *testing.T) {
			_, pool := seeded(t, pgstore.Config{}, 3_000)
			if !queryOne[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_settings WHERE name = $1)", setting) {
				t.Skip("PostgreSQL has " + setting + " since version 17")
			}
			execSQL(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					PERFORM pg_sleep(0.0005); RETURN NEW; END $$; -- so the first batch takes more than half a second
				CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()`)
			execSQL(t, pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET "+setting+" = 150', current_database()); END $$")
			store := otherProcess(t, pool)
			n, err := store.UpdateAll(t.Context(), 1)
			require.NoError(t, err)
			assert.EqualValues(t, 3_000, n)
			assert.Zero(t, missed(t, pool, 1))
		})
	}
}

func TestSeedWithShortStatementTimeout(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	execSQL(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow()`) // the INSERT takes a second
	execSQL(t, pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = 150', current_database()); END $$")
	store := otherProcess(t, pool)
	require.NoError(t, store.Seed(t.Context(), 100))
	assertUsers(t, store, 100)
}

// Own tables may have a timestamp beside a timestamptz, and partitions.
func TestSeedOwnTables(t *testing.T) {
	for name, create := range map[string]string{
		"two kinds of timestamp": "CREATE TABLE users (id bigserial PRIMARY KEY, points int, inserted_at timestamp NOT NULL, updated_at timestamptz NOT NULL)",
		"partitions": "CREATE TABLE users (id bigserial PRIMARY KEY, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)" +
			" PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (MINVALUE) TO (50);" +
			" CREATE TABLE p2 PARTITION OF users DEFAULT; CREATE INDEX ON users USING brin (points)",
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, create)
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			log := &logBuffer{}
			store, err = pgstore.New(pool, pgstore.Config{Logger: log.logger()})
			require.NoError(t, err)
			require.NoError(t, store.Seed(t.Context(), 100))
			assert.Empty(t, log.String())
			assertUsers(t, store, 100)
		})
	}
}

// If a table of one's own does not accept users that have only points and timestamps, the error says what to do.
func TestSeedOfDemandingTable(t *testing.T) {
	const columns = "points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL"
	for create, want := range map[string]string{
		"id bigint PRIMARY KEY, " + columns:                                 `null value in column "id" of relation "users" violates not-null constraint (SQLSTATE 23502)`,
		"id bigserial PRIMARY KEY, email text NOT NULL, " + columns:         `null value in column "email" of relation "users" violates not-null constraint (SQLSTATE 23502)`,
		"id bigserial PRIMARY KEY, name text UNIQUE DEFAULT '', " + columns: `duplicate key value violates unique constraint "users_name_key" (SQLSTATE 23505)`,
		"id smallserial PRIMARY KEY, " + columns:                            `nextval: reached maximum value of sequence "users_id_seq" (32767) (SQLSTATE 2200H)`,
	} {
		t.Run(create, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, "CREATE TABLE users ("+create+")")
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			require.EqualError(t, store.Seed(t.Context(), 40_000), "pgstore: seeding table users: ERROR: "+want+": Seed sets only points, "+
				"inserted_at and updated_at: give the other columns defaults that suit each user, or insert the users yourself")
			assertUsers(t, store, 0)
		})
	}
}

func TestSeedConcurrently(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			store, err := pgstore.New(pool, pgstore.Config{})
			if assert.NoError(t, err) {
				assert.NoError(t, store.Seed(t.Context(), 60_000))
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 60_000, queryOne[int64](t, pool, "SELECT count(*) FROM users"))
}

// Waiting for another Seed ends with the context.
func TestSeedWaitsWithinItsContext(t *testing.T) {
	t.Parallel()
	store, _ := open(t, pgstore.Config{}, nil)
	waited := false
	require.NoError(t, store.Seed(points.WithProgress(t.Context(), func(_, _ int64) { // while it holds the lock
		if waited {
			return
		}
		waited = true
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("enough"))
		defer cancel()
		err := store.Seed(ctx, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}), 1))
}

// A lock_timeout of the role does not keep Seed, Migrate and updates from waiting for each other.
func TestShortLockTimeout(t *testing.T) {
	pool := pgtest.Pool(t)
	short := poolWith(t, pool, func(cfg *pgxpool.Config) { cfg.ConnConfig.RuntimeParams["lock_timeout"] = "50" })
	store, err := pgstore.New(short, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO users DEFAULT VALUES")
	require.NoError(t, err)
	seeded := make(chan error, 1)
	go func() { seeded <- store.Seed(t.Context(), 10) }()
	requireWaits(t, pool)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-seeded)
	assertUsers(t, store, 10)

	// An update waits for a batch of an earlier one.
	tx, err = pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock_shared(hashtextextended('users'::regclass::oid::text, -2))")
	require.NoError(t, err)
	updated := make(chan error, 1)
	go func() {
		_, err := store.UpdateAll(t.Context(), 1)
		updated <- err
	}()
	requireWaits(t, pool)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-updated)
	assert.Zero(t, missed(t, pool, 1))
}

// requireWaits waits until a session of the database has waited for a lock for longer than its lock_timeout.
func requireWaits(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	require.Eventually(t, func() bool {
		return queryOne[bool](t, pool, "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)"+
			" WHERE datname = current_database() AND waitstart < clock_timestamp() - interval '100 ms')")
	}, time.Minute, time.Millisecond)
}
