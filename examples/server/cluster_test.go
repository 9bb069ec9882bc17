//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

const (
	clusterUsers   = 8
	clusterServers = 3
	clusterClients = 20
	clusterWait    = 3 * time.Minute // for what must happen, on a busy machine
)

// clusterSlots limits the clusters that run at the same time: each is enough work for the two cores of a small machine.
var clusterSlots = make(chan struct{}, 2)

// A cluster is three server processes on one database, HAProxy in front of them, clients that query all the time, and
// an audit of the database.
type cluster struct {
	t       *testing.T
	options clusterOptions
	servers [clusterServers]*clusterServer
	history *linearizability.ClientHistory
	audit   *audit
	proxy   string // its URL
	clients *clusterLoad
}

// clusterOptions are what differs between clusters. The zero value is a database of its own on the server of all tests.
type clusterOptions struct {
	direct   string   // connection string of an empty database
	database string   // the same for the servers, if they have another way to it
	program  string   // path of the server; the default is this test binary
	args     []string // more arguments of the servers
	environ  []string // an environment variable of each server
}

// A clusterServer is one of the server processes.
type clusterServer struct {
	name    string // also its application_name in PostgreSQL
	address string
	command *exec.Cmd // nil while it does not run
	log     bytes.Buffer
}

// startCluster starts a cluster. Clients get answers when it returns, and at least one update has been made.
func startCluster(t *testing.T, options clusterOptions) *cluster {
	t.Helper()
	clusterSlots <- struct{}{}
	t.Cleanup(func() { <-clusterSlots })
	if options.direct == "" {
		options.direct = pgtest.URL(t)
	}
	if options.database == "" {
		options.database = options.direct
	}
	c := &cluster{t: t, options: options}
	users, minNumber := c.prepareDatabase()
	c.history = linearizability.NewClientHistory(clusterClients, users, minNumber)
	c.audit = &audit{url: options.direct, history: c.history}
	c.audit.start(t)
	for i := range c.servers {
		port, err := testenv.FreePort()
		require.NoError(t, err)
		c.servers[i] = &clusterServer{name: fmt.Sprintf("server-%d", i+1), address: "127.0.0.1:" + port}
	}
	t.Cleanup(c.logServers)
	for i := range c.servers {
		c.start(i)
	}
	for i := range c.servers {
		c.awaitReady(i)
	}
	c.proxy = startHAProxy(t, c.servers[:])
	c.clients = startClusterLoad(t, c.proxy, c.history)
	c.until("answer", func() bool { return c.clients.answered() > 0 })
	c.until("update", func() bool { return len(c.audit.updated()) > 0 })
	return c
}

// prepareDatabase creates the users and the audit, and returns the users and the min number.
func (c *cluster) prepareDatabase() (users []points.User, minNumber int) {
	t := c.t
	pool, err := pgxpool.New(t.Context(), c.options.direct)
	require.NoError(t, err)
	defer pool.Close()
	store, err := pgstore.New(pool, pgstore.Config{Shared: true})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), clusterUsers))
	_, err = pool.Exec(t.Context(), createAudit, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	return readState(t, pool)
}

// readState reads the users and the min number.
func readState(t *testing.T, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) (users []points.User, minNumber int) {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT id, points, inserted_at, updated_at FROM users ORDER BY id")
	require.NoError(t, err)
	users, err = pgx.CollectRows(rows, pgx.RowToStructByPos[points.User])
	require.NoError(t, err)
	require.NoError(t, db.QueryRow(t.Context(), "SELECT min_number FROM users_state").Scan(&minNumber))
	return users, minNumber
}

// start starts a server.
func (c *cluster) start(i int) {
	c.t.Helper()
	s := c.servers[i]
	u, err := url.Parse(c.options.database)
	require.NoError(c.t, err)
	query := u.Query()
	query.Set("application_name", s.name)
	if !query.Has("connect_timeout") {
		query.Set("connect_timeout", "10") // a server that gets no connection when it starts, ends
	}
	u.RawQuery = query.Encode()
	args := append([]string{
		"-addr=" + s.address, "-users=8", "-interval=1s", "-query-timeout=10s", "-instance=" + s.name, "-database-url=" + u.String(),
	}, c.options.args...)
	server, _ := command(c.t, args)
	if c.options.program != "" {
		server.Path = c.options.program
	}
	if c.options.environ != nil {
		server.Env = append(server.Env, c.options.environ[i])
	}
	testenv.EndWithParent(server)
	server.Stderr = &s.log
	require.NoError(c.t, server.Start())
	s.command = server
}

// awaitReady waits until a server is ready.
func (c *cluster) awaitReady(i int) {
	c.t.Helper()
	c.until("a server that is ready", func() bool {
		response, err := http.Get("http://" + c.servers[i].address + "/readyz")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
}

// signal sends a signal to a server.
func (c *cluster) signal(i int, signal syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.servers[i].command.Process.Signal(signal))
}

// end ends a server with SIGTERM or SIGKILL, and waits until it has ended.
func (c *cluster) end(i int, signal syscall.Signal) {
	c.t.Helper()
	c.signal(i, signal)
	err := c.servers[i].command.Wait()
	c.servers[i].command = nil
	if signal == syscall.SIGKILL {
		require.Error(c.t, err)
	} else {
		require.NoError(c.t, err)
	}
}

// until waits until a condition is true.
func (c *cluster) until(what string, condition func() bool) {
	c.t.Helper()
	require.Eventually(c.t, condition, clusterWait, 2*time.Millisecond, "there is no %s", what)
}

// untilTick waits for one more tick.
func (c *cluster) untilTick() {
	c.t.Helper()
	n := len(c.audit.ticks())
	c.until("tick", func() bool { return len(c.audit.ticks()) > n })
}

// untilUpdated waits for an update of a tick from now on.
func (c *cluster) untilUpdated() {
	c.t.Helper()
	c.untilUpdatedSince(len(c.audit.ticks()))
}

// untilUpdatedSince waits for an update that ends after tick n, counted from 0.
func (c *cluster) untilUpdatedSince(n int) {
	c.t.Helper()
	c.until("update", func() bool {
		ticks, updated := c.audit.ticks(), c.audit.updated()
		return len(ticks) > n && len(updated) > 0 && updated[len(updated)-1].at.After(ticks[n].At)
	})
}

// untilRecovered waits until all servers answer, and for one more tick with an update.
func (c *cluster) untilRecovered() {
	c.t.Helper()
	for i := range c.servers {
		c.awaitReady(i)
	}
	c.untilAnswers(clusterServers)
	c.untilUpdated()
}

// untilAnswers waits for answers of so many servers.
func (c *cluster) untilAnswers(servers int) {
	c.t.Helper()
	began := time.Now()
	c.until("answer", func() bool { return len(c.clients.serversSince(began)) >= servers })
}

// stop stops the clients, the audit and the servers.
func (c *cluster) stop() {
	c.t.Helper()
	c.clients.stop()
	c.audit.stop()
	for i, s := range c.servers {
		if s.command != nil {
			c.end(i, syscall.SIGTERM)
		}
	}
}

// check stops the cluster and checks its history and its ticks.
func (c *cluster) check() {
	c.t.Helper()
	slowest := c.slowestQueries()
	c.stop()
	require.NoError(c.t, c.history.Check())
	late, err := c.audit.check()
	require.NoError(c.t, err)
	answered, failed, ticks, _ := c.history.Counts()
	c.t.Logf("%d answers, %d failed queries, %d ticks, at most %v late, %d updates; %v; by the servers' histograms %v",
		answered, failed, ticks, late.Round(time.Millisecond), len(c.audit.updated()), c.clients, slowest)
}

// slowestQueries returns, for each server, the bucket of its slowest answer since it was started.
func (c *cluster) slowestQueries() (buckets []string) {
	c.t.Helper()
	bucket := regexp.MustCompile(`(?m)^http_server_request_duration_seconds_bucket\{http_request_method="GET",` +
		`http_response_status_code="200",http_route="/",.*le="(.*)"\} (\d+)$`)
	for _, s := range c.servers {
		response, err := http.Get("http://" + s.address + "/metrics")
		require.NoError(c.t, err)
		metrics, err := io.ReadAll(response.Body)
		require.NoError(c.t, errors.Join(err, response.Body.Close()))
		found := bucket.FindAllSubmatch(metrics, -1)
		require.NotEmpty(c.t, found)
		all := found[len(found)-1][2] // of +Inf
		i := slices.IndexFunc(found, func(b [][]byte) bool { return bytes.Equal(b[2], all) })
		buckets = append(buckets, fmt.Sprintf("%s: up to %s s", s.name, found[i][1]))
	}
	return buckets
}

// logServers logs what the servers logged if the test has failed.
func (c *cluster) logServers() {
	if err := c.audit.failure(); err != nil {
		c.t.Logf("the latest reading of the audit: %v", err)
	}
	for _, s := range c.servers {
		if s.command != nil {
			_ = s.command.Process.Kill()
			_ = s.command.Wait()
		}
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", s.name, &s.log)
		}
		assert.NotContains(c.t, s.log.String(), "DATA RACE")
	}
}

// startHAProxy starts HAProxy in front of the servers and returns its URL. It sends no query twice: a query that was lost
// fails at a client.
func startHAProxy(t *testing.T, servers []*clusterServer) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/haproxy"); err != nil { // Debian's is not on every PATH
			testenv.SkipOrFailf(t, "there is no haproxy: install the package haproxy")
		}
	}
	port, err := testenv.FreePort()
	require.NoError(t, err)
	var config strings.Builder
	fmt.Fprintf(&config, `
defaults
	mode http
	timeout connect 5s
	timeout client 20s
	timeout server 15s
	timeout check 1s
	option redispatch
	option httpchk GET /readyz
	default-server check inter 100ms fall 2 rise 1 on-marked-down shutdown-sessions
listen points
	bind 127.0.0.1:%s
	http-response set-header X-Server %%s
`, port)
	for _, s := range servers {
		fmt.Fprintf(&config, "\tserver %s %s\n", s.name, s.address)
	}
	proxy := exec.CommandContext(t.Context(), path, "-db", "-q", "-f", "haproxy.cfg")
	testenv.EndWithParent(proxy)
	pgtest.Unprivileged(t, proxy, map[string]string{"haproxy.cfg": config.String()})
	require.NoError(t, proxy.Start())
	t.Cleanup(func() {
		_ = proxy.Process.Kill()
		_ = proxy.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil && conn.Close() == nil
	}, clusterWait, 2*time.Millisecond, "HAProxy does not listen")
	return "http://127.0.0.1:" + port + "/"
}
