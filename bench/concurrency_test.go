package bench

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var chart = flag.String("chart", "", "SVG `FILE` for the chart of BenchmarkConcurrency, BenchmarkShared or BenchmarkSizes")

// updating labels the engine while updates run back to back.
const updating = "updating"

// BenchmarkConcurrency measures throughput and latency by number of keep-alive connections: for fixed bytes, and for
// the engine on PostgreSQL with 1,000,000 users, idle and while updates run back to back. Each round gives every
// combination a second. It reports medians over all rounds, and plots them if -chart names a file.
func BenchmarkConcurrency(b *testing.B) {
	address := startServer(b, database(b))
	concurrency := []int{1, 3, 10, 30, 100, 300, 1000}
	if testing.Short() {
		concurrency = []int{1, 100}
	}
	rounds := map[string]map[int][]measured{fixedPath: {}, enginePath: {}, updating: {}}
	for range b.N {
		for _, n := range concurrency {
			for _, path := range []string{fixedPath, enginePath} {
				rounds[path][n] = append(rounds[path][n], load(b, address, path, n))
			}
			get(b, address, "/updates/start")
			rounds[updating][n] = append(rounds[updating][n], load(b, address, enginePath, n))
			get(b, address, "/updates/stop")
		}
	}
	curves := []curve{
		{name: "fixed bytes", color: grey},
		{name: "on PostgreSQL", color: blue},
		{name: "on PostgreSQL, all users being updated", color: orange},
	}
	b.ReportMetric(0, "ns/op")
	for _, n := range concurrency {
		for i, path := range []string{fixedPath, enginePath, updating} {
			m := medians(rounds[path][n])
			fmt.Fprintf(os.Stdout, "%4d connections, %-9s %s\n", n, path, m) // b.Log shows ten lines at most
			curves[i].points = append(curves[i].points, point{n, m})
		}
		b.ReportMetric(ratio(rounds[enginePath][n], rounds[fixedPath][n], func(m measured) float64 { return m.rate }),
			fmt.Sprintf("rate/fixed@%d", n))
	}
	if *chart != "" {
		require.NoError(b, drawLoad(*chart, connectionsAxis(), curves))
	}
}

// medians returns the median of each field.
func medians(rounds []measured) measured {
	median := func(of func(measured) float64) float64 {
		values := make([]float64, 0, len(rounds))
		for _, m := range rounds {
			values = append(values, of(m))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return measured{
		rate: median(func(m measured) float64 { return m.rate }),
		cpu:  median(func(m measured) float64 { return m.cpu }),
		p50:  median(func(m measured) float64 { return m.p50 }),
		p99:  median(func(m measured) float64 { return m.p99 }),
		max:  median(func(m measured) float64 { return m.max }),
	}
}
