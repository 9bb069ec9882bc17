package pgstore_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

// setIsolation gives new connections to the pool's database this isolation level by default.
func setIsolation(t *testing.T, pool *pgxpool.Pool, level string) {
	t.Helper()
	execSQL(t, pool, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_isolation = '%s'",
		pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize(), level))
	pool.Reset()
}

// A standby answers, but not the queries of a shared state.
func TestSharedPingOfReadOnlyDatabase(t *testing.T) {
	_, pool := sharedUsers(t)
	store := sharedStore(t, pool, pgstore.Config{})
	require.NoError(t, store.Ping(t.Context()))
	execSQL(t, pool, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = on",
		pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()))
	pool.Reset()
	require.EqualError(t, store.Ping(t.Context()),
		"pgstore: pinging table users: the database is a standby, or default_transaction_read_only is on: use the primary; "+
			"if the connection string has several hosts, add target_session_attrs=read-write")
	require.EqualError(t, store.Migrate(t.Context()),
		"pgstore: migrating table users: the database is a standby, or default_transaction_read_only is on: use the primary; "+
			"if the connection string has several hosts, add target_session_attrs=read-write")

	local, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, local.Ping(t.Context()), "reads suffice")
}

// Ping fails if queries fail, for whatever reason, and the error says what to do.
func TestPingOfBrokenDatabase(t *testing.T) {
	const migrate = ": the objects of the shared state are missing: call Migrate, as the reference server does at its start"
	for name, test := range map[string]struct {
		shared     bool
		fault      string
		want, then string // of the first call, and of the next one
	}{
		"table renamed": {
			true, "ALTER TABLE users RENAME TO people",
			`there is no such table: call Migrate, as the reference server does at its start, or name another (ERROR: relation "public.users" does not exist (SQLSTATE 42P01))`,
			"there is no such table: call Migrate, as the reference server does at its start, or name another",
		},
		"table renamed, not shared": {
			false, "ALTER TABLE users RENAME TO people",
			`ERROR: relation "public.users" does not exist (SQLSTATE 42P01)`,
			"there is no such table: call Migrate, as the reference server does at its start, or name another",
		},
		"column dropped": {
			false, "ALTER TABLE users DROP COLUMN points",
			`ERROR: column "points" does not exist (SQLSTATE 42703)`, `ERROR: column "points" does not exist (SQLSTATE 42703)`,
		},
		"function dropped": {
			true, "DROP FUNCTION users_answer",
			"ERROR: function public.users_answer(integer, integer, bigint, boolean, bigint) does not exist (SQLSTATE 42883)" + migrate,
			"ERROR: function public.users_answer(integer, integer, bigint, boolean, bigint) does not exist (SQLSTATE 42883)" + migrate,
		},
		"state dropped": {
			true, "DROP TABLE users_state",
			`ERROR: relation "public.users_state" does not exist (SQLSTATE 42P01)` + migrate,
			`ERROR: relation "public.users_state" does not exist (SQLSTATE 42P01)` + migrate,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, pool := sharedUsers(t)
			store, err := pgstore.New(pool, pgstore.Config{Shared: test.shared})
			require.NoError(t, err)
			require.NoError(t, store.Ping(t.Context()))
			clock := queryOne[int64](t, pool, "SELECT last_value FROM users_clock")
			execSQL(t, pool, test.fault)
			require.EqualError(t, store.Ping(t.Context()), "pgstore: pinging table users: "+test.want)
			require.EqualError(t, store.Ping(t.Context()), "pgstore: pinging table users: "+test.then)
			if test.shared {
				_, err := store.Capabilities().SharedState.AnswerBatch(t.Context(), 1, 2)
				require.EqualError(t, err, "pgstore: answering a batch from table users: "+test.then)
			}
			assert.Equal(t, clock, queryOne[int64](t, pool, "SELECT last_value FROM users_clock"), "Ping takes no timestamp")
		})
	}
}

// A role that may not use the schema learns so, whether the table's name has the schema or not.
func TestNoUsageOfSchema(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			_, owner := sharedUsers(t)
			const role = "points_test_usage"
			_, _ = storeOfRole(t, owner, role, "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO "+
				role+"; GRANT SELECT, UPDATE ON SEQUENCE users_clock TO "+role)
			cfg := owner.Config()
			cfg.ConnConfig.RuntimeParams["role"] = role
			pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			for _, schema := range []string{"", "public"} {
				name := "users"
				if schema != "" {
					name = "public.users"
				}
				store, err := pgstore.New(pool, pgstore.Config{Schema: schema, Shared: shared})
				require.NoError(t, err)
				const want = `the role needs the right to use its schema: GRANT USAGE ON SCHEMA "public"`
				require.EqualError(t, store.Check(t.Context()), "pgstore: table "+name+": "+want)
				require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table "+name+": "+want)
				require.EqualError(t, store.Ping(t.Context()), "pgstore: pinging table "+name+": "+want)
			}

			// A running server loses the right.
			execSQL(t, owner, "GRANT USAGE ON SCHEMA public TO "+role)
			store, err := pgstore.New(pool, pgstore.Config{Shared: shared})
			require.NoError(t, err)
			require.NoError(t, store.Ping(t.Context()))
			execSQL(t, owner, "REVOKE USAGE ON SCHEMA public FROM "+role)
			require.ErrorContains(t, store.Ping(t.Context()), "permission denied for schema public (SQLSTATE 42501)")
			if shared {
				_, err = store.Capabilities().SharedState.AnswerBatch(t.Context(), 1, 2)
				require.EqualError(t, err, "pgstore: answering a batch from table users: ERROR: permission denied for schema public"+
					" (SQLSTATE 42501): grant the role the rights that Check names")
			}
		})
	}
}

// lockOrder holds the order lock of the table users until release is called.
func lockOrder(t *testing.T, pool *pgxpool.Pool) (release func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock(hashtextextended('users_clock'::regclass::oid::text, 3))")
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Commit(t.Context())) }
}

// The users of a batch are read after the order lock was acquired, whatever the isolation level of the connections is. A
// snapshot from before the wait would show older users at a later timestamp.
func TestSharedReadsAfterOrderLock(t *testing.T) {
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			state, pool := sharedUsers(t)
			setIsolation(t, pool, level)
			execSQL(t, pool, "UPDATE users SET points = 0; UPDATE users_state SET min_number = 50")
			for _, repeated := range []bool{false, true} { // the second time, the store knows the level
				execSQL(t, pool, "UPDATE users SET points = 0")
				release := lockOrder(t, pool)
				batches := make(chan points.SharedBatch, 1)
				go func() {
					defer close(batches)
					b, err := state.AnswerBatch(t.Context(), 1, 2)
					if assert.NoError(t, err) {
						batches <- b
					}
				}()
				requireWaiting(t, pool, "advisory")
				execSQL(t, pool, "UPDATE users SET points = 60 WHERE id = 7")
				release()
				b := <-batches
				require.Len(t, b.Users, 1, "repeated: %v", repeated)
				assert.EqualValues(t, 7, b.Users[0].ID)
			}
			first := start(t, state, "a")
			assert.Equal(t, []string{"a"}, instances(first.Status))
			s, err := state.Sync(t.Context(), points.SyncRequest{
				Instance: `b\'`, InstanceID: instanceID("b"),
				Update: &points.SharedUpdate{ID: 1 << 63, Instance: `b\'`, Outcome: points.UpdateFailed, Err: `'; $1 \`},
			})
			require.NoError(t, err)
			assert.Equal(t, []string{"a", `b\'`}, instances(s.Status))
			assert.Equal(t, `'; $1 \`, s.Status.LastFailure.Err)
			paused, hour := true, time.Hour
			status, err := state.Configure(t.Context(), points.ScheduleChange{Paused: &paused, Interval: &hour})
			require.NoError(t, err)
			assert.True(t, status.Paused)
			require.NoError(t, sharedStore(t, pool, pgstore.Config{}).Check(t.Context()))

			execSQL(t, pool, "DROP TABLE users_updates")
			_, err = state.Sync(t.Context(), points.SyncRequest{Instance: "a"})
			require.ErrorContains(t, err, "the objects of the shared state are missing")
			_, err = state.AnswerBatch(t.Context(), 1, 2)
			require.NoError(t, err, "the connection is usable again")
		})
	}
}

// No batch is in progress when a tick sets the new min number, and no call waits for long.
func TestSharedTickWaitsForOrderLock(t *testing.T) {
	state, pool := sharedUsers(t)
	start(t, state, "a")
	execSQL(t, pool, "UPDATE users_state SET next_tick = 0")
	release := lockOrder(t, pool)
	synced := make(chan error, 1)
	go func() {
		r, err := state.Sync(t.Context(), points.SyncRequest{Instance: "a", InstanceID: instanceID("a"), MinNumber: 3})
		assert.True(t, r.Claimed)
		synced <- err
	}()
	requireWaiting(t, pool, "advisory")
	assert.Zero(t, queryOne[int](t, pool, "SELECT ticks FROM users_state"))
	release()
	require.NoError(t, <-synced)

	defer lockOrder(t, pool)()
	_, err := state.AnswerBatch(t.Context(), 1, 2)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	assert.Equal(t, "55P03", pgErr.Code, "the lock has a timeout")
}

// A crash resets the sequence. The bound replaces it, and the next batch waits until the clock has passed the bound.
func TestSharedClockReset(t *testing.T) {
	state, pool := sharedUsers(t)
	before, err := state.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)
	bound := time.UnixMicro(queryOne[int64](t, pool, "SELECT reserved FROM users_bound")).UTC()
	require.True(t, bound.After(before.LastTimestamp), "the bound %v is not above the timestamp %v", bound, before.LastTimestamp)

	execSQL(t, pool, "ALTER SEQUENCE users_clock RESTART")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	_, err = state.AnswerBatch(ctx, 5, 2)
	cancel()
	require.Error(t, err)
	after, err := state.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)
	assert.Equal(t, bound, after.PreviousTimestamp)
	assert.GreaterOrEqual(t, after.LastTimestamp.Sub(bound), 5*time.Microsecond)
	assert.False(t, after.LastTimestamp.After(queryOne[time.Time](t, pool, "SELECT clock_timestamp()")))
	assert.Greater(t, queryOne[int64](t, pool, "SELECT reserved FROM users_bound"), after.LastTimestamp.UnixMicro())

	// If the clock was set back by an hour, the timestamps go on in their order, without waiting for an hour.
	execSQL(t, pool, "ALTER SEQUENCE users_clock RESTART; UPDATE users_bound SET reserved = reserved + 3600000000")
	bound = time.UnixMicro(queryOne[int64](t, pool, "SELECT reserved FROM users_bound")).UTC()
	back, err := state.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)
	assert.Equal(t, bound, back.PreviousTimestamp)
	assert.Equal(t, bound.Add(5*time.Microsecond), back.LastTimestamp)

	// No query waits for longer than its timeout.
	execSQL(t, pool, "SELECT setval('users_clock', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 9000000)")
	ahead, err := state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	assert.True(t, ahead.LastTimestamp.After(queryOne[time.Time](t, pool, "SELECT clock_timestamp()")), "it did not wait")
}

// A batch that would have to raise the bound and fails leaves nothing behind that is not durable: the next one raises
// it.
func TestSharedBoundIsAboveEveryTimestamp(t *testing.T) {
	first, pool := sharedUsers(t)
	second := openShared(t, pool, pgstore.Config{})
	for i := range 20 {
		if i%5 == 0 {
			execSQL(t, pool, "UPDATE users_bound SET reserved = 1")
			first, second = second, openShared(t, pool, pgstore.Config{}) // which does not know the bound
		}
		b, err := second.AnswerBatch(t.Context(), 1000, 2)
		require.NoError(t, err)
		require.GreaterOrEqual(t, queryOne[int64](t, pool, "SELECT reserved FROM users_bound"), b.LastTimestamp.UnixMicro())
	}
	_, err := first.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)

	// Sync raises it before it is reached, so batches need not wait for a flush.
	execSQL(t, pool, "UPDATE users_bound SET reserved = 1")
	s := start(t, second, "a")
	assert.Greater(t, queryOne[int64](t, pool, "SELECT reserved FROM users_bound"), s.Status.Time.UnixMicro()+1_000_000)
	execSQL(t, pool, "UPDATE users_bound SET reserved = 1; ALTER SEQUENCE users_clock RESTART")
	start(t, second, "a")
	assert.EqualValues(t, 1, queryOne[int64](t, pool, "SELECT reserved FROM users_bound"), "a batch waits for the bound")
}

// A batch changes no row, so a snapshot that somebody holds does not make batches slower and slower.
func TestSharedBatchesChangeNoRow(t *testing.T) {
	state, pool := sharedUsers(t)
	_, err := state.AnswerBatch(t.Context(), 10, 2)
	require.NoError(t, err)
	execSQL(t, pool, "UPDATE users_bound SET reserved = (extract(epoch FROM now() + interval '1 hour') * 1000000)::bigint")
	const versions = "SELECT (SELECT concat(ctid, xmin, xmax) FROM users_state) || (SELECT concat(ctid, xmin, xmax) FROM users_bound)"
	before := queryOne[string](t, pool, versions)
	for range 100 {
		_, err := state.AnswerBatch(t.Context(), 10, 2)
		require.NoError(t, err)
	}
	assert.Equal(t, before, queryOne[string](t, pool, versions))
}

// The function reads a few pages, also if it was planned when the table was empty.
func TestSharedReadPlans(t *testing.T) {
	_, pool := sharedUsers(t)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	scans := func() int {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.Background()) //nolint:errcheck // nothing to commit
		var before, after int                   // they may count earlier transactions as well
		const count = "SELECT coalesce(sum(seq_scan), 0)::int FROM pg_stat_xact_user_tables WHERE relname = 'users'"
		require.NoError(t, tx.QueryRow(t.Context(), count).Scan(&before))
		_, err = tx.Exec(t.Context(), "SELECT FROM users_answer(1, 2, 0, false, 0)")
		require.NoError(t, err)
		require.NoError(t, tx.QueryRow(t.Context(), count).Scan(&after))
		return after - before
	}
	execSQL(t, pool, "ALTER TABLE users SET (autovacuum_enabled = off); UPDATE users_state SET min_number = 50; TRUNCATE users")
	scans() // of an empty table
	execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, i % 101 FROM generate_series(1, 100000) AS i")
	assert.Zero(t, scans())
	execSQL(t, pool, "DELETE FROM users WHERE id < 5000") // the first pages have no users, so the sample is read
	assert.Zero(t, scans())
}

// A client that stops or vanishes while its call is under way does not hold the order lock.
func TestSharedSilentClientHoldsNoLock(t *testing.T) {
	state, pool := sharedUsers(t)
	stopped, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	conn := stopped.Hijack()
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	frontend := conn.PgConn().Frontend() // it sends a call and never reads the answer
	frontend.SendParse(&pgproto3.Parse{Query: "SELECT * FROM users_answer(1, 2, 0, false, 0)"})
	frontend.SendBind(&pgproto3.Bind{})
	frontend.SendExecute(&pgproto3.Execute{})
	frontend.SendSync(&pgproto3.Sync{})
	require.NoError(t, frontend.Flush())

	proxiedPool, proxy := proxyTo(t, pool)
	vanishing := openShared(t, proxiedPool, pgstore.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_, _ = vanishing.AnswerBatch(ctx, 1, 2)
			}
		})
	}
	for _, stream := range []string{"downstream", "upstream"} {
		t.Cleanup(pgtest.Toxic(t, proxy, "timeout", stream, map[string]int{"timeout": 0}))
	}
	for range 20 {
		answering, stop := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := state.AnswerBatch(answering, 1, 2)
		stop()
		require.NoError(t, err)
	}
	cancel()
	wg.Wait()
}

// An orderRecorder calls AnswerBatch from several goroutines until it is stopped, over faults.
type orderRecorder struct {
	mu      sync.Mutex
	batches []points.SharedBatch
	failed  int
}

const recordedQueries = 3 // per batch

func (r *orderRecorder) record(ctx context.Context, t *testing.T, states ...points.SharedState) {
	t.Helper()
	var wg sync.WaitGroup
	for _, state := range states {
		wg.Go(func() {
			for ctx.Err() == nil {
				calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				b, err := state.AnswerBatch(calling, recordedQueries, 2)
				cancel()
				r.mu.Lock()
				if err != nil {
					r.failed++
				} else {
					assert.False(t, b.LastTimestamp.After(time.Now()), "%v is in the future", b.LastTimestamp)
					r.batches = append(r.batches, b)
				}
				r.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// requireOrder checks that the batches have one order. Batches that failed may have a place in it.
func (r *orderRecorder) requireOrder(t *testing.T) {
	t.Helper()
	slices.SortFunc(r.batches, func(a, b points.SharedBatch) int { return a.LastTimestamp.Compare(b.LastTimestamp) })
	var last time.Time
	for _, b := range r.batches {
		require.False(t, b.PreviousTimestamp.Before(last), "a batch after %v was given %v", last, b.PreviousTimestamp)
		require.GreaterOrEqual(t, b.LastTimestamp.Sub(b.PreviousTimestamp), recordedQueries*time.Microsecond)
		last = b.LastTimestamp
	}
}

func (r *orderRecorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.batches)
}

// When a backend is killed, PostgreSQL restarts all others and resets unlogged sequences.
func TestSharedOrderOverKilledBackend(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	state := openShared(t, pool, pgstore.Config{})
	execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, 100 FROM generate_series(1, 1000) AS i; UPDATE users_state SET min_number = 50")

	second := openShared(t, pool, pgstore.Config{})
	var r orderRecorder
	ctx, stop := context.WithCancel(t.Context())
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		r.record(ctx, t, state, second)
	}()
	for range 3 {
		answered := r.len()
		require.Eventually(t, func() bool { return r.len() > answered+20 }, time.Minute, time.Millisecond)
		killBackend(t, server.URL)
	}
	answered := r.len()
	require.Eventually(t, func() bool { return r.len() > answered+20 }, time.Minute, time.Millisecond)
	stop()
	<-recorded
	r.requireOrder(t)
	assert.Positive(t, r.failed, "the crashes were noticed")
}

// killBackend kills a backend, so PostgreSQL ends all sessions, recovers, and resets unlogged sequences. It returns when
// PostgreSQL accepts connections again.
func killBackend(tb testing.TB, url string) {
	tb.Helper()
	connect := func() (conn *pgx.Conn) {
		require.Eventually(tb, func() bool {
			var err error
			conn, err = pgx.Connect(tb.Context(), url)
			return err == nil
		}, time.Minute, 10*time.Millisecond)
		return conn
	}
	victim, witness := connect(), connect()
	defer victim.Close(context.Background())
	defer witness.Close(context.Background())
	_, err := victim.Exec(tb.Context(), fmt.Sprintf("COPY (SELECT) TO PROGRAM 'kill -9 %d'", victim.PgConn().PID()))
	require.Error(tb, err)
	_, err = witness.WaitForNotification(tb.Context())
	require.Error(tb, err)
	require.NoError(tb, connect().Close(tb.Context()))
}

// The suite, in each set-up.
func TestSharedState(t *testing.T) {
	t.Parallel()
	for name, setup := range setups() {
		if setup.sharded {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.RunShared(t, func(tb testing.TB, ids []int64) storetest.SharedStores {
				tb.Helper()
				pool := setup.open(tb)
				openOn(tb, pool, pgstore.Config{Shared: true}, ids)
				return storetest.SharedStores{Open: func() points.Store {
					return sharedStore(tb, otherPool(tb, pool), pgstore.Config{})
				}}
			})
		})
	}
}

// The suite, over crashes of PostgreSQL, which needs a server of its own.
func TestSharedStateOverCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	admin, err := pgxpool.New(t.Context(), server.URL)
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	databases := 0
	storetest.RunShared(t, func(tb testing.TB, ids []int64) storetest.SharedStores {
		tb.Helper()
		databases++
		name := fmt.Sprintf("shared_%d", databases)
		_, err := admin.Exec(tb.Context(), "CREATE DATABASE "+name)
		require.NoError(tb, err)
		cfg := admin.Config()
		cfg.ConnConfig.Database = name
		var pools []*pgxpool.Pool
		open := func() points.Store {
			pool, err := pgxpool.NewWithConfig(tb.Context(), cfg)
			require.NoError(tb, err)
			tb.Cleanup(pool.Close)
			pools = append(pools, pool)
			store, err := pgstore.New(pool, pgstore.Config{Shared: true})
			require.NoError(tb, err)
			require.NoError(tb, store.Migrate(tb.Context()))
			return store
		}
		open()
		insert, err := pgx.ConnectConfig(tb.Context(), cfg.ConnConfig)
		require.NoError(tb, err)
		_, err = insert.Exec(tb.Context(), "INSERT INTO users (id) SELECT unnest($1::bigint[])", ids)
		require.NoError(tb, err)
		require.NoError(tb, insert.Close(tb.Context()))
		return storetest.SharedStores{Open: open, Crash: func() {
			killBackend(tb, server.URL)
			for _, pool := range pools {
				pool.Reset() // all its connections are closed
			}
		}}
	})
}

// A promoted standby continues the order, the ticks and the schedule of its primary.
func TestSharedOrderOverFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t)
	pool, err := pgxpool.New(t.Context(), primary.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	state := openShared(t, pool, pgstore.Config{})
	execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, 100 FROM generate_series(1, 1000) AS i; UPDATE users_state SET min_number = 50")
	standby := primary.Standby()

	start(t, state, "a")
	_, err = state.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)
	hour, paused := time.Hour, true
	_, err = state.Configure(t.Context(), points.ScheduleChange{Interval: &hour, Paused: &paused})
	require.NoError(t, err)
	last, err := state.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)

	next, err := pgxpool.New(t.Context(), standby.URL)
	require.NoError(t, err)
	t.Cleanup(next.Close)
	lsn := queryOne[string](t, pool, "SELECT pg_current_wal_lsn()::text")
	require.Eventually(t, func() bool {
		return queryOne[bool](t, next, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", lsn)
	}, time.Minute, 10*time.Millisecond)
	primary.Kill()
	standby.Promote()

	store := sharedStore(t, next, pgstore.Config{})
	require.Eventually(t, func() bool { return store.Check(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	promoted := store.Capabilities().SharedState
	first, err := promoted.AnswerBatch(t.Context(), 5, 2)
	require.NoError(t, err)
	assert.True(t, first.PreviousTimestamp.After(last.LastTimestamp), "%v is not after %v", first.PreviousTimestamp, last.LastTimestamp)
	assert.GreaterOrEqual(t, first.LastTimestamp.Sub(first.PreviousTimestamp), 5*time.Microsecond)
	assert.False(t, first.LastTimestamp.After(time.Now()))
	status := start(t, promoted, "b").Status
	assert.True(t, status.Paused)
	assert.Equal(t, time.Hour, status.Interval)
}

func TestSharedBehindPgBouncer(t *testing.T) {
	for name, test := range map[string]struct{ level, setting, params string }{
		"nothing prepared":    {"read committed", "", "?default_query_exec_mode=exec&pool_max_conns=8"},
		"repeatable read":     {"repeatable read", "", "?default_query_exec_mode=exec&pool_max_conns=8"},
		"prepared statements": {"read committed", "max_prepared_statements = 200", "?pool_max_conns=8"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.setting != "" {
				pgtest.SkipWithoutPreparedStatements(t)
			}
			_, direct := sharedUsers(t)
			setIsolation(t, direct, test.level)
			pool, err := pgxpool.New(t.Context(), pgtest.PgBouncer(t, direct.Config().ConnString(), test.setting)+test.params)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			states := []points.SharedState{openShared(t, pool, pgstore.Config{}), openShared(t, pool, pgstore.Config{})}

			ctx, stop := context.WithCancel(t.Context())
			var r orderRecorder
			recorded := make(chan struct{})
			go func() {
				defer close(recorded)
				r.record(ctx, t, states[0], states[0], states[1], states[1])
			}()
			for i := range 10 {
				s, err := states[i%2].Sync(t.Context(), points.SyncRequest{Instance: "a", Starting: i == 0, Interval: time.Hour, TickNow: true})
				require.NoError(t, err)
				assert.Equal(t, i == 0, s.Claimed)
			}
			require.Eventually(t, func() bool { return r.len() > 50 }, time.Minute, time.Millisecond)
			stop()
			<-recorded
			r.requireOrder(t)
			assert.Zero(t, r.failed)
		})
	}
}
