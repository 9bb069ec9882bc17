package pgstore

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// In every state, and whether the plan is generic or custom, a read looks at the table's head alone, or goes by the
// index. The states are the ones that have made a read look at every user: all points zero, a table that is half
// updated, statistics that tell of another state.
func TestReadsNeverScanTheTable(t *testing.T) {
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

	exec("ALTER TABLE users SET (autovacuum_enabled = off)") // it would freshen the statistics
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
					head := explain(t, store, mode, "SELECT", users.headQuery(2), above)
					assert.Contains(t, head, "Tid Range Scan on users")
					all := explain(t, store, mode, steer, users.allQuery(2), above)
					if version >= 160000 {
						assert.Contains(t, all, "Bitmap Index Scan on users_points_idx")
						assert.NotContains(t, all, "Seq Scan")
						assert.Less(t, pagesOf(all), 2*512+1, all) // of BRIN's ranges, of 512 pages, one or two at most
					}
					assert.NotContains(t, all, "JIT")
				})
			}
		}
	}
}

// explain returns the plan of a prepared statement that is executed after another statement, in one transaction.
func explain(t *testing.T, s *Store, mode, before, sql string, above int) string {
	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // there is nothing to lose
	for _, statement := range []string{
		"SET LOCAL plan_cache_mode = " + mode, before, "DEALLOCATE ALL", "PREPARE q (int) AS " + sql,
	} {
		_, err := tx.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err, statement)
	}
	rows, err := tx.Query(t.Context(), fmt.Sprintf("EXPLAIN (ANALYZE) EXECUTE q (%d)", above), pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return strings.Join(lines, "\n")
}

// pagesOf returns how many pages of the table an explained bitmap scan has read.
func pagesOf(plan string) int {
	pages := 0
	if match := regexp.MustCompile(`Heap Blocks:(?: exact=(\d+))?(?: lossy=(\d+))?`).FindStringSubmatch(plan); match != nil {
		for _, n := range match[1:] {
			n, _ := strconv.Atoi(n)
			pages += n
		}
	}
	return pages
}
