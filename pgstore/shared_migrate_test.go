package pgstore_test

import (
	"fmt"
	"strings"
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

// sharedStore returns a store with a shared state.
func sharedStore(tb testing.TB, pool *pgxpool.Pool, cfg pgstore.Config) *pgstore.Store {
	tb.Helper()
	cfg.Shared = true
	store, err := pgstore.New(pool, cfg)
	require.NoError(tb, err)
	return store
}

// What others have made under the names of the shared state stays as it is, and nothing else is created.
func TestSharedNamesTakenByOthers(t *testing.T) {
	for name, test := range map[string]struct{ setup, want string }{
		"a table":                   {"CREATE TABLE users_state (name text)", "the shared state needs the name public.users_state, but another TABLE has it: rename that, or choose another Config.Table"},
		"a sequence":                {"CREATE SEQUENCE users_clock", "the shared state needs the name public.users_clock, but another SEQUENCE has it: rename that, or choose another Config.Table"},
		"a view":                    {"CREATE VIEW users_bound AS SELECT 1", "the shared state needs the name public.users_bound, but another relation has it: rename that, or choose another Config.Table"},
		"a type":                    {"CREATE TYPE users_bound AS ENUM ('one')", "the shared state needs the name public.users_bound, but another type has it: rename that, or choose another Config.Table"},
		"a domain":                  {"CREATE DOMAIN users_updates AS text", "the shared state needs the name public.users_updates, but another type has it: rename that, or choose another Config.Table"},
		"a composite type":          {"CREATE TYPE users_state AS (one int)", "the shared state needs the name public.users_state, but another relation has it: rename that, or choose another Config.Table"},
		"a table with our comment":  {"CREATE TABLE users_clock (name text); COMMENT ON TABLE users_clock IS 'pointsapp/pgstore: shared state version 1'", "the shared state needs the name public.users_clock, but another TABLE has it: rename that, or choose another Config.Table"},
		"a comment like ours":       {"CREATE TABLE users_state (name text); COMMENT ON TABLE users_state IS 'pointsapp/pgstore: shared state version one'", "the shared state needs the name public.users_state, but another TABLE has it: rename that, or choose another Config.Table"},
		"a function":                {"CREATE FUNCTION users_sync(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'", "the shared state needs the name public.users_sync, but another FUNCTION has it: rename that, or choose another Config.Table"},
		"a function with our types": {"CREATE FUNCTION users_configure(boolean, bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1'", "the shared state needs the name public.users_configure, but another FUNCTION has it: rename that, or choose another Config.Table"},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, test.setup)
			before := objects(t, pool)
			store := sharedStore(t, pool, pgstore.Config{})
			require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table users: "+test.want)
			assert.Equal(t, before, objects(t, pool))

			execSQL(t, pool, ecto)
			require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
		})
	}
}

// A type that the shared state does not need stays beside it.
func TestSharedNamesBesideTypes(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "CREATE TYPE users_answer AS ENUM ('one'); CREATE TABLE users_clocks (); CREATE DOMAIN users_sync AS text")
	store := sharedStore(t, pool, pgstore.Config{})
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Check(t.Context()))
}

// The row type of a new table needs its name.
func TestMigrateWithTypeOfItsName(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "CREATE TYPE users AS ENUM ('one')")
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table users: it cannot be created, "+
		"because the type public.users has its name: rename that, or choose another Config.Table")
}

// objects returns all relations and functions in the schema public.
func objects(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	return queryOne[[]string](t, pool, "SELECT coalesce(array_agg(object ORDER BY object), '{}') FROM ("+
		"SELECT concat(oid, relname, relkind) AS object FROM pg_class WHERE relnamespace = 'public'::regnamespace"+
		" UNION ALL SELECT oid::text || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace) AS objects")
}

// Migrate changes nothing where nothing is missing, creates what is missing, and replaces a function of an earlier version.
func TestSharedMigrateIsIdempotent(t *testing.T) {
	state, pool := sharedUsers(t)
	store := sharedStore(t, pool, pgstore.Config{})
	first, err := state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	before := objects(t, pool)
	require.NoError(t, store.Migrate(t.Context()))
	assert.Equal(t, before, objects(t, pool))

	execSQL(t, pool, "CREATE OR REPLACE FUNCTION users_configure(pause boolean, new_interval bigint, OUT status text)"+
		" LANGUAGE plpgsql AS 'BEGIN status := 0; END'; DROP TABLE users_bound; DROP TABLE users_updates")
	require.EqualError(t, store.Check(t.Context()),
		`pgstore: table users: TABLE "public"."users_bound" of its shared state is missing: call Migrate, as the reference server does at its start`)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Check(t.Context()))
	_, err = state.Configure(t.Context(), points.ScheduleChange{})
	require.NoError(t, err)
	second, err := state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	assert.Equal(t, first.LastTimestamp, second.PreviousTimestamp, "the clock was kept")

	newer := "COMMENT ON TABLE users_state IS 'pointsapp/pgstore: shared state version 7';" +
		"CREATE OR REPLACE FUNCTION users_configure(pause boolean, new_interval bigint, OUT status text)" +
		" LANGUAGE plpgsql AS 'BEGIN status := 7; END'"
	execSQL(t, pool, newer)
	before = objects(t, pool)
	require.NoError(t, store.Migrate(t.Context()), "a newer version is left as it is")
	assert.Equal(t, before, objects(t, pool))

	execSQL(t, pool, "COMMENT ON TABLE users_state IS NULL")
	require.ErrorContains(t, store.Check(t.Context()), "another TABLE has it")
}

// After a restore without data, or a TRUNCATE, Migrate inserts the rows that are missing.
func TestSharedMigrateFillsEmptyTables(t *testing.T) {
	for _, table := range []string{"users_bound", "users_state"} {
		t.Run(table, func(t *testing.T) {
			state, pool := sharedUsers(t)
			store := sharedStore(t, pool, pgstore.Config{})
			first, err := state.AnswerBatch(t.Context(), 1, 2)
			require.NoError(t, err)
			execSQL(t, pool, "TRUNCATE "+table)
			_, err = state.Sync(t.Context(), points.SyncRequest{Instance: "a", Interval: 1})
			require.ErrorContains(t, err, "a table of the shared state is empty: call Migrate")
			require.EqualError(t, store.Check(t.Context()), `pgstore: table users: TABLE "public"."`+table+
				`" of its shared state is empty: call Migrate with a role that owns it`)

			require.NoError(t, store.Migrate(t.Context()))
			require.NoError(t, store.Check(t.Context()))
			ticks, err := state.Sync(t.Context(), points.SyncRequest{Instance: "a", Interval: time.Hour})
			require.NoError(t, err)
			assert.Equal(t, time.Hour, ticks.Status.Interval, "ticks go on without a start")
			assert.NotZero(t, ticks.Status.NextTick)
			second, err := state.AnswerBatch(t.Context(), 1, 2)
			require.NoError(t, err)
			assert.Equal(t, first.LastTimestamp, second.PreviousTimestamp, "the clock was kept")
			assert.GreaterOrEqual(t, queryOne[int64](t, pool, "SELECT reserved FROM users_bound"),
				second.LastTimestamp.UnixMicro())
		})
	}
}

func TestSharedStateIsMissing(t *testing.T) {
	_, pool := open(t, pgstore.Config{}, nil)
	store := sharedStore(t, pool, pgstore.Config{})
	require.EqualError(t, store.Check(t.Context()), "pgstore: table users: it has no shared state: call Migrate, as the reference server does at its start")
	_, err := store.Capabilities().SharedState.AnswerBatch(t.Context(), 1, 1)
	require.ErrorContains(t, err, "the objects of the shared state are missing")
	assert.Equal(t, []string{"users", "users_id_seq"}, relations(t, pool))
}

// The shared state stands beside a table of the user's own, whatever its types and names, and the table stays as it is.
func TestSharedStateOfOwnTable(t *testing.T) {
	for name, setup := range map[string]string{
		"the original's": ecto,
		"small integers": "CREATE TABLE users (points smallint, id int PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL," +
			" min_number int, previous text, first_page text, latest text, ids text)",
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, setup+"; INSERT INTO users (id, points, inserted_at, updated_at)"+
				" SELECT i, i % 101, '2026-01-02 03:04:05Z', '2026-02-03 04:05:06Z' FROM generate_series(1, 3000) AS i; SET TIME ZONE 'Asia/Tokyo'")
			store := sharedStore(t, pool, pgstore.Config{})
			require.NoError(t, store.Migrate(t.Context()))
			execSQL(t, pool, "UPDATE users_state SET min_number = 42")
			for _, limit := range []int{2, 3000} { // from the first pages, and from the whole table
				want, err := store.UsersAbove(t.Context(), 42, limit)
				require.NoError(t, err)
				got, err := store.Capabilities().SharedState.AnswerBatch(t.Context(), 1, limit)
				require.NoError(t, err)
				assert.ElementsMatch(t, want, got.Users)
			}
		})
	}
}

// Quoted names work everywhere, also in the bodies of the functions.
func TestSharedNamesAreQuoted(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, `CREATE SCHEMA "we""ird. s\chema"; CREATE TABLE users_state ()`)
	store := sharedStore(t, pool, pgstore.Config{Schema: `we"ird. s\chema`, Table: `us'ers"; $1 \x {clock} --`})
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 10))
	state := store.Capabilities().SharedState
	start(t, state, "a")
	_, err := state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
	_, err = state.Configure(t.Context(), points.ScheduleChange{})
	require.NoError(t, err)

	long := sharedStore(t, pool, pgstore.Config{Table: "a_name_of_51_bytes_which_is_the_longest_one_allowed"})
	require.NoError(t, long.Migrate(t.Context()))
	require.NoError(t, long.Check(t.Context()))
}

// PostgreSQL quotes the types of a function's parameters if quote_all_identifiers is set.
func TestSharedQuotedTypes(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, "ALTER DATABASE "+pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()+" SET quote_all_identifiers = on")
	pool.Reset()
	store := sharedStore(t, pool, pgstore.Config{})
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Check(t.Context()))
}

// A role that owns nothing uses the shared state with the rights that Check names.
func TestSharedRights(t *testing.T) {
	_, owner := sharedUsers(t)
	const role = "points_test_shared"
	_, _ = storeOfRole(t, owner, role, "REVOKE EXECUTE ON FUNCTION users_sync FROM PUBLIC; GRANT SELECT, UPDATE ON users TO "+role)
	cfg := owner.Config()
	cfg.ConnConfig.RuntimeParams["role"] = role
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store := sharedStore(t, pool, pgstore.Config{})

	grants := []string{
		`GRANT SELECT, UPDATE ON SEQUENCE "public"."users_clock"`,
		`GRANT SELECT, UPDATE ON TABLE "public"."users_bound"`,
		`GRANT SELECT, UPDATE ON TABLE "public"."users_state"`,
		`GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."users_servers"`,
		`GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."users_updates"`,
		`GRANT EXECUTE ON FUNCTION "public"."users_sync"(` + queryOne[string](t, owner,
			"SELECT oidvectortypes(proargtypes) FROM pg_proc WHERE proname = 'users_sync'") + `)`,
	}
	for i, grant := range grants {
		require.EqualError(t, store.Check(t.Context()),
			"pgstore: table users: the role needs rights to its shared state: "+strings.Join(grants[i:], "; "))
		execSQL(t, owner, grant+" TO "+role)
	}
	clock := queryOne[int64](t, owner, "SELECT last_value FROM users_clock")
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	assert.Equal(t, clock, queryOne[int64](t, owner, "SELECT last_value FROM users_clock"), "Check takes no timestamp")

	state := store.Capabilities().SharedState
	_, err = state.Sync(t.Context(), points.SyncRequest{
		Instance: "a", Starting: true, Interval: 1, TickNow: true,
		Update: &points.SharedUpdate{ID: 1, Instance: "a", Outcome: points.UpdateFailed},
	})
	require.NoError(t, err)
	_, err = state.Configure(t.Context(), points.ScheduleChange{})
	require.NoError(t, err)
	_, err = state.AnswerBatch(t.Context(), 1, 2)
	require.NoError(t, err)
}

// Row-level security of the shared state would make it look empty, or reject its rows.
func TestSharedRowLevelSecurity(t *testing.T) {
	for _, table := range []string{"users_bound", "users_state", "users_servers", "users_updates"} {
		t.Run(table, func(t *testing.T) {
			_, owner := sharedUsers(t)
			limited, _ := storeOfRole(t, owner, "points_test_secured", "GRANT ALL ON ALL TABLES IN SCHEMA public TO points_test_secured;"+
				" GRANT ALL ON SEQUENCE users_clock TO points_test_secured; ALTER TABLE "+table+" ENABLE ROW LEVEL SECURITY")
			require.NoError(t, limited.Check(t.Context()), "without a shared state")
			store := sharedStore(t, poolWith(t, owner, func(cfg *pgxpool.Config) {
				cfg.ConnConfig.RuntimeParams["role"] = "points_test_secured"
			}), pgstore.Config{})
			want := fmt.Sprintf(`row-level security of TABLE "public"."%s" hides rows of the shared state from the role: `+
				`ALTER TABLE "public"."%[1]s" DISABLE ROW LEVEL SECURITY, or ALTER ROLE with BYPASSRLS`, table)
			require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+want)
			require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table users: "+want)
		})
	}
}
