package pgstore_test

import (
	"context"
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

// A setup is a table, and a way to it, on which the suites of storetest and the linearizability tests run.
type setup struct {
	create    string // SQL that creates the table before Migrate does
	pgBouncer bool   // connect through PgBouncer
	sharded   bool   // a shared state is refused
}

// setups returns the set-ups for the tests of every store. TestPatroni runs some of them through HAProxy.
func setups() map[string]setup {
	if pgtest.Distributed() { // and partitions, if the statement makes some
		return map[string]setup{"distributed": {sharded: true}}
	}
	return map[string]setup{
		"heap":          {},
		"16 partitions": {create: createHashPartitions(16)},
		"shards":        {create: createStandInShards, sharded: true},
		"PgBouncer":     {pgBouncer: true},
	}
}

// open returns the pool of a new database with the table.
func (s setup) open(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	pool := pgtest.Pool(tb)
	_, err := pool.Exec(tb.Context(), s.create, pgx.QueryExecModeSimpleProtocol)
	require.NoError(tb, err)
	if !s.pgBouncer {
		return pool
	}
	pooled, err := pgxpool.New(tb.Context(), pgtest.PgBouncer(tb, pool.Config().ConnString(), "")+
		"?default_query_exec_mode=exec&pool_max_conns=8")
	require.NoError(tb, err)
	tb.Cleanup(pooled.Close)
	return pooled
}

const createParent = `CREATE TABLE users (
		id          bigserial   PRIMARY KEY,
		points      integer     NOT NULL DEFAULT 0 CHECK (points BETWEEN 0 AND 100),
		inserted_at timestamptz NOT NULL DEFAULT now(),
		updated_at  timestamptz NOT NULL DEFAULT now()
	) PARTITION BY `

func createHashPartitions(n int) string {
	var sql strings.Builder
	sql.WriteString(createParent + "HASH (id);")
	for i := range n {
		fmt.Fprintf(&sql, "CREATE TABLE users_%d PARTITION OF users FOR VALUES WITH (MODULUS %d, REMAINDER %d)"+
			" WITH (fillfactor = 45);", i, n, i)
	}
	return sql.String()
}

// createRangePartitions returns SQL for partitions of size ids each, from id 1 on.
func createRangePartitions(n, size int) string {
	var sql strings.Builder
	sql.WriteString(createParent + "RANGE (id);")
	for i := range n {
		fmt.Fprintf(&sql, "CREATE TABLE users_%d PARTITION OF users FOR VALUES FROM (%d) TO (%d) WITH (fillfactor = 45);",
			i, i*size+1, (i+1)*size+1)
	}
	return sql.String()
}

// Seed, updates, their progress and reads of a partitioned table do what they do with an ordinary one.
func TestPartitions(t *testing.T) {
	const users = 20_000
	for name, create := range map[string]string{
		"hash":  createHashPartitions(16),
		"range": createRangePartitions(20, 1_000),
		"two levels": createParent + `RANGE (id);
			CREATE TABLE low PARTITION OF users FOR VALUES FROM (MINVALUE) TO (10000) PARTITION BY HASH (id);
			CREATE TABLE low_0 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 0);
			CREATE TABLE low_1 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 1);
			CREATE TABLE high PARTITION OF users DEFAULT`,
	} {
		t.Run(name, func(t *testing.T) {
			log := &logBuffer{}
			store, pool := openAs(t, create, pgstore.Config{Workers: 1, Logger: log.logger()}, nil)
			require.NoError(t, store.Seed(t.Context(), users))
			assert.Empty(t, log.String())
			assertUsers(t, store, users)
			found, err := store.UsersAbove(t.Context(), 0, 2)
			require.NoError(t, err)
			assert.Empty(t, found)

			// What autovacuum leaves: it analyzes partitions, not the table itself.
			execSQL(t, pool, "UPDATE pg_class SET reltuples = -1 WHERE oid = 'users'::regclass")
			for key := range uint64(3) {
				var totals []int64
				n, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, total int64) {
					totals = append(totals, total)
				}), key)
				require.NoError(t, err)
				assert.EqualValues(t, users, n)
				assert.Zero(t, missed(t, pool, key))
				for _, total := range totals {
					assert.EqualValues(t, users, total)
				}
			}
			for _, above := range []int{0, 50, 99} {
				found, err := store.UsersAbove(t.Context(), above, 2)
				require.NoError(t, err)
				assert.Len(t, found, 2)
			}
			found, err = store.UsersAbove(t.Context(), -1, users+1)
			require.NoError(t, err)
			assert.Len(t, found, users)
		})
	}
}

// A read looks at one partition, and not at the table, whose partitions may be thousands. It does so from the first read
// on, when a role may read the partitions.
func TestReadOfOnePartition(t *testing.T) {
	seeded, pool := openAs(t, createHashPartitions(16), pgstore.Config{}, nil)
	require.NoError(t, seeded.Seed(t.Context(), 20_000))
	_, err := seeded.UpdateAll(t.Context(), 1)
	require.NoError(t, err)

	fresh := otherProcess(t, pool)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.Background())                                         //nolint:errcheck // nothing to commit
	_, err = tx.Exec(t.Context(), "LOCK TABLE ONLY users IN ACCESS EXCLUSIVE MODE") // statements on it wait
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 10 {
		users, err := fresh.UsersAbove(ctx, 50, 2)
		require.NoError(t, err)
		require.Len(t, users, 2)
	}
}

// A partition that a read looked at may be gone, or belong to the table no longer. No read returns its users then.
func TestReadsOfPartitionsThatGo(t *testing.T) {
	const create = createParent + `RANGE (id);
		CREATE TABLE small PARTITION OF users FOR VALUES FROM (1) TO (1001);
		CREATE TABLE large PARTITION OF users FOR VALUES FROM (1001) TO (4001)`
	for name, test := range map[string]struct{ setup, sql string }{
		"detached":              {"", "ALTER TABLE users DETACH PARTITION large"},
		"detached concurrently": {"", "ALTER TABLE users DETACH PARTITION large CONCURRENTLY"},
		"dropped":               {"", "DROP TABLE large"},
		"emptied":               {"", "TRUNCATE large"},
		"replaced by a table": {
			"CREATE TABLE other (LIKE users); INSERT INTO other SELECT 5000 + i, 100, now(), now() FROM generate_series(1, 3000) AS i",
			"ALTER TABLE users DETACH PARTITION large; ALTER TABLE large RENAME TO old; ALTER TABLE other RENAME TO large",
		},
		"replaced by a table of other columns": {
			"", "DROP TABLE large; CREATE TABLE large (id text, points text)",
		},
		"its parent detached": {
			"ALTER TABLE users DETACH PARTITION large; ALTER TABLE large RENAME TO leaf;" +
				"CREATE TABLE middle PARTITION OF users FOR VALUES FROM (1001) TO (4001) PARTITION BY RANGE (id);" +
				"ALTER TABLE middle ATTACH PARTITION leaf FOR VALUES FROM (1001) TO (4001)",
			"ALTER TABLE users DETACH PARTITION middle",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, create+"; "+test.setup)
			execSQL(t, pool, "INSERT INTO users (id, points) SELECT i, i % 101 FROM generate_series(1, 4000) AS i")
			execSQL(t, pool, "ANALYZE users")
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			users, err := store.UsersAbove(t.Context(), 50, 2)
			require.NoError(t, err)
			require.Len(t, users, 2)
			require.Greater(t, users[0].ID, int64(1_000), "of the large partition")

			execSQL(t, pool, test.sql)
			for range 3 {
				users, err = store.UsersAbove(t.Context(), 50, 2)
				require.NoError(t, err)
				require.Len(t, users, 2)
				for _, u := range users {
					assert.LessOrEqual(t, u.ID, int64(1_000))
				}
			}
		})
	}
}

// A role that may read the table but not its partitions reads through the table.
func TestReadsWithoutRightsToPartitions(t *testing.T) {
	_, owner := openAs(t, createHashPartitions(3), pgstore.Config{}, nil)
	execSQL(t, owner, "INSERT INTO users (points) SELECT i % 101 FROM generate_series(1, 3000) AS i")
	store, _ := storeOfRole(t, owner, "points_test_partitions", "GRANT SELECT, UPDATE ON users TO points_test_partitions;"+
		" GRANT SELECT ON users_0 TO points_test_partitions")
	for _, sql := range []string{"SELECT", "REVOKE SELECT ON users_0 FROM points_test_partitions"} {
		execSQL(t, owner, sql)
		requireTwoReads(t, store)
	}
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 3_000, n)
}

// requireTwoReads reads twice: the second read uses what the first one has found out about the table.
func requireTwoReads(t *testing.T, store *pgstore.Store) {
	t.Helper()
	for range 2 {
		users, err := store.UsersAbove(t.Context(), 50, 2)
		require.NoError(t, err)
		assert.Len(t, users, 2)
	}
}

// Row-level security of a partition does not apply to statements on the table, so a read does not begin with that
// partition.
func TestReadsBesideRowLevelSecurityOfPartition(t *testing.T) {
	_, owner := openAs(t, createHashPartitions(1), pgstore.Config{}, nil)
	execSQL(t, owner, "INSERT INTO users (points) SELECT i % 101 FROM generate_series(1, 3000) AS i")
	execSQL(t, owner, "ALTER TABLE users_0 ENABLE ROW LEVEL SECURITY;"+
		" CREATE POLICY p ON users_0 USING (points > current_setting('app.unset')::integer)")
	store, _ := storeOfRole(t, owner, "points_test_partition_policy",
		"GRANT SELECT, UPDATE ON users, users_0 TO points_test_partition_policy")
	require.NoError(t, store.Check(t.Context()))
	requireTwoReads(t, store)
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 3_000, n)
}

// Partitions that are attached and detached during an update disturb neither it nor reads. It reaches every user that
// was there at its beginning and still is at its end.
func TestPartitionsComeAndGoDuringUpdate(t *testing.T) {
	store, pool := openAs(t, createRangePartitions(10, 1_000), pgstore.Config{BatchSize: 500, Workers: 1}, nil)
	execSQL(t, pool, "INSERT INTO users (id) SELECT generate_series(1, 10000)")
	execSQL(t, pool, "CREATE TABLE attached (LIKE users INCLUDING ALL); ALTER TABLE attached ALTER id DROP DEFAULT;"+
		" INSERT INTO attached (id) SELECT generate_series(10001, 11000)")
	changes := map[int64]string{
		2_000: "ALTER TABLE users DETACH PARTITION users_0", // updated already
		3_000: "ALTER TABLE users DETACH PARTITION users_9 CONCURRENTLY",
		4_000: "ALTER TABLE users ATTACH PARTITION attached FOR VALUES FROM (10001) TO (11001)",
		5_000: "ALTER TABLE users DETACH PARTITION users_7; ALTER TABLE users ATTACH PARTITION users_7 FOR VALUES FROM (7001) TO (8001)",
	}
	_, err := store.UpdateAll(points.WithProgress(t.Context(), func(done, _ int64) {
		if sql, ok := changes[done]; ok {
			execSQL(t, pool, sql)
			delete(changes, done)
		}
		users, err := store.UsersAbove(t.Context(), 50, 2)
		assert.NoError(t, err)
		assert.Len(t, users, 2)
	}), 1)
	require.NoError(t, err)
	assert.Empty(t, changes, "all were made")
	assert.Zero(t, queryOne[int](t, pool, "SELECT count(*)::int FROM users WHERE id <= 10000 AND points <> "+drawSQL, int64(1)))

	n, err := store.UpdateAll(t.Context(), 2)
	require.NoError(t, err)
	assert.EqualValues(t, 9_000, n)
	assert.Zero(t, missed(t, pool, 2))
}

// Foreign tables have no snapshot in common, so they cannot be a part of the table.
func TestForeignTablesAreRejected(t *testing.T) {
	for name, test := range map[string]struct{ create, want string }{
		"child": {
			"CREATE TABLE users (id bigint PRIMARY KEY, points int NOT NULL, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);" +
				" CREATE FOREIGN TABLE child () INHERITS (users) SERVER other",
			"other tables must not inherit from it: ids would not be unique; use partitions instead",
		},
		"partition": {
			"CREATE TABLE users (id bigint NOT NULL, points int NOT NULL, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL) PARTITION BY RANGE (id);" +
				" CREATE FOREIGN TABLE child PARTITION OF users FOR VALUES FROM (1) TO (10) SERVER other",
			"column id needs a primary key or a unique index on it alone: updates are by id range",
		},
		"table": {
			"CREATE FOREIGN TABLE users (id bigint NOT NULL, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL) SERVER other",
			"it must be an ordinary or a partitioned table: its kind is foreign table",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			execSQL(t, pool, "CREATE EXTENSION postgres_fdw; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw")
			execSQL(t, pool, test.create)
			store, err := pgstore.New(pool, pgstore.Config{})
			require.NoError(t, err)
			require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
			require.EqualError(t, store.Migrate(t.Context()), "pgstore: migrating table users: "+test.want)
		})
	}
}
