package pgstore_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// ecto creates the table that the original's migration creates.
const ecto = `CREATE TABLE users (id bigserial PRIMARY KEY, points integer,
	inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL)`

func TestCheck(t *testing.T) {
	const good = "id bigint PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL"
	for name, test := range map[string]struct{ setup, want string }{
		"no table":         {"", "there is no such table: create it with Migrate, or name another"},
		"a view":           {"CREATE VIEW users AS SELECT 1 AS id", `it must be an ordinary or a partitioned table: it is a relation of kind "v" (pg_class.relkind)`},
		"no key":           {"CREATE TABLE users (id bigint NOT NULL, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range"},
		"a key of two":     {"CREATE TABLE users (id bigint, points int, PRIMARY KEY (id, points), inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range"},
		"no id":            {"CREATE TABLE users (points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "it has no column id: it needs id, points, inserted_at and updated_at"},
		"a key with more":  {"CREATE TABLE users (id bigint, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (id) INCLUDE (inserted_at))", ""},
		"no points":        {"CREATE TABLE users (" + good + ")", "it has no column points: it needs id, points, inserted_at and updated_at"},
		"points of text":   {"CREATE TABLE users (points text, " + good + ")", "column points must be of type bigint or integer or smallint: it is text"},
		"an id of text":    {"CREATE TABLE users (id text PRIMARY KEY)", "column id must be of type bigint or integer or smallint: it is text"},
		"a nullable time":  {"CREATE TABLE users (id bigint PRIMARY KEY, points int, inserted_at timestamptz, updated_at timestamptz)", "column inserted_at must be NOT NULL"},
		"points too high":  {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101"},
		"a negative":       {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (-1, 7, now(), now())", "column points must be within 0..100: user 7 has -1"},
		"a laxer rule":     {"CREATE TABLE users (points int CHECK (points >= 0), " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101"},
		"a nullable id":    {"CREATE TABLE users (id bigint UNIQUE, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id must be NOT NULL"},
		"the original's":   {ecto, ""},
		"small integers":   {"CREATE TABLE users (points smallint CHECK (points >= 0 AND points <= 100), id int PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, more text)", ""},
		"partitioned":      {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (MINVALUE) TO (50); CREATE TABLE p2 PARTITION OF users DEFAULT", ""},
		"with a child":     {"CREATE TABLE users (points int, " + good + "); CREATE TABLE more () INHERITS (users)", "other tables must not inherit from it: ids would not be unique; use partitions instead"},
		"a temporary one":  {"CREATE TEMPORARY TABLE users (points int, " + good + ")", "it must not be temporary: other connections do not see it"},
		"a btree on point": {"CREATE TABLE users (points int, " + good + "); CREATE INDEX ON users (points)", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			_, err := pool.Exec(t.Context(), test.setup)
			require.NoError(t, err)
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)

			if test.want != "" {
				require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
				return
			}
			require.NoError(t, store.Check(t.Context()))
			require.NoError(t, store.Migrate(t.Context()), "a fit table is left as it is")
			_, err = pool.Exec(t.Context(), "INSERT INTO users (id, points, inserted_at, updated_at) SELECT i, 0, now(), now() FROM generate_series(1, 100) AS i")
			require.NoError(t, err)
			n, err := store.UpdateAll(t.Context(), 5)
			require.NoError(t, err)
			assert.EqualValues(t, 100, n)
			users, err := store.UsersAbove(t.Context(), -1, 101)
			require.NoError(t, err)
			require.Len(t, users, 100)
			for _, u := range users {
				assert.Equal(t, points.Draw(u.ID, 5), u.Points)
			}
		})
	}
}

func TestCheckRights(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	_, err := pool.Exec(t.Context(), "CREATE ROLE points_test_reader; GRANT SELECT ON users TO points_test_reader")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), "DROP OWNED BY points_test_reader; DROP ROLE points_test_reader")
		assert.NoError(t, err)
	})
	cfg := pool.Config()
	cfg.ConnConfig.RuntimeParams["role"] = "points_test_reader"
	reader, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(reader.Close)
	store, err := pgstore.New(reader, pgstore.Config{})
	require.NoError(t, err)
	require.EqualError(t, store.Check(t.Context()),
		"pgstore: table users: the role needs the right to SELECT and UPDATE it: GRANT SELECT, UPDATE ON it")
}

// Names are quoted, whatever characters they have.
func TestNamesAreQuoted(t *testing.T) {
	pool := pgtest.Pool(t)
	const schema, table = `we"ird. schema`, `us'ers"; DROP TABLE x; --`
	_, err := pool.Exec(t.Context(), `CREATE SCHEMA "we""ird. schema"`)
	require.NoError(t, err)
	store, err := pgstore.New(pool, pgstore.Config{Schema: schema, Table: table})
	require.NoError(t, err)
	require.ErrorContains(t, store.Check(t.Context()), schema+"."+table)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 10))
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 10, n)
	users, err := store.UsersAbove(t.Context(), -1, 11)
	require.NoError(t, err)
	assert.Len(t, users, 10)

	missing, err := pgstore.New(pool, pgstore.Config{Schema: "none"})
	require.NoError(t, err)
	require.ErrorContains(t, missing.Migrate(t.Context()), `schema "none" does not exist`)
}
