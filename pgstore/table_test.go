package pgstore_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// twoTables makes the schemas a and b, each with a table users, with 5,000 users from id 1 and from id 10,001 on.
func twoTables(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.Pool(t)
	for i, schema := range []string{"a", "b"} {
		execSQL(t, pool, "CREATE SCHEMA "+schema)
		store, err := pgstore.New(pool, pgstore.Config{Schema: schema})
		require.NoError(t, err)
		require.NoError(t, store.Migrate(t.Context()))
		execSQL(t, pool, "INSERT INTO "+schema+".users (id) SELECT $1::bigint * 10000 + i FROM generate_series(1, 5000) AS i", i)
	}
	return pool
}

// changedUsers returns how many users of a.users and of b.users have been updated.
func changedUsers(t *testing.T, pool *pgxpool.Pool) []int64 {
	t.Helper()
	return queryOne[[]int64](t, pool, "SELECT ARRAY[(SELECT count(*) FROM a.users WHERE updated_at <> inserted_at),"+
		" (SELECT count(*) FROM b.users WHERE updated_at <> inserted_at)]")
}

// An update stays with its table when search_path changes under it.
func TestUpdateWithChangingSearchPath(t *testing.T) {
	pool := twoTables(t)
	setSearchPath := func(path string) {
		execSQL(t, pool, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "+path+"', current_database()); END $$")
		pool.Reset() // new connections have it
	}
	setSearchPath("a")
	store, err := pgstore.New(pool, pgstore.Config{BatchSize: 500})
	require.NoError(t, err)
	changed := false
	n, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, _ int64) {
		if !changed {
			changed = true
			setSearchPath("b")
		}
	}), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 5_000, n)
	assert.Equal(t, []int64{5_000, 0}, changedUsers(t, pool))

	require.NoError(t, store.Check(t.Context()), "it looks the name up again")
	_, err = store.UpdateAll(t.Context(), 2)
	require.NoError(t, err)
	assert.Equal(t, []int64{5_000, 5_000}, changedUsers(t, pool))
}

// Behind a pooler that pools transactions, another client may have changed the search_path of some connections.
func TestConnectionsWithDifferentSearchPaths(t *testing.T) {
	pool := twoTables(t)
	cfg := pool.Config()
	var connections atomic.Int32
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		path := []string{"a", "b"}[connections.Add(1)%2]
		_, err := conn.Exec(ctx, "SET search_path = "+path)
		return err
	}
	cfg.MaxConns = 4
	mixed, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(mixed.Close)
	store, err := pgstore.New(mixed, pgstore.Config{BatchSize: 500})
	require.NoError(t, err)
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 5_000, n)
	changed := changedUsers(t, pool)
	assert.ElementsMatch(t, []int64{0, 5_000}, changed)

	held := make([]*pgxpool.Conn, 4)
	for i := range held { // each read uses another connection
		held[i], err = mixed.Acquire(t.Context())
		require.NoError(t, err)
		defer held[i].Release()
	}
	for _, conn := range held {
		conn.Release()
		users, err := store.UsersAbove(t.Context(), 50, 2)
		require.NoError(t, err)
		require.Len(t, users, 2)
		assert.Equal(t, changed[1] > 0, users[0].ID > 10_000, "reads and updates use the same table")
		again, err := mixed.Acquire(t.Context())
		require.NoError(t, err)
		defer again.Release()
	}
}

// A table that is replaced during an update ends it, and the next update reaches the new table.
func TestUpdateOfReplacedTable(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{BatchSize: 1_000, Workers: 1}, 5_000)
	_, err := store.UpdateAll(points.WithProgress(t.Context(), func(done, _ int64) {
		if done == 1_000 {
			execSQL(t, pool, "ALTER TABLE users RENAME TO old; CREATE TABLE users (LIKE old INCLUDING ALL);"+
				" INSERT INTO users (id) SELECT id FROM old")
		}
	}), 1)
	require.ErrorContains(t, err, "the table was renamed or replaced meanwhile")
	assert.Zero(t, queryOne[int](t, pool, "SELECT count(*)::int FROM users WHERE points <> 0"))

	n, err := store.UpdateAll(t.Context(), 2)
	require.NoError(t, err)
	assert.EqualValues(t, 5_000, n)
	assert.Zero(t, missed(t, pool, 2))
}

// An update that waited for the table's replacement does not take the new table for the old one.
func TestUpdateOfTableReplacedBeforeTheFirstBatch(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{Workers: 1}, 1_000)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "CREATE TABLE empty (LIKE users INCLUDING ALL);"+
		" ALTER TABLE users RENAME TO old; ALTER TABLE empty RENAME TO users")
	require.NoError(t, err)
	updated := make(chan error, 1)
	go func() { _, err := store.UpdateAll(t.Context(), 1); updated <- err }()
	requireWaiting(t, pool, "relation")
	require.NoError(t, tx.Commit(t.Context()))
	require.ErrorContains(t, <-updated, "the table was renamed or replaced meanwhile")
}

// No statement goes to a view, or to a temporary table that is in front in search_path.
func TestOtherRelationsAreRejected(t *testing.T) {
	for name, test := range map[string]struct{ setup, want string }{
		"view": {
			"CREATE TABLE accounts (LIKE users INCLUDING ALL); DROP TABLE users; CREATE VIEW users AS SELECT * FROM accounts",
			"its kind is view",
		},
		"parent":          {"CREATE TABLE kids () INHERITS (users)", "other tables must not inherit from it"},
		"temporary table": {"CREATE TEMPORARY TABLE users (LIKE public.users INCLUDING ALL)", "it must not be temporary"},
	} {
		t.Run(name, func(t *testing.T) {
			_, pool := seeded(t, pgstore.Config{}, 10)
			conn, err := pool.Acquire(t.Context()) // a pool with this connection only, which sees the temporary table
			require.NoError(t, err)
			defer conn.Release()
			_, err = conn.Exec(t.Context(), test.setup)
			require.NoError(t, err)
			conn.Release()
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			_, err = store.UsersAbove(t.Context(), 0, 2)
			require.ErrorContains(t, err, test.want)
			_, err = store.UpdateAll(t.Context(), 1)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, store.Seed(t.Context(), 10), test.want)
		})
	}
}

// An update does not reach a table that begins to inherit from the table while the store runs.
func TestUpdateSparesNewChild(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{}, 10)
	execSQL(t, pool, "CREATE TABLE kids () INHERITS (users); INSERT INTO kids (id, points) VALUES (7, 50)")
	_, err := store.UpdateAll(t.Context(), 1)
	require.ErrorContains(t, err, "other tables must not inherit from it")
	assert.Equal(t, 50, queryOne[int](t, pool, "SELECT points FROM kids WHERE updated_at = inserted_at"))
}

// A table that is gone is looked up again, wherever it is then.
func TestTableIsLookedUpAgain(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{}, 10)
	calls := map[string]func() error{
		"read":   func() error { _, err := store.UsersAbove(t.Context(), 50, 2); return err },
		"count":  func() error { _, err := store.Count(t.Context()); return err },
		"update": func() error { _, err := store.UpdateAll(t.Context(), 1); return err },
		"seed":   func() error { return store.Seed(t.Context(), 10) },
	}
	for name, call := range calls {
		require.NoError(t, call(), name)
		execSQL(t, pool, "ALTER TABLE users RENAME TO old")
		require.Error(t, call(), name)
		require.ErrorContains(t, call(), "there is no such table", name)
		execSQL(t, pool, "ALTER TABLE old RENAME TO users")
		require.NoError(t, call(), name)
	}
}
