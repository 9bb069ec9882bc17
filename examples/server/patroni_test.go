//go:build linux

package main

import (
	"crypto/rand"
	"flag"
	"net/url"
	"os"
	"os/exec"
	"regexp"
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
		t.Skip("it starts a cluster of containers and takes minutes: run it by make ha, or with -patroni")
	}
	modes := []bool{true, false} // synchronous replication
	if testing.Short() {
		modes = modes[:1]
	}
	for _, synchronous := range modes {
		name := map[bool]string{true: "synchronous", false: "asynchronous"}[synchronous]
		t.Run(name, func(t *testing.T) {
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
	tables := "(heap|16_partitions)"
	if testing.Short() {
		tables = "heap"
	}
	tests := "Test(Store|OneOrder|SharedState|OneOrderOfServers)$/^" + tables + "$"
	suite := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=20m", "-v", "-run", tests,
		"github.com/pointsapp/pointsapp/pgstore")
	suite.Env = append(os.Environ(), "POINTS_TEST_DATABASE_URL="+patroni.HAProxy, "CI=true") // no skips
	output, err := suite.CombinedOutput()
	require.NoError(t, err, string(output))
	t.Log(strings.Join(regexp.MustCompile(`(?m)^--- .*$`).FindAllString(string(output), -1), "\n"))
	for _, name := range []string{"TestStore", "TestSharedState", "TestOneOrder", "TestOneOrderOfServers"} {
		assert.Contains(t, string(output), "--- PASS: "+name+"/heap ")
	}
}

// A patroniEvent changes the primary.
type patroniEvent struct {
	name         string
	short        string // the way of the servers to the primary with -short
	planned      bool   // loses nothing, also with asynchronous replication
	happen       func(p *pgtest.Patroni, primary string)
	comeBack     func(p *pgtest.Patroni, old string) // of the old primary; nil if it does so by itself
	twoPrimaries bool                                // until the old one comes back
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
		{
			name: "Patroni hangs", twoPrimaries: true,
			happen: (*pgtest.Patroni).Hang, comeBack: (*pgtest.Patroni).Resume,
		},
	}
}

func (e patroniEvent) test(t *testing.T, patroni *pgtest.Patroni, synchronous bool, way string) {
	old := patroni.Primary()
	connection := patroni.MultiHost(old) // which is the worst order
	if way == "HAProxy" {
		connection = patroni.HAProxy
	}
	options := clusterOptions{direct: patroniDatabase(t, patroni, connection), args: []string{"-query-timeout=5s"}}
	c := startCluster(t, options)
	c.untilTick()
	rewinds := patroni.Rewinds(old)
	began := time.Now()
	passed := func() time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
	e.happen(patroni, old)
	patroni.AwaitPrimary(old)
	promoted := passed()
	stays := e.twoPrimaries && way != "HAProxy" // servers stay with the old primary, and so does the audit
	if !stays {
		c.untilUpdated()
	}
	updated := passed()
	if stays && synchronous {
		// Without a standby it no longer answers, also when the servers have stopped to wait after -query-timeout. If the
		// machine is so busy that they do not reach it in time, they use the new one, which ticks.
		const longer = 8 * time.Second // than -query-timeout
		ticks := len(c.audit.ticks()) + 1
		c.until("end of the answers", func() bool {
			return c.clients.sinceAnswer() > longer || len(c.audit.ticks()) > ticks
		})
	}
	if e.comeBack != nil {
		e.comeBack(patroni, old)
	}
	if stays {
		c.untilUpdated()
		updated = passed()
	}
	patroni.AwaitHealthy()
	c.untilRecovered()
	lost := c.lost()
	t.Logf("%s: new primary after %v, next update after %v, committed changes lost: %d, runs of pg_rewind: %d; %v",
		t.Name(), promoted, updated, lost, patroni.Rewinds(old)-rewinds, c.clients)
	if synchronous || e.planned {
		assert.Zero(t, lost)
		c.check()
		return
	}
	// What the standbys did not have is lost, and clients may have seen it. From now on there is one order.
	c.startOver()
	c.untilUpdated()
	c.untilUpdated()
	c.stop()
	require.NoError(t, c.history.Check())
}

// patroniDatabase creates a database and returns its connection string.
func patroniDatabase(t *testing.T, patroni *pgtest.Patroni, connection string) string {
	t.Helper()
	name := "points_" + strings.ToLower(rand.Text())
	admin, err := pgx.Connect(t.Context(), patroni.HAProxy)
	require.NoError(t, err)
	defer admin.Close(t.Context())
	_, err = admin.Exec(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	u, err := url.Parse(patroni.MultiHost(patroni.Primary()))
	require.NoError(t, err)
	u.Path = name
	one := *u
	one.RawQuery = "sslmode=disable"
	for one.Host = range strings.SplitSeq(u.Host, ",") {
		require.Eventually(t, func() bool { // a standby receives it later
			conn, err := pgx.Connect(t.Context(), one.String())
			return err == nil && conn.Close(t.Context()) == nil
		}, clusterWait, 10*time.Millisecond)
	}
	u, err = url.Parse(connection)
	require.NoError(t, err)
	u.Path = name
	return u.String() + "&connect_timeout=2" // the server's default
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
	t.Logf("nil if the history over the failover has one order: %v", c.history.Check())

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
