package pgstore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

// queryModes are those of pgx, by their names in a connection string.
func queryModes() map[string]pgx.QueryExecMode {
	return map[string]pgx.QueryExecMode{
		"cache_statement": pgx.QueryExecModeCacheStatement,
		"cache_describe":  pgx.QueryExecModeCacheDescribe,
		"describe_exec":   pgx.QueryExecModeDescribeExec,
		"exec":            pgx.QueryExecModeExec,
		"simple_protocol": pgx.QueryExecModeSimpleProtocol,
	}
}

// otherPool returns another pool for the pool's database.
func otherPool(tb testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	tb.Helper()
	return poolWith(tb, pool, func(*pgxpool.Config) {})
}

// poolWith returns a pool for the pool's database with another configuration.
func poolWith(tb testing.TB, pool *pgxpool.Pool, change func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	cfg := pool.Config()
	change(cfg)
	other, err := pgxpool.NewWithConfig(tb.Context(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(other.Close)
	return other
}

// All query modes of pgx but the default pass the suite with another DateStyle and TimeZone. TestStore runs it in the
// default mode with those of the server.
func TestQueryModes(t *testing.T) {
	t.Parallel()
	modes := queryModes()
	delete(modes, "cache_statement")
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(tb testing.TB, ids []int64) points.Store {
				pool := poolWith(tb, pgtest.Pool(tb), func(cfg *pgxpool.Config) {
					cfg.ConnConfig.DefaultQueryExecMode = mode
					cfg.ConnConfig.RuntimeParams["datestyle"] = "SQL, DMY"
					cfg.ConnConfig.RuntimeParams["timezone"] = "Asia/Kathmandu"
				})
				store, err := pgstore.New(pool, pgstore.Config{BatchSize: 3000, Shared: true})
				require.NoError(tb, err)
				pgstore.TolerateBusyMachine(store)
				require.NoError(tb, store.Migrate(tb.Context()))
				require.NoError(tb, store.Check(tb.Context()))
				_, err = pool.Exec(tb.Context(), "INSERT INTO users (id) SELECT unnest($1::bigint[])", ids)
				require.NoError(tb, err)
				return store
			})
		})
	}
}

// In each query mode, Seed and UpdateAll write UTC to a timestamp without time zone.
func TestTimestampsWithoutTimeZone(t *testing.T) {
	for name, mode := range queryModes() {
		t.Run(name, func(t *testing.T) {
			pool := poolWith(t, pgtest.Pool(t), func(cfg *pgxpool.Config) {
				cfg.ConnConfig.DefaultQueryExecMode = mode
				cfg.ConnConfig.RuntimeParams["datestyle"] = "German"
				cfg.ConnConfig.RuntimeParams["timezone"] = "Asia/Kathmandu"
			})
			execSQL(t, pool, "CREATE TABLE users (id bigserial PRIMARY KEY, points int,"+
				" inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL)")
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			require.NoError(t, store.Seed(t.Context(), 100))
			for _, key := range []uint64{1, 1 << 63} {
				n, err := store.UpdateAll(t.Context(), key)
				require.NoError(t, err)
				assert.EqualValues(t, 100, n)
				assert.Zero(t, missed(t, pool, key))
			}
			users, err := store.UsersAbove(t.Context(), -1, 2)
			require.NoError(t, err)
			require.Len(t, users, 2)
			assert.WithinDuration(t, time.Now(), users[0].InsertedAt, time.Hour)
			assert.WithinDuration(t, time.Now(), users[0].UpdatedAt, time.Hour)
		})
	}
}

// The types of the columns may change under a running store: no call fails.
func TestColumnTypesChange(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "CREATE TABLE users (id int PRIMARY KEY, points smallint, inserted_at timestamp NOT NULL,"+
		" updated_at timestamp NOT NULL); INSERT INTO users SELECT i, 50, now(), now() FROM generate_series(1, 100) AS i")
	one := poolWith(t, pool, func(cfg *pgxpool.Config) { cfg.ConnConfig.RuntimeParams["timezone"] = "Asia/Kathmandu" })
	store, err := pgstore.New(one, pgstore.Config{})
	require.NoError(t, err)
	use := func(key uint64) {
		for _, above := range []int{-1, 10, 99} {
			_, err := store.UsersAbove(t.Context(), above, 2)
			require.NoError(t, err)
		}
		n, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		assert.EqualValues(t, 100, n)
	}
	use(1)
	execSQL(t, pool, "ALTER TABLE users ALTER id TYPE bigint, ALTER points TYPE int,"+
		" ALTER inserted_at TYPE timestamptz USING inserted_at AT TIME ZONE 'UTC',"+
		" ALTER updated_at TYPE timestamptz USING updated_at AT TIME ZONE 'UTC'")
	use(2)
	execSQL(t, pool, "ALTER TABLE users ALTER updated_at TYPE timestamp USING updated_at AT TIME ZONE 'UTC'")
	use(3)
	users, err := store.UsersAbove(t.Context(), -1, 1)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), users[0].UpdatedAt, time.Hour)
}

// A standby is refused, and so is everything that a load balancer sends to one. A connection to it leaves the pool.
//
//nolint:tparallel // the subtests share the servers
func TestStandbyIsRefused(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewServer(t)
	standby := primary.Standby()
	pool, err := pgxpool.New(t.Context(), primary.URL)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	const users = 2_000
	store := sharedStore(t, pool, pgstore.Config{})
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), users))

	behind, err := pgxpool.New(t.Context(), standby.URL)
	require.NoError(t, err)
	t.Cleanup(behind.Close)
	require.Eventually(t, func() bool {
		var n int
		err := behind.QueryRow(t.Context(), "SELECT count(*) FROM users").Scan(&n)
		return err == nil && n == users
	}, 3*time.Minute, 20*time.Millisecond)
	execSQL(t, behind, "SELECT pg_wal_replay_pause()")
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)

	t.Run("standby", func(t *testing.T) {
		// With the table looked up, and with the name of a table that the standby does not have.
		balanced, toStandby := balance(t, pool, behind)
		known := sharedStore(t, balanced, pgstore.Config{})
		_, err := known.Count(t.Context())
		require.NoError(t, err)
		toStandby.choose(func(int64) bool { return true })
		balanced.Reset()
		missing, err := pgstore.New(behind, pgstore.Config{Table: "missing"})
		require.NoError(t, err)
		assertRefused(t, known, balanced)
		assertRefused(t, sharedStore(t, behind, pgstore.Config{}), behind)
		assertRefused(t, missing, behind)
	})
	t.Run("load balancer", func(t *testing.T) {
		testLoadBalancer(t, pool, behind)
	})
}

// assertRefused checks that each call of the store fails with ErrReadOnly and leaves no connection in its pool.
func assertRefused(t *testing.T, store *pgstore.Store, pool *pgxpool.Pool) {
	t.Helper()
	const refused = "use the primary; if the connection string has several hosts, add target_session_attrs=read-write"
	for name, call := range callsOf(store) {
		err := call(t.Context())
		require.ErrorContains(t, err, refused, name)
		require.ErrorIs(t, err, pgstore.ErrReadOnly, name)
		assert.Zero(t, pool.Stat().TotalConns(), name)
	}
}

// callsOf returns the calls of a store that use the users or the shared state, and a read that finds no user on the
// standby.
func callsOf(store *pgstore.Store) map[string]func(context.Context) error {
	calls := map[string]func(context.Context) error{
		"Ping":    store.Ping,
		"Migrate": store.Migrate,
		"Check":   store.Check,
		"Count":   func(ctx context.Context) error { _, err := store.Count(ctx); return err },
		"Seed":    func(ctx context.Context) error { return store.Seed(ctx, 100) },
		"update":  func(ctx context.Context) error { _, err := store.UpdateAll(ctx, 1); return err },
		"read":    func(ctx context.Context) error { _, err := store.UsersAbove(ctx, -1, 2); return err },
		"no user": func(ctx context.Context) error { _, err := store.UsersAbove(ctx, 99, 2); return err },
	}
	if state := store.Capabilities().SharedState; state != nil {
		calls["batch"] = func(ctx context.Context) error { _, err := state.AnswerBatch(ctx, 1, 2); return err }
		calls["sync"] = func(ctx context.Context) error {
			_, err := state.Sync(ctx, points.SyncRequest{Instance: "a", InstanceID: 1, Starting: true, Interval: time.Hour})
			return err
		}
		calls["configure"] = func(ctx context.Context) error {
			_, err := state.Configure(ctx, points.ScheduleChange{Paused: new(true)})
			return err
		}
	}
	return calls
}

// balance returns a pool for the primary whose n-th connection is to the standby if toStandby holds for n.
func balance(t *testing.T, primary, standby *pgxpool.Pool) (pool *pgxpool.Pool, toStandby *chooser) {
	t.Helper()
	toStandby = &chooser{}
	toStandby.choose(func(int64) bool { return false })
	return poolWith(t, primary, func(cfg *pgxpool.Config) {
		cfg.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
			if toStandby.next() {
				other := standby.Config().ConnConfig
				conn.Host, conn.Port, conn.Password, conn.Fallbacks = other.Host, other.Port, other.Password, nil
			}
			return nil
		}
	}), toStandby
}

// A chooser numbers the connections of a pool from 1 on, and chooses those to the standby.
type chooser struct {
	mu        sync.Mutex
	toStandby func(n int64) bool
	n         int64
}

// choose sets which connections are to the standby, and restarts their numbers at 1.
func (c *chooser) choose(toStandby func(n int64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.toStandby, c.n = toStandby, 0
}

func (c *chooser) next() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.toStandby(c.n)
}

func (c *chooser) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// testLoadBalancer uses a pool some of whose connections are to the standby. All users have the points of the update 1
// on the primary, and 0 on the standby, which stays behind.
func testLoadBalancer(t *testing.T, pool, standby *pgxpool.Pool) {
	t.Helper()
	balanced, toStandby := balance(t, pool, standby)
	store := sharedStore(t, balanced, pgstore.Config{})
	require.NoError(t, store.Check(t.Context())) // the first connection is to the primary
	toStandby.choose(func(n int64) bool { return n%2 == 0 })
	for name, call := range callsOf(store) {
		refused := 0
		for range 4 {
			balanced.Reset()
			if err := call(t.Context()); err != nil {
				require.ErrorIs(t, err, pgstore.ErrReadOnly, name)
				refused++
			}
		}
		assert.True(t, refused > 0 || name == "update", name) // an update retries on another connection
		assert.Zero(t, missed(t, pool, 1), name)
	}
	for range 20 {
		balanced.Reset()
		for _, above := range []int{-1, 50, 99} {
			users, err := store.UsersAbove(t.Context(), above, 2)
			if err != nil {
				require.ErrorIs(t, err, pgstore.ErrReadOnly)
				continue
			}
			require.Len(t, users, 2, "above %d", above)
			for _, u := range users {
				assert.Equal(t, points.Draw(u.ID, 1), u.Points)
			}
		}
	}
	t.Run("one connection of an update", func(t *testing.T) { testUpdateOverStandby(t, pool, standby) })
	execSQL(t, pool, "UPDATE users SET id = id * 1000 + 1000000")
	t.Run("with gaps between the ids", func(t *testing.T) { testUpdateOverStandby(t, pool, standby) })
}

// testUpdateOverStandby makes updates that use a new connection for each transaction: one of them is to the standby, in
// each update a later one. If an update fails, it has changed nothing, and once it has its lease it succeeds.
func testUpdateOverStandby(t *testing.T, pool, standby *pgxpool.Pool) {
	t.Helper()
	balanced, toStandby := balance(t, pool, standby)
	balanced = poolWith(t, balanced, func(cfg *pgxpool.Config) { cfg.AfterRelease = func(*pgx.Conn) bool { return false } })
	store, err := pgstore.New(balanced, pgstore.Config{BatchSize: 500, Workers: 1})
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	const before = 2 // the lookup, the lease
	key := uint64(1)
	for chosen := int64(1); ; chosen++ {
		toStandby.choose(func(n int64) bool { return n == chosen })
		_, err := store.UpdateAll(t.Context(), key+1)
		if chosen <= before {
			require.ErrorIs(t, err, pgstore.ErrReadOnly, "connection %d", chosen)
		} else {
			require.NoError(t, err, "connection %d", chosen)
			key++
		}
		require.Zero(t, missed(t, pool, key), "connection %d", chosen)
		if n := toStandby.count(); n < chosen {
			require.Greater(t, n, int64(before+6), "the wait for earlier batches, the bounds of the ids, four batches")
			return
		}
	}
}
