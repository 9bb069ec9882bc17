package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/points"
)

// The plans of a read's statements are the same in every state of the table, whether they are generic or custom.
// The states are those in which a plan that depends on statistics reads every user: all points zero, half of the users
// updated, and statistics of an earlier state.
func TestReadPlans(t *testing.T) {
	pool := pgtest.Pool(t)
	store, err := New(pool, Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	exec := func(sql string) {
		_, err := pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	var version int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version))

	exec("ALTER TABLE users SET (autovacuum_enabled = off)") // which would update the statistics
	require.NoError(t, store.Seed(t.Context(), 200_000))
	users, err := store.table(t.Context())
	require.NoError(t, err)
	for _, state := range []struct{ name, sql string }{
		{"all zero", "SELECT"},
		{"half updated, statistics of all zero", "UPDATE users SET points = (hashint8extended(id, 1) & 9223372036854775807) % 101 WHERE id > 100000"},
		{"updated, statistics of all zero", "UPDATE users SET points = (hashint8extended(id, 1) & 9223372036854775807) % 101"},
		{"updated", "ANALYZE users"},
	} {
		exec(state.sql)
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			for _, above := range []int{0, 50, 99} {
				t.Run(fmt.Sprintf("%s/%s/above %d", state.name, mode, above), func(t *testing.T) {
					tx, err := pool.Begin(t.Context())
					require.NoError(t, err)
					defer tx.Rollback(context.Background()) //nolint:errcheck // nothing to commit

					plan, _ := explain(t, tx, mode, statement{users.pagesQuery(rowColumns, statementParams(2)), []any{above, pgtype.TID{Valid: true}, pgtype.TID{BlockNumber: pagesPerRead, Valid: true}}})
					assert.Equal(t, []string{"Tid Range Scan"}, plan.scans())

					plan, _ = explain(t, tx, mode, statement{users.sampleQuery(statementParams(2)), []any{above}})
					assert.Equal(t, []string{"Index Scan", "Index Scan", "Tid Range Scan", "Tid Range Scan"}, plan.scans())

					plan, jit := explain(t, tx, mode, statement{forceBitmapScan, nil}, statement{users.tableQuery(statementParams(2)), []any{above}})
					assert.False(t, jit)
					if version >= 160000 {
						assert.Equal(t, []string{"Bitmap Heap Scan", "Bitmap Index Scan"}, plan.scans())
						assert.Less(t, plan.Hit+plan.Read, 2*512+64.0) // at most two of the index's ranges, and the index
					}
				})
			}
		}
	}
}

// While a transaction holds an old snapshot, updates cannot prune, and the table fills with dead row versions that
// nothing but an index distinguishes from current ones. Reads access few pages in spite of that: between the updates,
// within them, when the transaction has ended, and after VACUUM.
func TestReadsBesideOldSnapshot(t *testing.T) {
	const (
		users    = 60_000
		maxPages = 256 // all that a read accesses before it reads the whole table, and the index's versions of two ids
	)
	pool := pgtest.Pool(t)
	writer, err := New(pool, Config{BatchSize: users / 8, RetryTimeout: 10 * time.Minute}) // reads hold up the batches
	require.NoError(t, err)
	require.NoError(t, writer.Migrate(t.Context()))
	require.NoError(t, writer.Seed(t.Context(), users))

	log := &statementLog{}
	cfg := pool.Config()
	cfg.ConnConfig.Tracer = log
	traced, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(traced.Close)
	reader, err := New(traced, Config{})
	require.NoError(t, err)
	_, err = reader.table(t.Context()) // the lookup is no part of a read
	require.NoError(t, err)
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	require.NoError(t, err)
	defer conn.Close(context.Background())

	read := func(state string) {
		for _, above := range []int{0, 50, 97, 99} {
			log.statements = nil
			_, err := reader.UsersAbove(t.Context(), above, 2)
			require.NoError(t, err)
			tx, err := conn.Begin(t.Context())
			require.NoError(t, err)
			pages := 0.0
			for i := range log.statements {
				plan, _ := explain(t, tx, "force_generic_plan", log.statements[:i+1]...)
				pages += plan.Hit + plan.Read
			}
			require.NoError(t, tx.Rollback(t.Context()))
			assert.LessOrEqual(t, pages, float64(maxPages), "%s, above %d: %d statements", state, above, len(log.statements))
		}
	}
	key := uint64(0)
	update := func(state string) {
		progress, proceed, result := make(chan int64), make(chan bool), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(progress)
			_, err := writer.UpdateAll(points.WithProgress(ctx, func(done, _ int64) {
				progress <- done
				<-proceed
			}), key)
			result <- err
		}()
		defer func() { // also if a read fails
			cancel()
			close(proceed)
			for range progress {
			}
		}()
		for done := range progress {
			read(fmt.Sprintf("%s, %d users of the next one updated", state, done))
			proceed <- true
		}
		require.NoError(t, <-result)
		key++
		read(state)
	}
	_, err = writer.UpdateAll(t.Context(), key) // the state before it has no users to find
	require.NoError(t, err)
	update("no snapshot held")

	holder, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "SELECT FROM users LIMIT 1") // takes the snapshot
	require.NoError(t, err)
	for i := range 8 {
		update(fmt.Sprintf("snapshot held over %d updates", i+1))
	}
	require.NoError(t, holder.Commit(t.Context()))
	read("snapshot ended")
	update("updated since the snapshot ended")
	_, err = pool.Exec(t.Context(), "VACUUM users")
	require.NoError(t, err)
	read("vacuumed")
	for range 3 {
		update("updated since VACUUM")
	}
}

// A read returns as many users as there are, up to the limit, and each of them once, wherever their rows are.
func TestReadIsExact(t *testing.T) {
	const wide = "ALTER TABLE users ADD note text; INSERT INTO users (id, note) SELECT id, repeat('x', 1500) FROM "
	for _, table := range []struct{ name, sql string }{
		{"one user", "INSERT INTO users (id) VALUES (1)"},
		{"few users", "INSERT INTO users (id) SELECT generate_series(1, 100)"},
		{"ascending ids", "INSERT INTO users (id) SELECT generate_series(1, 20000)"},
		{"descending ids", "INSERT INTO users (id) SELECT generate_series(20000, 1, -1)"},
		{"ids in no order", "INSERT INTO users (id) SELECT id FROM generate_series(1, 20000) AS id ORDER BY hashint8(id)"},
		{"sparse and negative ids", "INSERT INTO users (id) SELECT id * 1000000007 FROM generate_series(-4000::bigint, 4000) AS id"},
		{"the first ids deleted", "INSERT INTO users (id) SELECT generate_series(1, 20000); DELETE FROM users WHERE id < 19000"},
		{"the first user moved to the end", "INSERT INTO users (id) SELECT generate_series(1, 20000);" +
			"DELETE FROM users WHERE id = 1; INSERT INTO users (id) VALUES (1)"},
		{"wide rows, ranges of pages apart", wide + "generate_series(1, 900) AS id"},
		{"wide rows, overlapping ranges", wide + "generate_series(1, 180) AS id"},
		{"wide rows, overlapping ranges, descending ids", wide + "generate_series(60, 1, -1) AS id"},
		{"a unique index in place of the primary key", "ALTER TABLE users DROP CONSTRAINT users_pkey; CREATE UNIQUE INDEX ON users (id DESC);" +
			"INSERT INTO users (id) SELECT generate_series(1, 4500)"},
		{"partitions", `DROP TABLE users; CREATE TABLE users (
				id bigint PRIMARY KEY, points smallint NOT NULL DEFAULT 0, inserted_at timestamptz NOT NULL DEFAULT now(),
				updated_at timestamptz NOT NULL DEFAULT now()) PARTITION BY HASH (id);
			CREATE TABLE users_0 PARTITION OF users FOR VALUES WITH (MODULUS 3, REMAINDER 0);
			CREATE TABLE users_1 PARTITION OF users FOR VALUES WITH (MODULUS 3, REMAINDER 1);
			CREATE TABLE users_2 PARTITION OF users FOR VALUES WITH (MODULUS 3, REMAINDER 2);
			INSERT INTO users (id) SELECT generate_series(1, 30000)`},
	} {
		t.Run(table.name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			store, err := New(pool, Config{})
			require.NoError(t, err)
			require.NoError(t, store.Migrate(t.Context()))
			_, err = pool.Exec(t.Context(), table.sql+"; UPDATE users SET points = (hashint8extended(id, 1) & 9223372036854775807) % 101",
				pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
			users, err := store.table(t.Context())
			require.NoError(t, err)
			var last uint32
			require.NoError(t, pool.QueryRow(t.Context(), "SELECT max((ctid::text::point)[0])::bigint FROM users").Scan(&last))
			for _, page := range []uint32{0, last, math.MaxUint32} { // wherever an earlier read has found users
				for _, above := range []int{-1, 99} {
					for _, limit := range []int{2, 1900, 2500} {
						var want int
						require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM users WHERE points > $1", above).Scan(&want))
						users.hint.page.Store(page)
						found, err := store.UsersAbove(t.Context(), above, limit)
						require.NoError(t, err)
						requireDistinct(t, found, above)
						require.Len(t, found, min(want, limit), "page %d, above %d, limit %d", page, above, limit)
						conn, err := pool.Acquire(t.Context())
						require.NoError(t, err)
						sample, _, err := users.readSample(t.Context(), conn.Conn(), above, limit)
						conn.Release()
						require.NoError(t, err)
						requireDistinct(t, sample, above)
					}
				}
			}
		})
	}
}

func requireDistinct(t *testing.T, users []points.User, above int) {
	t.Helper()
	ids := map[int64]bool{}
	for _, u := range users {
		require.False(t, ids[u.ID], "user %d is returned twice", u.ID)
		ids[u.ID] = true
		require.Greater(t, u.Points, above)
	}
}

// A statement of a read, and its arguments.
type statement struct {
	sql  string
	args []any
}

// A statementLog records what a connection executes.
type statementLog struct{ statements []statement }

func (l *statementLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	l.statements = append(l.statements, statement{data.SQL, data.Args})
	return ctx
}

func (l *statementLog) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (l *statementLog) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (l *statementLog) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	l.statements = append(l.statements, statement{data.SQL, data.Args})
}

func (l *statementLog) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// A plan is a node of what EXPLAIN returns, with the shared buffers that it and the nodes below it accessed.
//
//nolint:tagliatelle // PostgreSQL's names
type plan struct {
	Node  string  `json:"Node Type"`
	Hit   float64 `json:"Shared Hit Blocks"`
	Read  float64 `json:"Shared Read Blocks"`
	Plans []plan
}

// scans returns the names of the nodes that access a table or an index.
func (p plan) scans() (names []string) {
	if strings.HasSuffix(p.Node, " Scan") && p.Node != "CTE Scan" && p.Node != "Subquery Scan" {
		names = append(names, p.Node)
	}
	for _, below := range p.Plans {
		names = append(names, below.scans()...)
	}
	slices.Sort(names)
	return names
}

// explain executes statements in a transaction, each as a prepared one, and returns the plan of the last one.
func explain(t *testing.T, tx pgx.Tx, mode string, statements ...statement) (root plan, jit bool) {
	t.Helper()
	exec := func(sql string) (result []byte) {
		results, err := tx.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
		require.NoError(t, err, sql)
		for _, row := range results[0].Rows {
			result = append(result, row[0]...)
		}
		return result
	}
	exec("SET LOCAL plan_cache_mode = " + mode)
	var result []byte
	for _, s := range statements {
		var args []string
		for _, arg := range s.args {
			if tid, ok := arg.(pgtype.TID); ok {
				arg = fmt.Sprintf("'(%d,%d)'", tid.BlockNumber, tid.OffsetNumber)
			}
			args = append(args, fmt.Sprint(arg))
		}
		execute := "EXECUTE q"
		if len(args) > 0 {
			execute += "(" + strings.Join(args, ", ") + ")"
		}
		exec("PREPARE q AS " + s.sql)
		result = exec("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + execute)
		exec("DEALLOCATE q")
	}
	var explained []struct {
		Plan plan
		JIT  any
	}
	require.NoError(t, json.Unmarshal(result, &explained)) //nolint:musttag // the fields have PostgreSQL's names
	require.Len(t, explained, 1)
	return explained[0].Plan, explained[0].JIT != nil
}
