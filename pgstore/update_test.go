package pgstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// drawSQL is points.Draw in SQL.
const drawSQL = "(hashint8extended(id, $1) & 9223372036854775807) % 101"

// missed returns how many users do not have the points of the update with this key, by PostgreSQL's own arithmetic.
func missed(t *testing.T, pool *pgxpool.Pool, key uint64) (n int64) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM users"+
		" WHERE points IS DISTINCT FROM "+drawSQL, int64(key)).Scan(&n))
	return n
}

func TestUpdateReachesEveryUser(t *testing.T) {
	for name, test := range map[string]struct {
		users int64
		cfg   pgstore.Config
	}{
		"a million":    {1_000_000, pgstore.Config{}},
		"one worker":   {60_000, pgstore.Config{Workers: 1, BatchSize: 7_777}},
		"small, pause": {60_000, pgstore.Config{BatchSize: 4_000, BatchDelay: time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			store, pool := seeded(t, test.cfg, test.users)
			for _, key := range []uint64{0, 1, 1<<64 - 1} {
				n, err := store.UpdateAll(t.Context(), key)
				require.NoError(t, err)
				assert.Equal(t, test.users, n)
				assert.Zero(t, missed(t, pool, key))
			}
		})
	}
}

// Updates are heap-only, so the table keeps its size.
func TestUpdatesAreHeapOnly(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{}, 60_000)
	size := func() (bytes int64) {
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT pg_relation_size('users')").Scan(&bytes))
		return bytes
	}
	const updates = 10
	var second int64
	for key := range uint64(updates) {
		_, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		if key == 1 {
			second = size()
		}
	}
	assert.LessOrEqual(t, float64(size()), 1.1*float64(second))

	pool.Reset() // a connection that ends reports what it has done
	require.Eventually(t, func() bool {
		var updated, hot int64
		err := pool.QueryRow(t.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'users'").Scan(&updated, &hot)
		return err == nil && updated == updates*60_000 && float64(hot) > 0.95*float64(updated)
	}, 10*time.Second, 20*time.Millisecond)
}

// Connections that are cut during an update cost a retry each, and nothing else.
func TestUpdateSurvivesLostConnections(t *testing.T) {
	url := pgtest.URL(t)
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store, err := pgstore.New(pool, pgstore.Config{BatchSize: 1_000, BatchDelay: 2 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 60_000))
	killer, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(killer.Close)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var cut atomic.Int64
	wg.Go(func() {
		for cut.Load() < 5 && ctx.Err() == nil {
			cut.Add(int64(cutActive(ctx, killer, "UPDATE")))
		}
	})
	defer wg.Wait()
	defer stop()
	for key := uint64(3); cut.Load() == 0; key++ { // on a busy machine an update may end before the first cut
		n, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		assert.EqualValues(t, 60_000, n)
		assert.Zero(t, missed(t, killer, key))
	}
}

// cutActive cuts the connections of the pool's database that run such a statement now, and returns how many.
func cutActive(ctx context.Context, pool *pgxpool.Pool, statement string) int {
	tag, err := pool.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"+
		" WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE $1 || ' %'", statement)
	if err != nil {
		return 0
	}
	return int(tag.RowsAffected())
}

// If the connection that holds the lease is lost, another process may update. This one stops with an error.
func TestUpdateStopsWhenItsLeaseIsLost(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000, Workers: 1}, 20_000)
	_, err := store.UpdateAll(points.WithProgress(t.Context(), func(done, _ int64) {
		if done == 1_000 { // nothing runs now, only the lease's transaction is open
			execSQL(t, pool, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"+
				" WHERE datname = current_database() AND state = 'idle in transaction'")
		}
	}), 3)
	require.ErrorContains(t, err, "its lock was lost")
	require.ErrorContains(t, err, "terminating connection due to administrator command", "it says why")
	assert.Greater(t, missed(t, pool, 3), int64(18_000), "it has stopped at once")

	n, err := store.UpdateAll(t.Context(), 4)
	require.NoError(t, err)
	assert.EqualValues(t, 20_000, n)
	assert.Zero(t, missed(t, pool, 4))
}

// One update at a time, over all processes: the second store stands for another process.
func TestOneUpdateAtATime(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000}, 20_000)
	other := otherProcess(t, pool)
	tried := false
	n, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, _ int64) {
		if tried {
			return
		}
		tried = true
		_, err := other.UpdateAll(t.Context(), 4)
		assert.ErrorIs(t, err, points.ErrUpdateRunning)
		_, err = store.UpdateAll(t.Context(), 4)
		assert.ErrorIs(t, err, points.ErrUpdateRunning)
	}), 3)
	require.NoError(t, err)
	assert.True(t, tried)
	assert.EqualValues(t, 20_000, n)
	assert.Zero(t, missed(t, pool, 3))
}

// A user whose id changes all the time is updated, too.
func TestUpdateWhileAnIDMoves(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000}, 50_000)
	var stop atomic.Bool
	moved := make(chan error, 1)
	go func() {
		for id := 40_000; ; id = -id {
			if _, err := pool.Exec(t.Context(), "UPDATE users SET id = -id WHERE id = $1", id); err != nil || stop.Load() {
				moved <- err
				return
			}
		}
	}()
	for key := range uint64(20) {
		_, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		require.Zero(t, queryOne[int](t, pool,
			"SELECT count(*) FROM users WHERE updated_at <> (SELECT max(updated_at) FROM users)"), "update %d", key)
	}
	stop.Store(true)
	require.NoError(t, <-moved)
}

// A panic of the function that progress is reported to reaches the caller of UpdateAll, and the next update succeeds.
func TestPanicOfProgress(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000}, 5_000)
	func() {
		defer func() { assert.Contains(t, recover(), "too much progress") }()
		_, err := store.UpdateAll(points.WithProgress(t.Context(), func(int64, int64) { panic("too much progress") }), 1)
		assert.NoError(t, err, "not reached")
	}()
	_, err := store.UpdateAll(t.Context(), 2)
	require.NoError(t, err)
	assert.Zero(t, missed(t, pool, 2))
}

// otherProcess returns a store of the same table on a pool of its own.
func otherProcess(t *testing.T, pool *pgxpool.Pool) *pgstore.Store {
	t.Helper()
	store, err := pgstore.New(otherPool(t, pool), pgstore.Config{})
	require.NoError(t, err)
	return store
}

// A cancelled update stops within a batch.
func TestCancelledUpdateStops(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000, Workers: 1}, 50_000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := store.UpdateAll(points.WithProgress(ctx, func(done, _ int64) {
		if done == 3_000 {
			cancel()
		}
	}), 3)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualValues(t, 3_000, n)
	assert.Greater(t, missed(t, pool, 3), int64(40_000))

	n, err = store.UpdateAll(t.Context(), 4)
	require.NoError(t, err)
	assert.EqualValues(t, 50_000, n)
	assert.Zero(t, missed(t, pool, 4))
}

// Permanent errors are not retried.
func TestUpdateFails(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{}, 1000)
	_, err := pool.Exec(t.Context(), "ALTER TABLE users DROP CONSTRAINT users_points_check; ALTER TABLE users ADD CHECK (points < 50)")
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "pgstore: updating table users: ids 1 to 1000: ")
	require.ErrorContains(t, err, "23514")

	_, err = pool.Exec(t.Context(), "DROP TABLE users")
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.EqualError(t, err, "pgstore: updating table users: there is no such table: call Migrate, as the reference server does at its start, or name another")
}

// The error of a deferred trigger, which ends the commit, is reported as it is in each query mode, even if it is the one
// that a statement of a batch uses for something else.
func TestUpdateReportsErrorOfDeferredTrigger(t *testing.T) {
	_, pool := seeded(t, pgstore.Config{}, 100)
	execSQL(t, pool, `CREATE FUNCTION divide() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 / 0; RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER divide AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION divide()`)
	for name, mode := range queryModes() {
		own := poolWith(t, pool, func(cfg *pgxpool.Config) { cfg.ConnConfig.DefaultQueryExecMode = mode })
		store, err := pgstore.New(own, pgstore.Config{})
		require.NoError(t, err)
		_, err = store.UpdateAll(t.Context(), 1)
		require.ErrorContains(t, err, "ids 1 to 100: ERROR: division by zero (SQLSTATE 22012)", name)
	}
}

// PostgreSQL ends a transaction of an update that is idle for longer than idle_in_transaction_session_timeout, as when
// this process stands still. The update retries it.
func TestUpdateRetriesIdleTransactions(t *testing.T) {
	_, pool := seeded(t, pgstore.Config{}, 100)
	for name, statement := range map[string]string{"bounds": "min(id)", "last check": "count(*) > 0"} {
		t.Run(name, func(t *testing.T) {
			slow := &delayTracer{statement: statement}
			own := poolWith(t, pool, func(cfg *pgxpool.Config) {
				cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "1000"
				cfg.ConnConfig.Tracer = slow
			})
			store, err := pgstore.New(own, pgstore.Config{})
			require.NoError(t, err)
			n, err := store.UpdateAll(t.Context(), 1)
			require.NoError(t, err)
			assert.EqualValues(t, 100, n)
			assert.True(t, slow.done.Load())
		})
	}
}

// A delayTracer waits for two seconds before the first statement that contains a text.
type delayTracer struct {
	statement string
	done      atomic.Bool
}

func (d *delayTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, d.statement) && d.done.CompareAndSwap(false, true) {
		<-time.After(2 * time.Second)
	}
	return ctx
}

func (*delayTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A batch that takes longer than RetryTimeout ends the update with an error that says what to set.
func TestUpdateNamesRetryTimeout(t *testing.T) {
	_, pool := seeded(t, pgstore.Config{}, 100)
	execSQL(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()`)
	store, err := pgstore.New(otherPool(t, pool), pgstore.Config{RetryTimeout: 3 * time.Second})
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "ids 1 to 100: ")
	require.ErrorContains(t, err, "no answer within Config.RetryTimeout (3s): raise it or lower Config.BatchSize if batches take so long")
}

// A search_path with a schema before pg_catalog does not change the points.
func TestUpdateWithOtherHash(t *testing.T) {
	_, pool := seeded(t, pgstore.Config{}, 100)
	execSQL(t, pool, `CREATE FUNCTION hashint8extended(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 7::bigint';
		CREATE FUNCTION nothing(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 8::bigint';
		CREATE OPERATOR & (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = nothing);
		CREATE OPERATOR % (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = nothing)`)
	store, err := pgstore.New(poolWith(t, pool, func(cfg *pgxpool.Config) {
		cfg.ConnConfig.RuntimeParams["search_path"] = "public, pg_catalog"
	}), pgstore.Config{})
	require.NoError(t, err)
	_, err = store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.Zero(t, missed(t, pool, 1))
}

// Sparse ids take no more batches than dense ones.
func TestSparseIDs(t *testing.T) {
	ids := make([]int64, 30_000)
	for i := range ids {
		ids[i] = int64(i) * 1_000_000_000_000
	}
	store, pool := open(t, pgstore.Config{BatchSize: 1_000, Workers: 1}, ids)
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, len(ids), n)
	assert.Zero(t, missed(t, pool, 1))
	if pgtest.Distributed() {
		return // each worker has transactions of its own
	}
	var batches int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(DISTINCT xmin::text) FROM users").Scan(&batches))
	assert.LessOrEqual(t, batches, 33)
}

func BenchmarkUpdateAll(b *testing.B) {
	const users = 1_000_000
	store, _ := seeded(b, pgstore.Config{}, users)
	for key := uint64(0); b.Loop(); key++ {
		n, err := store.UpdateAll(b.Context(), key)
		require.NoError(b, err)
		require.EqualValues(b, users, n)
	}
}

func BenchmarkUsersAbove(b *testing.B) {
	for _, users := range []int64{10_000, 1_000_000} {
		store, _ := seeded(b, pgstore.Config{}, users)
		read := func(state string) {
			for _, above := range []int{0, 50, 99, 100} {
				b.Run(fmt.Sprintf("users=%d/%s/above=%d", users, state, above), func(b *testing.B) {
					for b.Loop() {
						_, err := store.UsersAbove(b.Context(), above, 2)
						require.NoError(b, err)
					}
				})
			}
		}
		read("all zero")
		_, err := store.UpdateAll(b.Context(), 1)
		require.NoError(b, err)
		read("updated")
	}
}

// An update reports its progress after each batch. Until the end the total is an estimate by PostgreSQL's statistics.
func TestUpdateReportsProgress(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seed func(t *testing.T, store *pgstore.Store, pool *pgxpool.Pool)
		want []string
	}{
		"with fresh statistics": {
			func(t *testing.T, store *pgstore.Store, _ *pgxpool.Pool) {
				require.NoError(t, store.Seed(t.Context(), 4000))
			},
			[]string{"1000 of 4000", "3000 of 4000", "4000 of 4000", "4000 of 4000"},
		},
		"with none": {
			func(t *testing.T, _ *pgstore.Store, pool *pgxpool.Pool) {
				_, err := pool.Exec(t.Context(), "INSERT INTO users (points, inserted_at, updated_at)"+
					" SELECT 0, now(), now() FROM generate_series(1, 1500)")
				require.NoError(t, err)
			},
			[]string{"1000 of 1000", "1500 of 1500", "1500 of 1500"},
		},
		"without users": {func(*testing.T, *pgstore.Store, *pgxpool.Pool) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			store, err := pgstore.New(pool, pgstore.Config{Workers: 1})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			test.seed(t, store, pool)
			var reports []string
			_, err = store.UpdateAll(points.WithProgress(t.Context(), func(done, total int64) {
				reports = append(reports, fmt.Sprintf("%d of %d", done, total))
			}), 1)
			require.NoError(t, err)
			assert.Equal(t, test.want, reports)
		})
	}
}

// An update that pauses between two batches ends when its context does.
func TestUpdateStopsWhilePausing(t *testing.T) {
	t.Parallel()
	store, err := pgstore.New(pgtest.Pool(t), pgstore.Config{Workers: 1, BatchDelay: time.Hour})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 2000))
	ctx, cancel := context.WithCancel(t.Context())
	users, err := store.UpdateAll(points.WithProgress(ctx, func(_, _ int64) { cancel() }), 1)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualValues(t, 1000, users, "the first batch is there")
}
