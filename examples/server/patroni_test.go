//go:build linux

package main

import (
	"crypto/rand"
	"flag"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

var withPatroni = flag.Bool("patroni", false, "run TestPatroni, which takes minutes; with -short, a part of it")

// TestPatroni changes the primary of a cluster of Patroni in each way, while clients query servers that connect through
// HAProxy or to all members, with synchronous and with asynchronous replication. It logs what clients see.
func TestPatroni(t *testing.T) {
	if !*withPatroni {
		t.Skip("-patroni runs this test")
	}
	for _, synchronous := range []bool{true, false} {
		name := map[bool]string{true: "synchronous", false: "asynchronous"}[synchronous]
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !synchronous {
				t.Skip("-short: only with synchronous replication")
			}
			patroni := pgtest.NewPatroni(t, synchronous)
			t.Run("suite", func(t *testing.T) { testSuiteOnPatroni(t, patroni) })
			for _, event := range patroniEvents() {
				for _, way := range []string{"HAProxy", "all members"} {
					if testing.Short() && way != event.short {
						continue
					}
					t.Run(event.name+", "+way, func(t *testing.T) { event.test(t, patroni, synchronous, way) })
				}
			}
		})
	}
}

// testSuiteOnPatroni runs the tests of any Store and any SharedState, and the linearizability tests, through HAProxy.
func testSuiteOnPatroni(t *testing.T, patroni *pgtest.Patroni) {
	suite := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run", "Test(Store|SharedState|OneOrder|OneOrderOfServers)$",
		"github.com/pointsapp/pointsapp/pgstore")
	suite.Env = append(os.Environ(), "POINTS_TEST_DATABASE_URL="+patroni.HAProxy, "CI=true") // no skips
	output, err := suite.CombinedOutput()
	require.NoError(t, err, string(output))
	for _, name := range []string{"TestStore", "TestSharedState", "TestOneOrder", "TestOneOrderOfServers"} {
		assert.Contains(t, string(output), "--- PASS: "+name+" ")
	}
}

// A patroniEvent changes the primary.
type patroniEvent struct {
	name     string
	short    string // the way of the servers to the primary with -short
	planned  bool   // loses nothing, also with asynchronous replication
	happen   func(p *pgtest.Patroni, primary string)
	comeBack func(p *pgtest.Patroni, old string) // of the old primary; nil if it does so by itself
}

func patroniEvents() []patroniEvent {
	return []patroniEvent{
		{
			name: "switchover", short: "HAProxy", planned: true,
			happen: func(p *pgtest.Patroni, _ string) { p.Switchover() },
		},
		{
			name: "primary killed", short: "all members",
			happen: (*pgtest.Patroni).Kill, comeBack: (*pgtest.Patroni).Start,
		},
		{ // clients still reach the old primary
			name: "primary cut from the cluster", short: "HAProxy",
			happen: (*pgtest.Patroni).Partition, comeBack: (*pgtest.Patroni).Reconnect,
		},
		{
			name:   "primary cut from all",
			happen: (*pgtest.Patroni).Isolate, comeBack: (*pgtest.Patroni).Reconnect,
		},
	}
}

func (e patroniEvent) test(t *testing.T, patroni *pgtest.Patroni, synchronous bool, way string) {
	direct := patroniDatabase(t, patroni)
	options := clusterOptions{direct: direct, database: direct, args: []string{"-query-timeout=5s"}}
	if way == "HAProxy" {
		options.database = withPath(t, patroni.HAProxy, direct)
	}
	c := startCluster(t, options)
	c.untilTick()
	old := patroni.Primary()
	rewinds := patroni.Rewinds(old)
	began := time.Now()
	e.happen(patroni, old)
	patroni.AwaitPrimary(old)
	t.Logf("new primary after %v", time.Since(began).Round(100*time.Millisecond))
	c.untilUpdated()
	t.Logf("next update after %v", time.Since(began).Round(100*time.Millisecond))
	if e.comeBack != nil {
		e.comeBack(patroni, old)
	}
	patroni.AwaitHealthy()
	t.Logf("the old primary is a standby, after %d times pg_rewind", patroni.Rewinds(old)-rewinds)
	c.untilRecovered()
	lost := c.lost()
	t.Logf("committed changes that were seen, and lost: %d", lost)
	if synchronous || e.planned {
		assert.Zero(t, lost)
		c.check()
		return
	}
	// What the standby has not received is lost, and may have been seen. From now on there is one order.
	c.startOver()
	c.untilUpdated()
	c.untilUpdated()
	c.stop()
	require.NoError(t, c.history.Check())
}

// patroniDatabase creates a database and returns its connection string with all members.
func patroniDatabase(t *testing.T, patroni *pgtest.Patroni) string {
	t.Helper()
	name := "points_" + strings.ToLower(rand.Text())
	admin, err := pgx.Connect(t.Context(), patroni.MultiHost)
	require.NoError(t, err)
	defer admin.Close(t.Context())
	_, err = admin.Exec(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	u, err := url.Parse(patroni.MultiHost)
	require.NoError(t, err)
	u.Path = name
	every, one := strings.Split(u.Host, ","), *u
	one.RawQuery = "sslmode=disable"
	for _, one.Host = range every {
		require.Eventually(t, func() bool { // a standby receives it later
			conn, err := pgx.Connect(t.Context(), one.String())
			return err == nil && conn.Close(t.Context()) == nil
		}, clusterWait, 10*time.Millisecond)
	}
	return u.String() + "&connect_timeout=2"
}

// withPath returns a connection string with the database of another one.
func withPath(t *testing.T, connection, other string) string {
	t.Helper()
	u, err := url.Parse(connection)
	require.NoError(t, err)
	o, err := url.Parse(other)
	require.NoError(t, err)
	u.Path = o.Path
	return u.String() + "&connect_timeout=2"
}

// lost returns how many changes the audit has seen that the database no longer has.
func (c *cluster) lost() (n int) {
	c.t.Helper()
	rows, err := c.connect().Query(c.t.Context(), "SELECT n, at FROM audit")
	require.NoError(c.t, err)
	there := make(map[int64]time.Time)
	var key int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&key, &at}, func() error {
		there[key] = at
		return nil
	})
	require.NoError(c.t, err)
	for _, row := range c.audit.seen() {
		if at, ok := there[row.N]; !ok || !at.Equal(row.At) {
			n++
		}
	}
	return n
}

// startOver logs whether the history so far has one order, and begins a new one.
func (c *cluster) startOver() {
	t := c.t
	t.Helper()
	c.clients.stop()
	c.audit.stop()
	answered, failed, _, _ := c.history.Counts()
	t.Logf("%d answers, %d failed queries; %v; one order over the failover: %v", answered, failed, c.clients, c.history.Check())

	conn := c.connect()
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	users, minNumber := readState(t, tx)
	next := &audit{url: c.options.direct}
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT max(n) FILTER (WHERE ticks IS NOT NULL), max(n) FILTER (WHERE ticks IS NULL)
		FROM audit`).Scan(&next.lastTick, &next.lastUser))
	require.NoError(t, tx.Commit(t.Context()))
	c.history = linearizability.NewClientHistory(clusterClients, users, minNumber)
	c.history.Failed(time.Unix(0, 0)) // the first query returns the timestamp of an earlier one
	next.history, c.audit = c.history, next
	c.audit.start(t)
	c.clients = startClusterLoad(t, c.proxy, c.history)
}
