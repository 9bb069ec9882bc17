package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// A strategy is a way to update all users of a table.
type strategy struct {
	name   string
	table  func(b *testing.B, pool *pgxpool.Pool, table string)
	update func(ctx context.Context, pool *pgxpool.Pool, table string, key uint64) error
}

var strategies = []strategy{
	{"seed", likeTheOriginals, byOffset},
	{"one-update-btree", likeTheOriginals, atOnce},
	{"one-update", likePgstores, atOnce},
	{"pgstore-btree", likeTheOriginals, byPgstore(2)},
	{"pgstore-1-worker", likePgstores, byPgstore(1)},
	{"pgstore-2-workers", likePgstores, byPgstore(2)},
	{"pgstore-4-workers", likePgstores, byPgstore(4)},
}

// BenchmarkUpdate compares ways to update 1,000,000 users, in rounds, each on its own table: the original's (pages by
// OFFSET and LIMIT, btree index on points), one UPDATE on such a table, one UPDATE on pgstore's table, and pgstore's
// batches on both. It reports the median of each in seconds.
func BenchmarkUpdate(b *testing.B) {
	pool := pgtest.Pool(b)
	for _, s := range strategies {
		s.table(b, pool, s.name)
	}
	took := map[string][]float64{}
	for round := range b.N {
		for _, s := range strategies {
			began := time.Now()
			require.NoError(b, s.update(b.Context(), pool, s.name, uint64(round)))
			took[s.name] = append(took[s.name], time.Since(began).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, s := range strategies {
		slices.Sort(took[s.name])
		b.ReportMetric(took[s.name][len(took[s.name])/2], s.name+"-s")
	}
}

func likeTheOriginals(b *testing.B, pool *pgxpool.Pool, table string) {
	b.Helper()
	for _, statement := range []string{
		`CREATE TABLE %q (id bigserial PRIMARY KEY, points integer, inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL)`,
		`INSERT INTO %q (points, inserted_at, updated_at) SELECT 0, now(), now() FROM generate_series(1, 1000000)`,
		`CREATE INDEX ON %q (points)`,
		`VACUUM (ANALYZE) %q`,
	} {
		_, err := pool.Exec(b.Context(), fmt.Sprintf(statement, table))
		require.NoError(b, err)
	}
}

func likePgstores(b *testing.B, pool *pgxpool.Pool, table string) {
	b.Helper()
	store, err := pgstore.New(pool, pgstore.Config{Table: table})
	require.NoError(b, err)
	require.NoError(b, store.Migrate(b.Context()))
	require.NoError(b, store.Seed(b.Context(), users))
}

// byOffset updates as the original does, in pages of 10,000 users.
func byOffset(ctx context.Context, pool *pgxpool.Pool, table string, _ uint64) error {
	const page = 10_000
	for offset := 0; offset < users; offset += page {
		_, err := pool.Exec(ctx, fmt.Sprintf(`UPDATE %q SET points = floor(random() * 101), updated_at = now()
			WHERE id IN (SELECT id FROM %q OFFSET %d LIMIT %d)`, table, table, offset, page))
		if err != nil {
			return err
		}
	}
	return nil
}

func atOnce(ctx context.Context, pool *pgxpool.Pool, table string, key uint64) error {
	_, err := pool.Exec(ctx, fmt.Sprintf(`UPDATE %q SET updated_at = now(),
		points = (hashint8extended(id, %d) & 9223372036854775807) %% 101`, table, key))
	return err
}

func byPgstore(workers int) func(ctx context.Context, pool *pgxpool.Pool, table string, key uint64) error {
	return func(ctx context.Context, pool *pgxpool.Pool, table string, key uint64) error {
		cfg := pool.Config()
		cfg.MaxConns = int32(workers) + 2
		own, err := pgxpool.NewWithConfig(ctx, cfg)
		if err != nil {
			return err
		}
		defer own.Close()
		store, err := pgstore.New(own, pgstore.Config{Table: table, Workers: workers})
		if err != nil {
			return err
		}
		_, err = store.UpdateAll(ctx, key)
		return err
	}
}

// BenchmarkSixtyUpdates reports the growth of the table from 2 to 60 updates of 1,000,000 users, the share of heap-only
// updates, and the 99th percentile of reads in each state of the table, in ms.
func BenchmarkSixtyUpdates(b *testing.B) {
	if testing.Short() {
		b.Skip("sixty updates take a minute and more")
	}
	server := pgtest.NewServer(b)
	pool, err := pgxpool.New(b.Context(), server.URL)
	require.NoError(b, err)
	defer pool.Close()
	likePgstores(b, pool, "users")
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(b, err)
	size := func() (bytes float64) {
		require.NoError(b, pool.QueryRow(b.Context(), "SELECT pg_table_size('users')").Scan(&bytes))
		return bytes
	}
	reads := map[string][]float64{"all-zero": read(b, store)}
	var second float64
	for key := range uint64(60) {
		done := make(chan error)
		go func() {
			_, err := store.UpdateAll(context.Background(), key)
			done <- err
		}()
		switch {
		case key == 0:
			reads["updating-first"] = read(b, store)
		case key%6 == 0:
			reads["updating"] = append(reads["updating"], read(b, store)...)
		}
		require.NoError(b, <-done)
		switch key {
		case 0:
			reads["stale-statistics"] = read(b, store) // from when all points were 0
		case 1:
			second = size()
		}
	}
	reads["updated-60-times"] = read(b, store)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(size()/second, "size-60/size-2")
	pool.Reset() // a closed connection flushes its statistics
	var hot float64
	require.Eventually(b, func() bool {
		var updated int64
		err := pool.QueryRow(b.Context(), "SELECT n_tup_upd, n_tup_hot_upd::float / greatest(n_tup_upd, 1)"+
			" FROM pg_stat_user_tables WHERE relname = 'users'").Scan(&updated, &hot)
		return err == nil && updated == 60*users
	}, 10*time.Second, 100*time.Millisecond)
	b.ReportMetric(hot, "heap-only")
	server.Stop()
	server.Start()
	pool.Reset()
	reads["restarted"] = read(b, store)
	for state, took := range reads {
		b.ReportMetric(p99(took), state+"-p99-ms")
	}
}

// read returns the durations of 1,000 reads in ms: 250 for each of the min numbers 0, 50, 99 and 100.
func read(b *testing.B, store points.Store) (took []float64) {
	b.Helper()
	for range 250 {
		for _, above := range []int{0, 50, 99, 100} {
			began := time.Now()
			_, err := store.UsersAbove(b.Context(), above, 2)
			require.NoError(b, err)
			took = append(took, time.Since(began).Seconds()*1000)
		}
	}
	return took
}

func p99(took []float64) float64 {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// BenchmarkStores reports, by number of users, the 99th percentile of reads before and after an update, and the duration
// of an update, in ms.
func BenchmarkStores(b *testing.B) {
	onPostgres := func(b *testing.B, n int64) points.Store {
		store, err := pgstore.New(pgtest.Pool(b), pgstore.Config{})
		require.NoError(b, err)
		require.NoError(b, store.Migrate(b.Context()))
		require.NoError(b, store.Seed(b.Context(), n))
		return store
	}
	inMemory := func(b *testing.B, n int64) points.Store {
		store, err := memstore.New(int(n))
		require.NoError(b, err)
		return store
	}
	for _, kind := range []struct {
		name string
		open func(*testing.B, int64) points.Store
	}{{"pgstore", onPostgres}, {"memstore", inMemory}} {
		for _, n := range []int64{10_000, 100_000, 1_000_000, 10_000_000} {
			b.Run(fmt.Sprintf("%s/users=%d", kind.name, n), func(b *testing.B) {
				if testing.Short() && n > users {
					b.Skip("ten million users take a minute and more")
				}
				store := kind.open(b, n)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(p99(read(b, store)), "all-zero-p99-ms")
				began := time.Now()
				_, err := store.UpdateAll(b.Context(), 1)
				require.NoError(b, err)
				b.ReportMetric(time.Since(began).Seconds()*1000, "update-ms")
				b.ReportMetric(p99(read(b, store)), "updated-p99-ms")
			})
		}
	}
}

// BenchmarkSeed compares Seed with one bare INSERT of 1,000,000 users into the same table, in seconds.
func BenchmarkSeed(b *testing.B) {
	var seed, insert []float64
	for range b.N {
		pool := pgtest.Pool(b)
		for _, table := range []string{"seeded", "inserted"} {
			store, err := pgstore.New(pool, pgstore.Config{Table: table})
			require.NoError(b, err)
			require.NoError(b, store.Migrate(b.Context()))
			began := time.Now()
			if table == "seeded" {
				require.NoError(b, store.Seed(b.Context(), users))
				seed = append(seed, time.Since(began).Seconds())
				continue
			}
			_, err = pool.Exec(b.Context(), "INSERT INTO inserted (points) SELECT 0 FROM generate_series(1, 1000000)")
			require.NoError(b, err)
			insert = append(insert, time.Since(began).Seconds())
		}
	}
	slices.Sort(seed)
	slices.Sort(insert)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(seed[b.N/2], "seed-s")
	b.ReportMetric(insert[b.N/2], "insert-s")
	b.ReportMetric(seed[b.N/2]/insert[b.N/2], "seed/insert")
}
