package pgstore

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A shards is the layout of a table that Citus has distributed over shards on other servers. There is no snapshot of
// all of them: a statement takes a snapshot of each shard at another moment. So a read either uses one shard, or reads
// all shards while no batch can commit.
type shards struct {
	// first are the users that a read looks at first; nil if none are known. The layout of a table is looked up before
	// each update, so users that have been deleted are dropped at the next one.
	first atomic.Pointer[shardUsers]
}

// shardUsers are some users of one shard.
type shardUsers struct {
	shard int64
	ids   []int64
}

// maxShardUsers is the maximum number of ids in shardUsers: two of them have 100 points more often than not. Each one
// costs an index lookup.
const maxShardUsers = 256

// commitLock is the number of a table's lock that reads of all shards hold shared. A batch takes it exclusively as its
// last statement. Citus releases local locks only after it has committed on all workers.
const commitLock = 4

func commitLockKey(t *table) string {
	return "hashtextextended('" + strconv.FormatUint(uint64(t.oid), 10) + "', " + strconv.Itoa(commitLock) + ")"
}

// citusSettings makes Citus use one connection to each worker, which it keeps open, instead of one for each shard. It
// also lets batches run concurrently: they cannot deadlock, because no two of them have a user in common.
const citusSettings = "SELECT set_config('citus.max_adaptive_executor_pool_size', '1', true)," +
	" set_config('citus.enable_deadlock_prevention', 'off', true)"

// isDistributed reports whether Citus has distributed the table with this oid over shards. Every process must use the
// coordinator, where the advisory locks are.
func isDistributed(ctx context.Context, q querier, oid uint32) (distributed bool, err error) {
	var coordinator bool
	err = q.QueryRow(ctx, "SELECT partmethod <> 'n', (SELECT groupid = 0 FROM pg_catalog.pg_dist_local_group)"+
		" FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1::bigint::oid", int64(oid)).
		Scan(&distributed, &coordinator)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case !coordinator:
		return false, errors.New("Citus manages it, and this server is a worker: " + //nolint:staticcheck // a name
			"connect to the coordinator, because locks are local to a server")
	}
	return distributed, nil
}

// shardColumns are the columns that collect needs. They are in no outer query: Citus would materialize the subquery.
// Another statement of each read rejects a standby.
const shardColumns = fixedColumns + ", false"

// readSome looks at some users of one shard.
func (s *shards) readSome(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error) {
	first := s.first.Load()
	if first == nil {
		var err error
		if first, err = findShardUsers(ctx, conn, t); err != nil || first == nil {
			return nil, err
		}
		s.first.Store(first)
	}
	batch := &pgx.Batch{}
	batch.Queue("SELECT "+shardColumns+" FROM "+t.qualified+" WHERE id = ANY($2) AND points > $1 LIMIT "+
		strconv.Itoa(limit), min, first.ids)
	// If the shard still exists, it has not been split, so the read was of one shard.
	batch.Queue("SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_shard WHERE shardid = $1::bigint),"+failOnStandby,
		first.shard)
	users, exists, err := shardResults(conn.SendBatch(ctx, batch), limit)
	if err != nil {
		return nil, err
	}
	if !exists {
		s.first.CompareAndSwap(first, nil)
		return nil, nil
	}
	return users, nil
}

// shardResults reads and closes the results of the two queries of readSome.
func shardResults(results pgx.BatchResults, limit int) (users []points.User, exists bool, err error) {
	defer closeResults(results, &err)
	rows, err := results.Query()
	if err != nil {
		return nil, false, err
	}
	if users, _, err = collect(rows, limit); err != nil {
		return nil, false, err
	}
	err = results.QueryRow().Scan(&exists, nil)
	return users, exists, standbyError(err)
}

// findShardUsers returns users of a shard, or nil if the table is empty.
func findShardUsers(ctx context.Context, conn *pgx.Conn, t *table) (*shardUsers, error) {
	users := &shardUsers{}
	err := conn.QueryRow(ctx, `
		SELECT shard, array_agg(id::bigint) FROM (
			SELECT id, get_shard_id_for_distribution_column($1::text::regclass, id) AS shard
			FROM (SELECT id FROM `+t.qualified+` LIMIT 4 * $2::bigint) AS some_users OFFSET 0
		) AS sharded GROUP BY shard ORDER BY count(*) DESC LIMIT 1`, t.qualified, maxShardUsers).
		Scan(&users.shard, &users.ids)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // an empty table is not an error
	}
	users.ids = users.ids[:min(len(users.ids), maxShardUsers)]
	return users, err
}

// readAll reads all shards while no batch commits. Settings reach the workers only by SET LOCAL in an explicit
// transaction. If a statement fails, the pool closes the connection, because its transaction is open.
func (s *shards) readAll(
	ctx context.Context, conn *pgx.Conn, t *table, min, limit int,
) (users []points.User, err error) {
	batch := &pgx.Batch{}
	settings := []string{
		"BEGIN ISOLATION LEVEL READ COMMITTED", "SET LOCAL citus.propagate_set_commands = 'local'",
		"SET LOCAL enable_seqscan = off", "SET LOCAL enable_indexscan = off", "SET LOCAL enable_indexonlyscan = off",
		"SET LOCAL jit = off",
		citusSettings, "SELECT pg_advisory_xact_lock_shared(" + commitLockKey(t) + ")," + failOnStandby,
	}
	for _, setting := range settings {
		batch.Queue(setting)
	}
	batch.Queue("SELECT "+shardColumns+" FROM "+t.qualified+" WHERE points > $1 LIMIT "+strconv.Itoa(limit), min)
	batch.Queue("COMMIT")
	results := conn.SendBatch(ctx, batch)
	defer closeResults(results, &err)
	for range settings {
		if _, err := results.Exec(); err != nil {
			return nil, standbyError(err)
		}
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	users, _, err = collect(rows, limit)
	return users, err
}

func (s *shards) beginBatch() []step { return []step{{sql: citusSettings}} }

func (s *shards) endBatch(t *table) []step {
	return []step{{sql: "SELECT pg_advisory_xact_lock(" + commitLockKey(t) + ")"}}
}

// disableTimeouts makes Citus execute the SET LOCAL on each worker that the transaction uses.
func (s *shards) disableTimeouts() []step {
	return []step{{sql: `DO $$ BEGIN
		SET LOCAL citus.propagate_set_commands = 'local';
		SET LOCAL statement_timeout = 0;
		SET LOCAL lock_timeout = 0;
		IF current_setting('transaction_timeout', true) IS NOT NULL THEN -- since PostgreSQL 17
			SET LOCAL transaction_timeout = 0;
		END IF;
	END $$`}}
}

// estimate returns the sum of the workers' statistics of the shards.
func (s *shards) estimate(ctx context.Context, q querier, t *table) (n int64, err error) {
	err = q.QueryRow(ctx, `
		SELECT coalesce(sum(result::float8), 0)::bigint FROM run_command_on_shards($1::text::regclass, $$
		SELECT coalesce(sum(greatest(reltuples, 0)), 0) FROM pg_class
		WHERE oid = '%1$s'::regclass OR oid IN (SELECT relid FROM pg_partition_tree('%1$s') WHERE isleaf) $$) WHERE success`,
		t.qualified).Scan(&n)
	return n, err
}

func (s *shards) summarize(ctx context.Context, conn *pgx.Conn, t *table) error {
	_, err := conn.Exec(ctx, `SELECT run_command_on_shards($1::text::regclass, $$
		SELECT count(brin_summarize_new_values(indexrelid)) FROM pg_index
		JOIN pg_class ON pg_class.oid = indexrelid AND relkind = 'i' JOIN pg_am ON pg_am.oid = relam AND amname = 'brin'
		WHERE indrelid = '%1$s'::regclass OR indrelid IN (SELECT relid FROM pg_partition_tree('%1$s')) $$)`, t.qualified)
	return err
}
