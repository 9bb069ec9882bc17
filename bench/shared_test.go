package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// maxServers is the largest number of servers that BenchmarkShared loads together.
const maxServers = 4

// BenchmarkShared compares servers that share a state in PostgreSQL with as many servers that each have their own, with
// 100 connections to each. Each round loads 1 to 4 servers of both kinds for a second. With one server, it also loads
// both kinds while updates run back to back, and beside other clients that write to the same database. It reports
// medians over all rounds, and the longest request, and plots the rates if -chart names a file.
func BenchmarkShared(b *testing.B) {
	url := database(b)
	servers := make([]string, maxServers)
	for i := range servers {
		servers[i] = startServer(b, url)
	}
	loadOf := func(n int, path string) measured {
		return loadServers(b, servers[:n], path, connections, func() int64 {
			var cpu int64
			for _, server := range servers[:n] {
				cpu += get(b, server, "/usage")[0]
			}
			return cpu
		})
	}
	names := map[string]string{enginePath: "own state", sharedPath: "shared"}
	rounds := map[string][]measured{}
	add := func(n int, path, beside string) {
		key := fmt.Sprintf("%d %s%s", n, names[path], beside)
		rounds[key] = append(rounds[key], loadOf(n, path))
	}
	for range b.N {
		for n := 1; n <= maxServers; n++ {
			add(n, enginePath, "")
			add(n, sharedPath, "")
		}
		get(b, servers[0], "/updates/start")
		add(1, enginePath, ", updates")
		add(1, sharedPath, ", updates")
		get(b, servers[0], "/updates/stop")
		stop := startWriters(b, url)
		add(1, enginePath, ", writers")
		add(1, sharedPath, ", writers")
		stop()
	}
	keys := make([]string, 0, len(rounds))
	for key := range rounds {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		longest := slices.MaxFunc(rounds[key], func(x, y measured) int { return int(x.max - y.max) }).max
		fmt.Fprintf(os.Stdout, "%-22s %s, longest %6.1f ms\n", key, medians(rounds[key]), longest)
	}
	rate := func(m measured) float64 { return m.rate }
	p99 := func(m measured) float64 { return m.p99 }
	b.ReportMetric(0, "ns/op")
	for n := 1; n <= maxServers; n++ {
		of, to := rounds[fmt.Sprintf("%d shared", n)], rounds[fmt.Sprintf("%d own state", n)]
		b.ReportMetric(ratio(of, to, rate), fmt.Sprintf("rate/own@%d", n))
		b.ReportMetric(ratio(of, to, p99), fmt.Sprintf("p99/own@%d", n))
	}
	b.ReportMetric(ratio(rounds["1 shared, updates"], rounds["1 shared"], rate), "updating-rate/idle")
	if *chart != "" {
		curves := []curve{{name: "each with its own state", color: grey}, {name: "with a shared state", color: blue}}
		for i, path := range []string{enginePath, sharedPath} {
			for n := 1; n <= maxServers; n++ {
				curves[i].points = append(curves[i].points, point{n, medians(rounds[fmt.Sprintf("%d %s", n, names[path])])})
			}
		}
		require.NoError(b, drawLoad(*chart, serversAxis(), curves))
	}
}

// BenchmarkSharedOldSnapshot loads a server with a shared state for a second, in turn without and with a transaction
// that has held a snapshot for a minute under load.
func BenchmarkSharedOldSnapshot(b *testing.B) {
	url := database(b)
	server := startServer(b, url)
	hold := time.Minute
	if testing.Short() {
		hold = time.Second
	}
	without, held := make([]measured, 0, b.N), make([]measured, 0, b.N)
	for range b.N {
		without = append(without, load(b, server, sharedPath, connections))
		holder, err := pgx.Connect(b.Context(), url)
		require.NoError(b, err)
		_, err = holder.Exec(b.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM users LIMIT 1")
		require.NoError(b, err)
		for began := time.Now(); time.Since(began) < hold; {
			load(b, server, sharedPath, connections)
		}
		held = append(held, load(b, server, sharedPath, connections))
		require.NoError(b, holder.Close(b.Context()))
	}
	fmt.Fprintf(os.Stdout, "without %s\nheld    %s\n", medians(without), medians(held))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio(held, without, func(m measured) float64 { return m.rate }), "held-rate/without")
}

// startWriters starts 4 clients that write to a table of their own as fast as they can, one row in each transaction.
func startWriters(b *testing.B, url string) (stop func()) {
	b.Helper()
	const clients, rows = 4, 10_000
	pool, err := pgxpool.New(b.Context(), url)
	require.NoError(b, err)
	_, err = pool.Exec(b.Context(), fmt.Sprintf("CREATE TABLE IF NOT EXISTS accounts AS"+
		" SELECT id, 0 AS balance FROM generate_series(1, %d) AS id", rows))
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	var writers errgroup.Group
	for client := range clients {
		writers.Go(func() error {
			for id := client; ctx.Err() == nil; id = (id + clients) % rows {
				if _, err := pool.Exec(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = $1", id); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	return func() {
		cancel()
		require.NoError(b, writers.Wait())
		pool.Close()
	}
}
