package pgstore_test

import (
	"context"
	"strings"
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
	for name, test := range map[string]struct{ setup, want, warn string }{
		"no table":             {"", "there is no such table: call Migrate, as the reference server does at its start, or name another", ""},
		"a view":               {"CREATE VIEW users AS SELECT 1 AS id", `it must be an ordinary or a partitioned table: it is a relation of kind "v" (pg_class.relkind)`, ""},
		"no key":               {"CREATE TABLE users (id bigint NOT NULL, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range", ""},
		"a key of two":         {"CREATE TABLE users (id bigint, points int, PRIMARY KEY (id, points), inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range", ""},
		"no id":                {"CREATE TABLE users (points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "it has no column id: it needs id, points, inserted_at and updated_at", ""},
		"a key with more":      {"CREATE TABLE users (id bigint, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (id) INCLUDE (inserted_at))", "", ""},
		"no points":            {"CREATE TABLE users (" + good + ")", "it has no column points: it needs id, points, inserted_at and updated_at", ""},
		"points of text":       {"CREATE TABLE users (points text, " + good + ")", "column points must be of type bigint or integer or smallint: it is text", ""},
		"an id of text":        {"CREATE TABLE users (id text PRIMARY KEY)", "column id must be of type bigint or integer or smallint: it is text", ""},
		"a nullable time":      {"CREATE TABLE users (id bigint PRIMARY KEY, points int, inserted_at timestamptz, updated_at timestamptz)", "column inserted_at must be NOT NULL", ""},
		"points too high":      {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101", ""},
		"a negative":           {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (-1, 7, now(), now())", "column points must be within 0..100: user 7 has -1", ""},
		"a laxer rule":         {"CREATE TABLE users (points int CHECK (points >= 0), " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101", ""},
		"a nullable id":        {"CREATE TABLE users (id bigint UNIQUE, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id must be NOT NULL", ""},
		"the original's":       {ecto, "", ""},
		"small integers":       {"CREATE TABLE users (points smallint CHECK (points >= 0 AND points <= 100), id int PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, more text)", "", ""},
		"partitioned":          {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (MINVALUE) TO (50); CREATE TABLE p2 PARTITION OF users DEFAULT", "", ""},
		"with a child":         {"CREATE TABLE users (points int, " + good + "); CREATE TABLE more () INHERITS (users)", "other tables must not inherit from it: ids would not be unique; use partitions instead", ""},
		"a temporary one":      {"CREATE TEMPORARY TABLE users (points int, " + good + ")", "it must not be temporary: other connections do not see it", ""},
		"a btree on point":     {"CREATE TABLE users (points int, " + good + "); CREATE INDEX ON users (points)", "", "DROP INDEX users_points_idx"},
		"generated points":     {"CREATE TABLE users (points int GENERATED ALWAYS AS (7) STORED, " + good + ")", "column points must not be a generated column, because updates set it: ALTER TABLE ... ALTER points DROP EXPRESSION", ""},
		"a narrow rule":        {"CREATE TABLE users (points int CONSTRAINT few CHECK (points < 50), " + good + ")", "constraint few of users must allow all points in 0..100: it forbids 50", ""},
		"a narrow partition":   {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users (CONSTRAINT odd CHECK (points % 2 = 1)) DEFAULT", "constraint odd of p1 must allow all points in 0..100: it forbids 0", ""},
		"a rule of two":        {"CREATE TABLE users (points int, most int DEFAULT 100, CONSTRAINT two CHECK (points <= most), " + good + ")", "", "constraint two of users is on points and other columns"},
		"infinity":             {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (1, 7, now(), '-infinity')", "column updated_at must be finite: user 7 has -infinity", ""},
		"infinity, inserted":   {"CREATE TABLE users (points int CHECK (points >= 0 AND points <= 100), " + good + "); INSERT INTO users VALUES (1, 7, 'infinity', now())", "column inserted_at must be finite: user 7 has infinity", ""},
		"no identity":          {"CREATE TABLE users (points int, " + good + "); ALTER TABLE users REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE users", `updates of it fail: ERROR: cannot update table "users" because it does not have a replica identity and publishes updates (SQLSTATE 55000): To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.`, ""},
		"unique, published":    {"CREATE TABLE users (id bigint NOT NULL UNIQUE, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL); CREATE PUBLICATION p FOR TABLE users", `updates of it fail: ERROR: cannot update table "users" because it does not have a replica identity and publishes updates (SQLSTATE 55000): To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.`, ""},
		"published":            {"CREATE TABLE users (points int, " + good + "); CREATE PUBLICATION p FOR TABLE users", "", ""},
		"an instead rule":      {"CREATE TABLE users (points int, " + good + "); CREATE RULE no AS ON UPDATE TO users DO INSTEAD NOTHING", "rule no must not replace its updates: DROP RULE \"no\" ON \"public\".\"users\"", ""},
		"a rule for some":      {"CREATE TABLE users (points int, " + good + "); CREATE RULE odd AS ON UPDATE TO users WHERE OLD.id > 1000 DO INSTEAD NOTHING", "", "rule odd runs for each user at each update"},
		"a trigger":            {"CREATE TABLE users (points int, " + good + "); CREATE TRIGGER same BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "", "trigger same runs for each user at each update"},
		"another's trigger":    {"CREATE TABLE users (points int, email text, " + good + "); CREATE TRIGGER same BEFORE UPDATE OF email ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "", ""},
		"index on updated_at":  {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at) INCLUDE (updated_at)", "", "DROP INDEX i"},
		"partial index":        {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at) WHERE points > 90", "", "DROP INDEX i"},
		"expression index":     {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users ((points % 7))", "", "DROP INDEX i"},
		"a constraint's index": {"CREATE TABLE users (points int, CONSTRAINT u UNIQUE (id, points), " + good + ")", "", "ALTER TABLE users DROP CONSTRAINT u"},
		"partitioned index":    {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users DEFAULT; CREATE INDEX i ON users (points)", "", "DROP INDEX i"},
		"index on another":     {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at)", "", ""},
		"a far year":           {"CREATE TABLE users (points int, id bigint PRIMARY KEY, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL); INSERT INTO users VALUES (1, 7, '294276-12-31', now())", "column inserted_at must be within the years 1 to 9999, as in RFC 3339: user 7 has 294276-12-31 00:00:00", ""},
		"before year 1":        {"CREATE TABLE users (points int, id bigint PRIMARY KEY, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL); INSERT INTO users VALUES (1, 7, now(), '0044-03-15 BC')", "column updated_at must be within the years 1 to 9999, as in RFC 3339: user 7 has 0044-03-15 00:00:00 BC", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			_, err := pool.Exec(t.Context(), test.setup)
			require.NoError(t, err)
			log := &logBuffer{}
			store, err := pgstore.New(pool, pgstore.Config{Logger: log.logger()})
			require.NoError(t, err)

			if test.want != "" {
				require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
				return
			}
			require.NoError(t, store.Check(t.Context()))
			if test.warn == "" {
				assert.Empty(t, log.String())
			} else {
				assert.Contains(t, log.String(), test.warn)
				assert.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
			}
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

// Check changes nothing, even if a constraint calls a function that does.
func TestCheckChangesNothing(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, `CREATE TABLE seen (number int);
		CREATE FUNCTION see(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES ($1); RETURN true; END $$;
		CREATE TABLE users (id bigserial PRIMARY KEY, points int NOT NULL CHECK (see(points)), inserted_at timestamptz NOT NULL,
			updated_at timestamptz NOT NULL)`)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	assert.Zero(t, queryOne[int](t, pool, "SELECT count(*) FROM seen"))
}

// A store without a shared state needs none of its tables, even if they are locked.
func TestCheckBesideLockedServers(t *testing.T) {
	_, pool := sharedUsers(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // it ends with the connection
	_, err = tx.Exec(t.Context(), "LOCK TABLE users_servers IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
}
