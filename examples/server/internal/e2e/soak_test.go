package e2e_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

var (
	soakFor  = flag.Duration("soak", 5*time.Second, "how long TestSoak runs")
	soakSeed = flag.Uint64("soak-seed", 0, "seed of TestSoak's random faults; 0 for a random one")
)

// Load, updates, faults and restarts in random order, for the duration of -soak. All answers are checked, and nothing
// may be lost or leak. docs/reliability.md has the table that it prints.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-soak %v -soak-seed %d", *soakFor, seed)
	random := rand.New(rand.NewPCG(seed, 0))

	postgres := pgtest.NewServer(t)
	s := newTestbed(t, postgres.URL, 20_000)
	faults := append(networkFaults(), databaseFaults(postgres)...)
	faults = append(faults, fault{name: "server restarted", inject: func(t *testing.T, s *testbed) func() {
		s.restart(t)
		return func() {}
	}})
	tally := make(map[string]*faultTally)
	answers := make(map[int]int)
	var atFirst, atLast footprint
	for end := time.Now().Add(*soakFor); time.Now().Before(end); {
		f := faults[random.IntN(len(faults))]
		s.prober.mark()
		undo := f.inject(t, s)
		<-time.After(time.Duration(random.Int64N(int64(2 * time.Second))))
		s.prober.addTo(answers)
		s.prober.mark()
		undo()
		if tally[f.name] == nil {
			tally[f.name] = new(faultTally)
		}
		tally[f.name].times++
		tally[f.name].worst = max(tally[f.name].worst, s.prober.recoveryTime(t))
		s.requireUpdated(t)
		s.prober.addTo(answers)
		require.Empty(t, s.prober.allViolations(), "after %q", f.name)
		s.log.clear()

		// Once each of them has had its turn, everything has its size.
		atLast = s.footprint(t)
		if len(tally) == len(faults) && atFirst.goroutines == 0 {
			atFirst = atLast
		}
	}
	s.prober.stop()
	assert.Zero(t, s.hungQueries(t))

	var report strings.Builder
	fmt.Fprintf(&report, "\n| fault | times | worst recovery |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(tally)) {
		fmt.Fprintf(&report, "| %s | %d | %v |\n", name, tally[name].times, tally[name].worst.Round(time.Millisecond))
	}
	fmt.Fprintf(&report, "\nanswers by status: %v; violations: %d\nafter warm-up: %v\nat the end:    %v\n",
		answers, len(s.prober.allViolations()), atFirst, atLast)
	t.Log(report.String())
	if atFirst.goroutines == 0 {
		return // it was too short for every fault to come
	}
	// Toxiproxy leaves a goroutine and its buffer behind now and then.
	assert.LessOrEqual(t, float64(atLast.goroutines), 1.1*float64(atFirst.goroutines)+10)
	assert.LessOrEqual(t, float64(atLast.heap), 1.1*float64(atFirst.heap)+4<<20)
	assert.LessOrEqual(t, atLast.connections, 10, "the pool's limit")
}

// A faultTally sums up what the faults of one kind did.
type faultTally struct {
	times int
	worst time.Duration
}

// A footprint is the resource usage of a server and its clients.
type footprint struct {
	goroutines  int
	heap        uint64
	connections int // to the database
	table       int64
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, heap of %.1f MB, %d connections to the database, table of %.1f MB",
		f.goroutines, float64(f.heap)/(1<<20), f.connections, float64(f.table)/(1<<20))
}

// footprint measures the resource usage. It takes the minimum of several measurements, because there is always some
// work in progress.
func (s *testbed) footprint(t *testing.T) footprint {
	t.Helper()
	f := footprint{goroutines: 1 << 30, heap: 1 << 60, connections: 1 << 30}
	conn, err := s.connection(t)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for range 5 {
		var memory runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&memory)
		var connections int
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*), pg_table_size('users')"+
			" FROM pg_stat_activity WHERE usename = $1", s.role).Scan(&connections, &f.table))
		f.goroutines = min(f.goroutines, runtime.NumGoroutine())
		f.heap = min(f.heap, memory.HeapAlloc)
		f.connections = min(f.connections, connections-1) // but this one
	}
	return f
}

// restart stops the server, as SIGTERM does, and starts another one in its place.
func (s *testbed) restart(t *testing.T) {
	t.Helper()
	assert.Zero(t, s.hungQueries(t))
	s.prober.mu.Lock()
	s.prober.stopping = time.Now()
	s.prober.mu.Unlock()
	require.NoError(t, s.stop())

	cfg := s.cfg
	cfg.Addr = config.Address(strings.TrimPrefix(s.url, "http://"))
	s.testServer = startReady(t, cfg)
	s.prober.mu.Lock()
	s.prober.stopping = time.Time{}
	s.prober.starts++
	s.prober.mu.Unlock()
}
