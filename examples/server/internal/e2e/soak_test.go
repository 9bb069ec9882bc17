//go:build unix

package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

var (
	soakFor  = flag.Duration("soak", 3*time.Second, "how long each part of TestSoak runs")
	soakSeed = flag.Uint64("soak-seed", 0, "seed of TestSoak's random faults; 0 for a random one")
)

// Load, updates, faults and restarts in random order, for the duration of -soak: first with one server, whose state is its
// own, and then with three that share theirs. All answers are checked, and nothing may be lost or leak.
// docs/reliability.md has the tables that it prints.
func TestSoak(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-soak %v -soak-seed %d", *soakFor, seed)
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("servers=%d", servers), func(t *testing.T) {
			s := startSoak(t, servers, rand.New(rand.NewPCG(seed, 0)))
			faults := s.faults()
			var order []int
			for end := time.Now().Add(*soakFor); time.Now().Before(end); order = order[1:] {
				if len(order) == 0 {
					order = s.random.Perm(len(faults))
				}
				s.endure(t, faults[order[0]])
				s.last = s.footprint(t)
				if len(s.tally) == len(faults) && s.first.goroutines == 0 {
					s.first = s.last // each of them has had its turn: everything has its size
				}
			}
			s.prober.stop()
			s.check(t)
		})
	}
}

// A soak is a testbed of servers that are processes of their own, and what was seen of them.
type soak struct {
	*testbed

	random      *rand.Rand
	postgres    *pgtest.Server
	processes   []*process
	proxies     []*toxiproxy.Proxy // of the processes
	chosen      *process           // the one that the next fault affects if it does not affect all
	tally       map[string]*faultTally
	answers     map[int]int // by status
	first, last footprint
}

// A faultTally sums up what the faults of one kind did.
type faultTally struct {
	times int
	worst time.Duration
}

// startSoak starts this number of servers, a proxy for each, and a prober.
func startSoak(t *testing.T, servers int, random *rand.Rand) *soak {
	t.Helper()
	postgres := pgtest.NewServer(t)
	s := &soak{
		testbed: prepareTestbed(t, postgres.URL, 20_000), random: random, postgres: postgres,
		tally: make(map[string]*faultTally), answers: make(map[int]int),
	}
	// Faults stop PostgreSQL more often than once a minute, which is how often autovacuum looks at a table.
	exec(t, s.admin, "ALTER SYSTEM SET autovacuum_naptime = '1s'", "SELECT pg_reload_conf()")
	s.cfg.Shared = servers > 1
	for i := range servers {
		cfg := s.cfg
		cfg.Instance = config.Instance(fmt.Sprintf("server-%d", i+1))
		s.proxies = append(s.proxies, connectThroughProxy(t, &cfg))
		s.processes = append(s.processes, startProcess(t, cfg))
		s.servers = append(s.servers, s.processes[i].testServer)
	}
	s.choose(0)
	s.startProber(t)
	return s
}

// choose chooses the server that the next fault affects.
func (s *soak) choose(i int) {
	s.chosen, s.testServer, s.proxy = s.processes[i], s.servers[i], s.proxies[i]
}

// faults returns faults of the network of the chosen server, of the database, and of the chosen server itself.
func (s *soak) faults() []fault {
	none := func() {}
	return slices.Concat(networkFaults(), databaseFaults(s.postgres), []fault{
		{name: "backend killed", inject: func(t *testing.T, _ *testbed) func() {
			s.killBackend(t)
			return none
		}},
		{name: "server restarted", inject: func(t *testing.T, _ *testbed) func() {
			s.end(t, syscall.SIGTERM)()
			return none
		}},
		{name: "server killed", inject: func(t *testing.T, _ *testbed) func() { return s.end(t, syscall.SIGKILL) }},
		{name: "server frozen", inject: func(t *testing.T, _ *testbed) func() { return s.freeze(t) }},
		{name: "server frozen in mid update", inject: func(t *testing.T, _ *testbed) func() { return s.freezeUpdating(t) }},
	})
}

// endure lets a fault happen for up to 2 seconds, and checks everything after it.
func (s *soak) endure(t *testing.T, f fault) {
	t.Helper()
	s.choose(s.random.IntN(len(s.processes)))
	s.prober.mark()
	undo := f.inject(t, s.testbed)
	<-time.After(time.Duration(s.random.Int64N(int64(2 * time.Second))))
	s.prober.addTo(s.answers)
	s.prober.mark()
	undo()
	if s.tally[f.name] == nil {
		s.tally[f.name] = new(faultTally)
	}
	s.tally[f.name].times++
	s.tally[f.name].worst = max(s.tally[f.name].worst, s.prober.recoveryTime(t))
	s.requireUpdated(t)
	s.prober.addTo(s.answers)
	require.NoError(t, s.prober.checkOrder(), "after %q", f.name)
	require.Empty(t, s.prober.allViolations(), "after %q", f.name)
	for _, p := range s.processes {
		p.checkLog(t)
	}
}

// check checks what is left to check at the end, and logs what happened.
func (s *soak) check(t *testing.T) {
	t.Helper()
	for _, r := range s.servers {
		assert.Zero(t, r.hungQueries(t))
	}
	require.NoError(t, s.prober.checkOrder())
	assert.Empty(t, s.prober.allViolations())
	var report strings.Builder
	fmt.Fprintf(&report, "\n| fault | times | worst recovery |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(s.tally)) {
		fmt.Fprintf(&report, "| %s | %d | %v |\n", name, s.tally[name].times, s.tally[name].worst.Round(time.Millisecond))
	}
	fmt.Fprintf(&report, "\nanswers by status: %v; violations: %d\nafter warm-up: %v\nat the end:    %v\n",
		s.answers, len(s.prober.allViolations()), s.first, s.last)
	t.Log(report.String())
	for _, p := range s.processes {
		p.end(t, syscall.SIGTERM)
		p.checkLog(t)
	}
	assert.LessOrEqual(t, s.last.connections, 10*len(s.processes), "the limit of the pools")
	if s.first.goroutines == 0 {
		return // it was too short for every fault to come
	}
	assert.LessOrEqual(t, float64(s.last.goroutines), 1.1*float64(s.first.goroutines)+10*float64(len(s.processes)))
	assert.LessOrEqual(t, s.last.heap, 1.1*s.first.heap+float64(len(s.processes)*8<<20))
	assert.LessOrEqual(t, s.last.tables, 2*s.first.tables+4<<20) // some updates that could not prune
}

// end ends the chosen server with a signal. undo starts it again.
func (s *soak) end(t *testing.T, signal syscall.Signal) (undo func()) {
	t.Helper()
	p := s.chosen
	assert.Zero(t, p.hungQueries(t))
	s.prober.setDown(p.testServer, true)
	p.end(t, signal)
	return func() {
		if !s.cfg.Shared {
			s.prober.beginOrder()
		}
		p.start(t)
		s.prober.setDown(p.testServer, false)
	}
}

// freeze stops the chosen server as a suspended machine does. undo continues it.
func (s *soak) freeze(t *testing.T) (undo func()) {
	t.Helper()
	p := s.chosen.command.Process
	require.NoError(t, p.Signal(syscall.SIGSTOP))
	return func() { require.NoError(t, p.Signal(syscall.SIGCONT)) }
}

// freezeUpdating stops a server that is updating the users. If there are others, one of them soon updates instead.
func (s *soak) freezeUpdating(t *testing.T) (undo func()) {
	t.Helper()
	i := -1
	require.Eventually(t, func() bool {
		var name string
		err := s.superuser(t).QueryRow(t.Context(), "SELECT coalesce(min(application_name), '') FROM pg_stat_activity"+
			" WHERE usename = $1 AND state = 'active' AND query LIKE 'UPDATE%'", s.role).Scan(&name)
		i = slices.IndexFunc(s.processes, func(p *process) bool { return p.name == name })
		return assert.NoError(t, err) && i >= 0
	}, patience, time.Millisecond)
	s.choose(i)
	undo = s.freeze(t)
	if len(s.servers) > 1 {
		s.testServer = s.servers[(i+1)%len(s.servers)]
		s.requireUpdated(t)
	}
	return undo
}

// killBackend kills a PostgreSQL process of the servers, and waits until PostgreSQL accepts connections. It ends all other
// connections and recovers as from a crash of the whole server.
func (s *soak) killBackend(t *testing.T) {
	t.Helper()
	_, _ = s.superuser(t).Exec(t.Context(), fmt.Sprintf(`DO $$BEGIN EXECUTE format('COPY (SELECT) TO PROGRAM %%L',
		(SELECT 'kill -KILL ' || pid FROM pg_stat_activity WHERE usename = '%s' LIMIT 1)); END$$`, s.role)) // its own backend ends, too
	require.Eventually(t, func() bool {
		conn, err := pgx.ConnectConfig(t.Context(), s.admin.Config())
		return err == nil && conn.Close(context.WithoutCancel(t.Context())) == nil
	}, patience, pollInterval)
}

// A footprint is the resource usage of all servers.
type footprint struct {
	goroutines  int
	heap        float64 // bytes at which the next garbage collection begins: about twice the live ones
	connections int     // to the database
	tables      int64   // bytes
}

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, heaps of up to %.1f MiB, %d connections to the database, tables of %.1f MiB",
		f.goroutines, f.heap/(1<<20), f.connections, float64(f.tables)/(1<<20))
}

// footprint measures the resource usage. It takes the minimum of several measurements, because there is always some
// work in progress.
func (s *soak) footprint(t *testing.T) footprint {
	t.Helper()
	f := footprint{goroutines: 1 << 30, heap: 1 << 60, connections: 1 << 30}
	conn, err := s.connection(t)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for range 5 {
		var connections int
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = $1),"+
			" (SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)",
			s.role).Scan(&connections, &f.tables))
		var goroutines, heap float64
		for _, r := range s.servers {
			metrics := string(r.get(t, "/metrics").body)
			goroutines += gauge(t, metrics, "go_goroutines")
			heap += gauge(t, metrics, "go_memstats_next_gc_bytes")
		}
		f.goroutines = min(f.goroutines, int(goroutines))
		f.heap = min(f.heap, heap)
		f.connections = min(f.connections, connections-1) // but this one
	}
	return f
}

// gauge returns the value of a metric without labels.
func gauge(t *testing.T, metrics, name string) float64 {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	require.NotNil(t, match, name)
	value, err := strconv.ParseFloat(match[1], 64)
	require.NoError(t, err)
	return value
}
