package bench

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

// BenchmarkWAL reports how much WAL an update of 1,000,000 users writes, in MB: without a checkpoint before it; directly
// after one, when the first change of each page writes the whole page, with each method of wal_compression; both again
// for a table whose rows are not in the order of their ids; and for an unlogged table.
func BenchmarkWAL(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes half a minute and more")
	}
	server := pgtest.NewServer(b)
	pool, err := pgxpool.New(b.Context(), server.URL)
	require.NoError(b, err)
	defer pool.Close()
	exec := func(statements ...string) {
		for _, statement := range statements {
			_, err := pool.Exec(b.Context(), statement)
			require.NoError(b, err)
		}
	}
	exec("ALTER SYSTEM SET max_wal_size = '8GB'", "ALTER SYSTEM SET checkpoint_timeout = '1h'", "SELECT pg_reload_conf()")
	likePgstores(b, pool, "users")
	users, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(b, err)
	key := uint64(0)
	update := func(store *pgstore.Store, statements ...string) (megabytes float64) {
		exec(statements...)
		before := walBytes(b, pool)
		key++
		_, err := store.UpdateAll(b.Context(), key)
		require.NoError(b, err)
		return (walBytes(b, pool) - before) / 1e6
	}
	update(users)
	update(users) // from here on, updates are alike
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(update(users), "without-checkpoint-MB")
	for _, method := range []string{"off", "pglz", "lz4", "zstd"} {
		exec("ALTER SYSTEM SET wal_compression = "+method, "SELECT pg_reload_conf()")
		pool.Reset() // new connections have it
		b.ReportMetric(update(users, "CHECKPOINT"), "checkpoint-"+method+"-MB")
	}
	shuffled, err := pgstore.New(pool, pgstore.Config{Table: "shuffled"})
	require.NoError(b, err)
	require.NoError(b, shuffled.Migrate(b.Context()))
	exec("ALTER SYSTEM RESET wal_compression", "SELECT pg_reload_conf()",
		"INSERT INTO shuffled (id) SELECT id FROM users ORDER BY hashint8(id)", "VACUUM (ANALYZE) shuffled")
	pool.Reset()
	update(shuffled)
	update(shuffled)
	b.ReportMetric(update(shuffled), "shuffled-MB")
	b.ReportMetric(update(shuffled, "CHECKPOINT"), "shuffled-checkpoint-MB")

	exec("ALTER TABLE users SET UNLOGGED")
	b.ReportMetric(update(users, "CHECKPOINT"), "unlogged-MB")
}

// walBytes returns how much WAL the server has written so far, in bytes.
func walBytes(b *testing.B, pool *pgxpool.Pool) (bytes float64) {
	b.Helper()
	require.NoError(b, pool.QueryRow(b.Context(), "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8").Scan(&bytes))
	return bytes
}
