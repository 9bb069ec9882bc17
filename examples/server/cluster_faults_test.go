//go:build unix

package main

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// Whatever fails, the answers of all servers have one order, there is one tick per interval, and one update per tick.
func TestClusterFaults(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"sigterm", clusterFault(func(c *cluster) {
			for i := range c.servers {
				c.end(i, syscall.SIGTERM)
				c.start(i)
				c.awaitReady(i)
			}
		})},
		{"sigkill", clusterFault(func(c *cluster) {
			for i := range c.servers {
				c.end(i, syscall.SIGKILL)
				c.untilTick()
				c.start(i)
				c.awaitReady(i)
			}
		})},
		{"sigkill during an update", clusterFault(func(c *cluster) {
			server, unlock := c.duringUpdate()
			c.end(server, syscall.SIGKILL)
			killed := time.Now()
			unlock()
			c.untilUpdated()
			c.t.Logf("next update %v after the SIGKILL", time.Since(killed).Round(time.Millisecond))
			c.start(server)
		})},
		{"sigstop during an update", clusterFault(func(c *cluster) {
			server, unlock := c.duringUpdate()
			c.signal(server, syscall.SIGSTOP)
			stopped := time.Now()
			unlock()
			c.untilUpdated()
			c.t.Logf("next update %v after the SIGSTOP", time.Since(stopped).Round(time.Millisecond))
			c.untilAnswers(clusterServers - 1)
			const longer = 6 * time.Second // than the timeouts of servers and database
			<-time.After(longer - time.Since(stopped))
			c.signal(server, syscall.SIGCONT)
		}, "-query-timeout=2s")},
		{"sigstop during a claim", clusterFault(stopDuringClaim)},
		{"backend killed", testBackendKilled},
		{"postgres killed", testPostgresKilled},
		{"failover", testClusterFailover},
		{"pgbouncer", testClusterBehindPgBouncer},
		{"clocks apart", testClocksApart},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

// clusterFault returns a test of a fault of the servers, which have these arguments, too.
func clusterFault(inject func(*cluster), args ...string) func(*testing.T) {
	return func(t *testing.T) {
		startCluster(t, clusterOptions{args: args}).endure(inject)
	}
}

// endure lets a fault happen, and checks the cluster.
func (c *cluster) endure(inject func(*cluster)) {
	c.t.Helper()
	c.untilTick()
	inject(c)
	c.untilRecovered()
	c.check()
}

// duringUpdate waits for an update and returns its server. The update waits for a lock until unlock is called.
func (c *cluster) duringUpdate() (server int, unlock func()) {
	c.t.Helper()
	return c.untilBlocked("users", "EXCLUSIVE") // reads go on
}

// untilBlocked locks a table and waits until a server waits for it, up to a call of unlock.
func (c *cluster) untilBlocked(table, mode string) (server int, unlock func()) {
	c.t.Helper()
	holder := c.connect()
	c.exec(holder, "BEGIN; LOCK TABLE "+table+" IN "+mode+" MODE")
	// On another connection: a transaction sees the same pg_stat_activity until it ends.
	server = c.untilServer(c.connect(), "pid IN (SELECT pid FROM pg_locks WHERE NOT granted AND relation = '"+table+"'::regclass)")
	return server, func() { c.exec(holder, "COMMIT") }
}

// untilServer waits until a connection of a server fulfils a condition on pg_stat_activity, and returns the server.
func (c *cluster) untilServer(conn *pgx.Conn, condition string) (server int) {
	c.t.Helper()
	c.until("server with "+condition, func() bool {
		var name string
		require.NoError(c.t, conn.QueryRow(c.t.Context(), `SELECT coalesce(min(application_name), '') FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'server-%' AND `+condition).Scan(&name))
		server = slices.IndexFunc(c.servers[:], func(s *clusterServer) bool { return s.name == name })
		return server >= 0
	})
	return server
}

// stopDuringClaim stops a server that is claiming a tick, until another server has updated for the next tick. Then it is
// too late for the update of its own tick.
func stopDuringClaim(c *cluster) {
	server, unlock := c.untilBlocked("audit_gate", "ACCESS EXCLUSIVE")
	c.signal(server, syscall.SIGSTOP)
	claim := len(c.audit.ticks()) // it commits although the server has stopped
	unlock()
	c.untilUpdatedSince(claim + 1)
	late := c.audit.ticks()
	c.signal(server, syscall.SIGCONT)
	c.untilTick()
	c.untilTick()
	for _, u := range c.audit.updated() {
		claims := c.audit.ticks()[len(late):]
		assert.False(c.t, u.server == c.servers[server].name && u.at.After(late[len(late)-1].At) &&
			!slices.ContainsFunc(claims, func(tick audited) bool { return tick.Server == u.server && tick.At.Before(u.at) }),
			"%s has updated at %v, after the next tick", u.server, u.at)
	}
}

// connect returns a connection to the database.
func (c *cluster) connect() *pgx.Conn {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.options.direct)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (c *cluster) exec(conn *pgx.Conn, statements string) {
	c.t.Helper()
	_, err := conn.Exec(c.t.Context(), statements, pgx.QueryExecModeSimpleProtocol)
	require.NoError(c.t, err, statements)
}

// When a backend is killed, PostgreSQL ends all others and recovers as from a crash, which resets unlogged sequences.
func testBackendKilled(t *testing.T) {
	c := startCluster(t, clusterOptions{direct: pgtest.NewServer(t).URL})
	c.endure(func(c *cluster) {
		_, _ = c.connect().Exec(t.Context(), `DO $$BEGIN EXECUTE format('COPY (SELECT) TO PROGRAM %L',
			(SELECT 'kill -KILL ' || pid FROM pg_stat_activity WHERE application_name = 'server-1' LIMIT 1)); END$$`) // its own backend ends, too
		c.until("recovery", func() bool {
			conn, err := pgx.Connect(t.Context(), c.options.direct)
			return err == nil && conn.Close(t.Context()) == nil
		})
	})
}

func testPostgresKilled(t *testing.T) {
	postgres := pgtest.NewServer(t)
	startCluster(t, clusterOptions{direct: postgres.URL}).endure(func(*cluster) {
		postgres.Kill()
		postgres.Start()
	})
}

// The primary dies, and its synchronous standby is promoted.
func testClusterFailover(t *testing.T) {
	primary := pgtest.NewServer(t)
	standby := primary.Standby()
	admin, err := pgx.Connect(t.Context(), primary.URL)
	require.NoError(t, err)
	defer admin.Close(context.Background())
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		_, err := admin.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	require.Eventually(t, func() (synchronous bool) {
		require.NoError(t, admin.QueryRow(t.Context(),
			"SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&synchronous))
		return synchronous
	}, clusterWait, 10*time.Millisecond)

	both, err := url.Parse(primary.URL)
	require.NoError(t, err)
	other, err := url.Parse(standby.URL)
	require.NoError(t, err)
	both.Host += "," + other.Host
	both.RawQuery += "&target_session_attrs=read-write"
	startCluster(t, clusterOptions{direct: both.String()}).endure(func(*cluster) {
		primary.Kill()
		standby.Promote()
	})
}

func testClusterBehindPgBouncer(t *testing.T) {
	direct := pgtest.URL(t)
	database := pgtest.PgBouncer(t, direct, "") + "?default_query_exec_mode=exec&pool_max_conns=8"
	startCluster(t, clusterOptions{direct: direct, database: database}).endure(func(c *cluster) {
		for i, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			c.end(i, signal)
			c.untilTick()
			c.start(i)
		}
	})
}

// Servers whose clocks are hours apart use the clock of the database.
func testClocksApart(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a server with a clock of its own needs a standard library compiled for it, which takes a minute")
	}
	skew := clockSkewVariable + "="
	startCluster(t, clusterOptions{
		program: buildSkewedServer(t), environ: []string{skew + "-10000", skew + "0", skew + "20000"},
	}).endure(func(c *cluster) {
		for i := range c.servers {
			c.end(i, syscall.SIGTERM)
			c.untilTick()
			c.start(i)
			c.awaitReady(i)
		}
	})
}

// clockSkewVariable is how far the clock of a skewed server is ahead, in seconds.
const clockSkewVariable = "POINTS_TEST_CLOCK_SKEW"

// buildSkewedServer builds the server with a clock that differs from the machine's, and returns its path. Go reads the
// clock without libc, and Linux has no namespace for it, so the server is built with another time.Now.
func buildSkewedServer(t *testing.T) (path string) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	require.NoError(t, err)
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	require.Equal(t, 1, strings.Count(string(source), now), "%s has changed", original)
	skewed := strings.Replace(string(source), now, now+"\tsec += clockSkew\n", 1)

	directory := t.TempDir()
	replaced := map[string]string{
		original: skewed,
		filepath.Join(filepath.Dir(original), "clockskew.go"): `package time

import "syscall"

var clockSkew = func() (skew int64) {
	text, _ := syscall.Getenv("` + clockSkewVariable + `")
	sign := int64(1)
	for _, c := range text {
		if c == '-' {
			sign = -1
		} else {
			skew = 10*skew + int64(c-'0')
		}
	}
	return sign * skew
}()
`,
	}
	replacements := make(map[string]string)
	for name, text := range replaced {
		replacements[name] = filepath.Join(directory, filepath.Base(name))
		require.NoError(t, os.WriteFile(replacements[name], []byte(text), 0o600))
	}
	description, err := json.Marshal(map[string]any{"Replace": replacements})
	require.NoError(t, err)
	file := filepath.Join(directory, "overlay.json")
	require.NoError(t, os.WriteFile(file, description, 0o600))
	path = filepath.Join(directory, "server")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", path, ".").CombinedOutput()
	require.NoError(t, err, string(output))
	return path
}
