package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

// execSQL executes a statement, or several without arguments.
func execSQL(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// queryOne returns the only column of the only row.
func queryOne[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	rows, err := pool.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return value
}

// relations returns the names of all relations in the schema public that are not indexes.
func relations(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return queryOne[[]string](t, pool, "SELECT coalesce(array_agg(relname::text ORDER BY relname), '{}') FROM pg_class"+
		" WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i'")
}

func TestMigrateConcurrently(t *testing.T) {
	pool := pgtest.Pool(t)
	const rounds = 20
	want := make([]string, 0, 2*rounds)
	for round := range rounds {
		table := fmt.Sprintf("users_%02d", round)
		want = append(want, table, table+"_id_seq")
		var wg sync.WaitGroup
		for _, schema := range []string{"", "public", "", "public"} { // which is the same table
			wg.Go(func() {
				store, err := pgstore.New(pool, pgstore.Config{Schema: schema, Table: table})
				if assert.NoError(t, err) {
					assert.NoError(t, store.Migrate(t.Context()))
				}
			})
		}
		wg.Wait()
	}
	assert.Equal(t, want, relations(t, pool))
}

func TestMigrateCreatesBRINIndexWhereItAllowsHOT(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	brin := queryOne[int](t, pool, "SELECT count(*)::int FROM pg_indexes WHERE tablename = 'users' AND indexdef LIKE '%brin%'")
	if queryOne[int](t, pool, "SELECT current_setting('server_version_num')::int") >= 160000 {
		assert.Equal(t, 1, brin, "since PostgreSQL 16 a BRIN index leaves updates heap-only")
	} else {
		assert.Zero(t, brin, "before PostgreSQL 16 a BRIN index prevents heap-only updates")
	}
}

// The version is a property of the table: it goes where the table goes, and ends with it.
func TestMigrateKeepsVersionInTableComment(t *testing.T) {
	const comment = "SELECT obj_description(to_regclass($1))"
	store, pool := open(t, pgstore.Config{}, nil)
	assert.Equal(t, "pointsapp/pgstore: schema version 1", queryOne[string](t, pool, comment, "users"))

	execSQL(t, pool, "ALTER TABLE users RENAME TO members")
	require.NoError(t, store.Migrate(t.Context()), "a new table users is created")
	assert.Equal(t, "pointsapp/pgstore: schema version 1", queryOne[string](t, pool, comment, "members"))
	assert.Equal(t, "pointsapp/pgstore: schema version 1", queryOne[string](t, pool, comment, "users"))

	execSQL(t, pool, "DROP TABLE users")
	require.NoError(t, store.Migrate(t.Context()), "it is created again")
	require.NoError(t, store.Check(t.Context()))

	execSQL(t, pool, "COMMENT ON TABLE users IS 'pointsapp/pgstore: schema version 7'")
	require.NoError(t, store.Migrate(t.Context()), "a newer version is left as it is")
	assert.Equal(t, "pointsapp/pgstore: schema version 7", queryOne[string](t, pool, comment, "users"))
}

// A table that does not fit leaves no trace. Once it is renamed, as the error advises, Migrate succeeds.
func TestMigrateAfterUnfitTable(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "CREATE TABLE users (name text)")
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.ErrorContains(t, store.Migrate(t.Context()), "it has no column id")
	assert.Equal(t, []string{"users"}, relations(t, pool))

	execSQL(t, pool, "ALTER TABLE users RENAME TO members")
	require.NoError(t, store.Migrate(t.Context()))
	assert.Equal(t, []string{"members", "users", "users_id_seq"}, relations(t, pool))
}

// Tables whose names look as if they belonged to the table are not touched.
func TestMigrateAndSeedTouchNoOtherTable(t *testing.T) {
	for _, setup := range []string{
		"", // the table is created
		ecto + "; INSERT INTO users (points, inserted_at, updated_at) SELECT 7, now(), now() FROM generate_series(1, 50)",
	} {
		pool := pgtest.Pool(t)
		execSQL(t, pool, "CREATE TABLE users_seed (email text, plan text); CREATE TABLE users_migrations (name text);"+
			"INSERT INTO users_seed VALUES ('a@example.com', 'free'); INSERT INTO users_migrations VALUES ('init');"+setup)
		store, err := pgstore.New(pool, pgstore.Config{})
		require.NoError(t, err)
		require.NoError(t, store.Migrate(t.Context()))
		require.NoError(t, store.Seed(t.Context(), 10_000))
		want := int64(10_000)
		if setup != "" {
			want = 50
		}
		assertUsers(t, store, want)
		assert.Equal(t, "a@example.com", queryOne[string](t, pool, "SELECT email FROM users_seed"))
		assert.Equal(t, "init", queryOne[string](t, pool, "SELECT name FROM users_migrations"))
	}
}

// A role that may not create, change or own anything uses a table as it is.
func TestRoleWithoutOwnership(t *testing.T) {
	_, owner := open(t, pgstore.Config{}, nil)
	store, log := storeOfRole(t, owner, "points_test_user", "GRANT SELECT, INSERT, UPDATE ON users TO points_test_user")
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 1_000))
	assert.Contains(t, log.String(), "the role does not own the table, so it cannot vacuum it")
	assertUsers(t, store, 1_000)
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 1_000, n)
	users, err := store.UsersAbove(t.Context(), 50, 2)
	require.NoError(t, err)
	assert.Len(t, users, 2)
}

// storeOfRole returns the store of the pool's database for a new role, and what the store logs.
func storeOfRole(t *testing.T, owner *pgxpool.Pool, role, grant string) (*pgstore.Store, *logBuffer) {
	t.Helper()
	execSQL(t, owner, "CREATE ROLE "+role+"; "+grant)
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role)
		assert.NoError(t, err)
	})
	cfg := owner.Config()
	cfg.ConnConfig.RuntimeParams["role"] = role
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	log := &logBuffer{}
	store, err := pgstore.New(pool, pgstore.Config{Logger: log.logger()})
	require.NoError(t, err)
	return store, log
}

// A table in a schema that the role may not use does not matter if search_path finds another one before.
func TestSchemaThatComesLater(t *testing.T) {
	owner := pgtest.Pool(t)
	execSQL(t, owner, `CREATE SCHEMA "Mine"; CREATE SCHEMA others; CREATE TABLE others.users (x int)`)
	limited, _ := storeOfRole(t, owner, "points_test_later", `GRANT ALL ON SCHEMA "Mine" TO points_test_later`)
	execSQL(t, owner, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "Mine", OTHERS', current_database()); END $$`)
	require.ErrorContains(t, limited.Migrate(t.Context()), `GRANT USAGE ON SCHEMA "others"`, "which table is meant?")

	schema := poolWith(t, owner, func(cfg *pgxpool.Config) { cfg.ConnConfig.RuntimeParams["role"] = "points_test_later" })
	explicit, err := pgstore.New(schema, pgstore.Config{Schema: "Mine"})
	require.NoError(t, err)
	require.NoError(t, explicit.Migrate(t.Context()))
	require.NoError(t, limited.Migrate(t.Context()))
	require.NoError(t, limited.Seed(t.Context(), 10))
	assertUsers(t, limited, 10)
}
