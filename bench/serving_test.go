package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
)

const users = 1_000_000

// connections is the number of connections in the original's benchmark.
const connections = 100

// BenchmarkServing compares an engine on PostgreSQL with 1,000,000 users to fixed bytes, to one read per query, to
// itself during updates, and to an engine in memory. Each round loads every path for a second over the same number of
// keep-alive connections. It reports medians over all rounds.
func BenchmarkServing(b *testing.B) {
	address := startServer(b, database(b))
	rounds := map[string][]measured{}
	for range b.N {
		for _, path := range []string{fixedPath, enginePath, eachPath, memoryPath} {
			rounds[path] = append(rounds[path], load(b, address, path, connections))
		}
		get(b, address, "/updates/start")
		rounds[updating] = append(rounds[updating], load(b, address, enginePath, connections))
		get(b, address, "/updates/stop")
	}
	for _, path := range []string{fixedPath, enginePath, updating, eachPath, memoryPath} {
		fmt.Fprintf(os.Stdout, "%-9s %s\n", path, medians(rounds[path])) // b.Log shows ten lines at most
	}
	rate := func(m measured) float64 { return m.rate }
	cpu := func(m measured) float64 { return m.cpu }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio(rounds[enginePath], rounds[fixedPath], rate), "rate/fixed")
	b.ReportMetric(ratio(rounds[enginePath], rounds[fixedPath], cpu), "cpu/fixed")
	b.ReportMetric(ratio(rounds[enginePath], rounds[eachPath], rate), "rate/each")
	b.ReportMetric(ratio(rounds[updating], rounds[enginePath], rate), "updating-rate/idle")
	b.ReportMetric(ratio(rounds[updating], rounds[enginePath], func(m measured) float64 { return m.p99 }), "updating-p99/idle")
	b.ReportMetric(float64(get(b, address, "/usage")[1])/(1<<20), "MiB-resident")
}

// database returns a database with 1,000,000 users, updated once.
func database(b *testing.B) string {
	b.Helper()
	url := pgtest.URL(b)
	pool, err := pgxpool.New(b.Context(), url)
	require.NoError(b, err)
	defer pool.Close()
	store, err := pgstore.New(pool, pgstore.Config{Shared: true})
	require.NoError(b, err)
	require.NoError(b, store.Migrate(b.Context()))
	require.NoError(b, store.Seed(b.Context(), users))
	_, err = store.UpdateAll(b.Context(), 1)
	require.NoError(b, err)
	_, err = pool.Exec(b.Context(), "UPDATE users_state SET min_number = 50") // as of the engines with their own state
	require.NoError(b, err)
	return url
}

// measured holds the figures of one load.
type measured struct {
	rate          float64 // requests/s
	cpu           float64 // of the server, in µs a request
	p50, p99, max float64 // ms
}

// ratio returns the median over all rounds of one path's figure divided by another's in the same round, because the
// speed of the machine varies from round to round.
func ratio(of, to []measured, figure func(measured) float64) float64 {
	ratios := make([]float64, len(of))
	for i := range of {
		ratios[i] = figure(of[i]) / figure(to[i])
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func (m measured) String() string {
	return fmt.Sprintf("%7.0f requests/s, server %5.1f µs/request, p50 %5.2f ms, p99 %5.2f ms", m.rate, m.cpu, m.p50, m.p99)
}

// load runs a closed loop on each connection for a second and measures the server.
func load(b *testing.B, address, path string, connections int) measured {
	b.Helper()
	return loadServers(b, []string{address}, path, connections, func() int64 { return get(b, address, "/usage")[0] })
}

// loadServers is load for any servers, with that many connections to each; cpu returns their CPU time in µs.
func loadServers(b *testing.B, addresses []string, path string, connections int, cpu func() int64) measured {
	b.Helper()
	const duration = time.Second
	latencies := make([][]time.Duration, connections*len(addresses))
	var failed atomic.Pointer[error]
	before := cpu()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range latencies {
		wg.Go(func() {
			var err error
			if latencies[i], err = closedLoop(addresses[i%len(addresses)], path, began.Add(duration)); err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	after := cpu()
	if err := failed.Load(); err != nil {
		require.NoError(b, *err)
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	ms := func(percent int) float64 { return all[len(all)*percent/100].Seconds() * 1000 }
	return measured{
		rate: float64(len(all)) / took.Seconds(),
		cpu:  float64(after-before) / float64(len(all)),
		p50:  ms(50), p99: ms(99), max: all[len(all)-1].Seconds() * 1000,
	}
}

// closedLoop sends one request after the other over a connection and returns their durations.
func closedLoop(address, path string, until time.Time) (latencies []time.Duration, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\n\r\n")
	replies := bufio.NewReader(c)
	for began := time.Now(); began.Before(until); {
		if _, err := c.Write(request); err != nil {
			return nil, err
		}
		if err := discardReply(replies); err != nil {
			return nil, err
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(began))
		began = now
	}
	return latencies, nil
}

// discardReply reads a response, which must be 200 with a Content-Length.
func discardReply(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("the server answered %s", line)
		}
		if len(line) == 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && string(name) == "Content-Length" {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err := io.CopyN(io.Discard, r, int64(length))
	return err
}
