package pgstore_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// createStandInShards creates a table, and the catalog objects with which Citus would describe it as distributed, on a
// server without Citus. The only shard is the table itself.
const createStandInShards = `
	CREATE TABLE users (
		id          bigserial   PRIMARY KEY,
		points      integer     NOT NULL DEFAULT 0,
		inserted_at timestamptz NOT NULL DEFAULT now(),
		updated_at  timestamptz NOT NULL DEFAULT now()
	) WITH (fillfactor = 45);
	CREATE INDEX ON users USING brin (points);
	SET allow_system_table_mods = on;
	CREATE TABLE pg_catalog.pg_dist_local_group AS SELECT 0 AS groupid;
	CREATE TABLE pg_catalog.pg_dist_partition AS SELECT 'users'::regclass AS logicalrelid, 'h'::"char" AS partmethod;
	CREATE TABLE pg_catalog.pg_dist_shard AS SELECT 'users'::regclass AS logicalrelid, 102008::bigint AS shardid;
	CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(regclass, anyelement) RETURNS bigint
		LANGUAGE sql AS 'SELECT shardid FROM pg_catalog.pg_dist_shard WHERE logicalrelid = $1';
	CREATE FUNCTION pg_catalog.run_command_on_shards(
		table_name regclass, command text, OUT shardid bigint, OUT success boolean, OUT result text)
		RETURNS SETOF record LANGUAGE plpgsql AS $$
		BEGIN
			shardid := 102008;
			success := true;
			EXECUTE format(command, table_name) INTO result;
			RETURN NEXT;
		END $$;
	RESET allow_system_table_mods`

// commitLock is the key of the lock under which batches of a table over shards commit.
const commitLock = "hashtextextended('users'::regclass::oid::text, 4)"

// lockCommits takes that lock until the transaction ends: with the shared function as a read of all shards does, or
// exclusively as a batch does.
func lockCommits(t *testing.T, pool *pgxpool.Pool, function string) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { tx.Rollback(context.Background()) }) //nolint:errcheck // after a test that failed
	_, err = tx.Exec(t.Context(), "SELECT "+function+"("+commitLock+")")
	require.NoError(t, err)
	return tx
}

// TestLostWorkerIsRetried has a batch that fails as Citus reports some lost workers, once.
func TestLostWorkerIsRetried(t *testing.T) {
	store, pool := openAs(t, createStandInShards, pgstore.Config{Workers: 1}, nil)
	seedShards(t, store)
	execSQL(t, pool, `CREATE SEQUENCE attempts; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('attempts') = 1 THEN RAISE 'failure on connection marked as essential' USING ERRCODE = 'XX000'; END IF;
			RETURN NULL; END $$;
		CREATE TRIGGER fail BEFORE UPDATE ON users EXECUTE FUNCTION fail()`)
	n, err := store.UpdateAll(t.Context(), 2)
	require.NoError(t, err)
	assert.EqualValues(t, 3000, n)
	assert.Zero(t, missed(t, pool, 2))
}

// seedShards fills the table with 3,000 users, which have the points of the update 1.
func seedShards(t *testing.T, store *pgstore.Store) {
	t.Helper()
	require.NoError(t, store.Seed(t.Context(), 3_000))
	_, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
}

// A read of all shards waits for a batch that commits, and a batch does not commit during such a read. A read that finds
// enough users in one shard does not wait.
func TestReadsOfShards(t *testing.T) {
	store, pool := openAs(t, createStandInShards, pgstore.Config{Workers: 1}, nil)
	seedShards(t, store)

	committing := lockCommits(t, pool, "pg_advisory_xact_lock")
	users, err := store.UsersAbove(t.Context(), 50, 2)
	require.NoError(t, err)
	assert.Len(t, users, 2)
	read := make(chan int, 1)
	go func() {
		users, err := store.UsersAbove(t.Context(), -1, 3_001)
		assert.NoError(t, err)
		read <- len(users)
	}()
	requireWaiting(t, pool, "advisory")
	require.NoError(t, committing.Commit(t.Context()))
	assert.Equal(t, 3_000, <-read)

	reading := lockCommits(t, pool, "pg_advisory_xact_lock_shared")
	updated := make(chan error, 1)
	go func() { _, err := store.UpdateAll(t.Context(), 2); updated <- err }()
	requireWaiting(t, pool, "advisory")
	assert.Equal(t, 3_000-sameDraws(3_000, 1, 2), missed(t, pool, 2), "nothing is committed")
	require.NoError(t, reading.Commit(t.Context()))
	require.NoError(t, <-updated)
	assert.Zero(t, missed(t, pool, 2))
}

// sameDraws returns how many of the users 1..n get the same points in the updates a and b.
func sameDraws(n int64, a, b uint64) (same int64) {
	for id := range n {
		if points.Draw(id+1, a) == points.Draw(id+1, b) {
			same++
		}
	}
	return same
}

// Users that are no longer in one shard are not read without the lock.
func TestReadAfterShardSplit(t *testing.T) {
	store, pool := openAs(t, createStandInShards, pgstore.Config{}, nil)
	seedShards(t, store)
	_, err := store.UsersAbove(t.Context(), 50, 2) // finds users of one shard
	require.NoError(t, err)

	execSQL(t, pool, "UPDATE pg_catalog.pg_dist_shard SET shardid = shardid + 1")
	committing := lockCommits(t, pool, "pg_advisory_xact_lock")
	read := make(chan int, 1)
	go func() {
		users, err := store.UsersAbove(t.Context(), 50, 2)
		assert.NoError(t, err)
		read <- len(users)
	}()
	requireWaiting(t, pool, "advisory")
	require.NoError(t, committing.Commit(t.Context()))
	assert.Equal(t, 2, <-read)
}

// Timeouts of a worker's sessions do not end Seed. Citus disables them if this setting is on.
func TestSeedDisablesTimeoutsOfWorkers(t *testing.T) {
	store, pool := openAs(t, createStandInShards, pgstore.Config{}, nil)
	execSQL(t, pool, `CREATE FUNCTION want_local() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('citus.propagate_set_commands', true) IS DISTINCT FROM 'local' THEN RAISE 'not local'; END IF;
			RETURN NULL; END $$;
		CREATE TRIGGER want_local BEFORE INSERT ON users EXECUTE FUNCTION want_local()`)
	require.NoError(t, store.Seed(t.Context(), 10))
}

// Reads of a table that Citus no longer distributes fail once at most.
func TestUndistributedLater(t *testing.T) {
	store, pool := openAs(t, createStandInShards, pgstore.Config{Workers: 1}, nil)
	seedShards(t, store)
	execSQL(t, pool, "DELETE FROM pg_catalog.pg_dist_partition")
	execSQL(t, pool, `CREATE OR REPLACE FUNCTION pg_catalog.get_shard_id_for_distribution_column(regclass, anyelement)
		RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
			RAISE 'relation is not distributed' USING ERRCODE = 'invalid_table_definition'; END $$`)
	_, err := store.UsersAbove(t.Context(), 50, 2)
	require.ErrorContains(t, err, "relation is not distributed")
	users, err := store.UsersAbove(t.Context(), 50, 2)
	require.NoError(t, err)
	assert.Len(t, users, 2)
}

// A table that Citus distributes under a running store has its new layout from the next update on.
func TestDistributedLater(t *testing.T) {
	setup := createStandInShards + "; UPDATE pg_catalog.pg_dist_partition SET partmethod = 'n'"
	store, pool := openAs(t, setup, pgstore.Config{Workers: 1}, nil)
	require.NoError(t, store.Seed(t.Context(), 3_000))
	execSQL(t, pool, "UPDATE pg_catalog.pg_dist_partition SET partmethod = 'h'")
	reading := lockCommits(t, pool, "pg_advisory_xact_lock_shared")
	updated := make(chan error, 1)
	go func() { _, err := store.UpdateAll(t.Context(), 2); updated <- err }()
	requireWaiting(t, pool, "advisory")
	require.NoError(t, reading.Commit(t.Context()))
	require.NoError(t, <-updated)
}

func TestCheckOfShards(t *testing.T) {
	for name, test := range map[string]struct {
		setup string
		cfg   pgstore.Config
		want  string
	}{
		"shards": {"SELECT", pgstore.Config{}, ""},
		"one shard, shared": {
			"UPDATE pg_catalog.pg_dist_partition SET partmethod = 'n'", pgstore.Config{Shared: true}, "",
		},
		"a table that Citus does not know": {"DELETE FROM pg_catalog.pg_dist_partition", pgstore.Config{}, ""},
		"shared": {
			"SELECT", pgstore.Config{Shared: true},
			"a shared state needs a table on one server, and Citus has distributed this one: " +
				"set Config.Shared to false, or undistribute the table",
		},
		"on a worker": {
			"UPDATE pg_catalog.pg_dist_local_group SET groupid = 2", pgstore.Config{},
			"Citus manages it, and this server is a worker: connect to the coordinator, because locks are local to a server",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			_, err := pool.Exec(t.Context(), createStandInShards, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			execSQL(t, pool, test.setup)
			store, err := pgstore.New(pool, test.cfg)
			require.NoError(t, err)
			if test.want == "" {
				require.NoError(t, store.Migrate(t.Context()))
				require.NoError(t, store.Check(t.Context()))
				return
			}
			require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table users: "+test.want)
			require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
			assert.Equal(t, []string{"users", "users_id_seq"}, relations(t, pool))
		})
	}
}
