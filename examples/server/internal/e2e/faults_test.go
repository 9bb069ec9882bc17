package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// A testbed is servers, a database, a proxy between each server and the database, and a prober.
type testbed struct {
	*testServer // the one that faults affect if they do not affect all
	servers     []*testServer

	cfg    config.Config
	users  int64
	admin  *pgx.Conn        // see superuser
	role   string           // the server's
	proxy  *toxiproxy.Proxy // between testServer and database
	prober *prober
}

// faultQueryTimeout is shorter than the server's default, to make the tests short, and long enough for a busy machine.
const faultQueryTimeout = 2 * time.Second

// newTestbed starts a server with this number of users and an update every 200 ms, on a new database of the PostgreSQL
// server at this URL, whose user is a superuser. It returns once clients get answers.
func newTestbed(t *testing.T, postgres string, users int64) *testbed {
	t.Helper()
	s := prepareTestbed(t, postgres, users)
	s.proxy = connectThroughProxy(t, &s.cfg)
	s.testServer = startReady(t, s.cfg)
	s.servers = []*testServer{s.testServer}
	s.startProber(t)
	return s
}

// prepareTestbed creates the database and the configuration of the servers, which still lacks the proxy.
func prepareTestbed(t *testing.T, postgres string, users int64) *testbed {
	t.Helper()
	s := &testbed{users: users, admin: connect(t, postgres)}
	s.role = "points_" + strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
	s.role = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r
		}
		return '_'
	}, s.role)
	exec(t, s.admin,
		"CREATE ROLE "+s.role+" LOGIN PASSWORD 'secret'",
		"CREATE DATABASE "+s.role+" OWNER "+s.role,
	)
	t.Cleanup(func() {
		s.admin.Close(context.Background())
		admin, err := pgx.Connect(context.Background(), postgres) // the other may have been cut by the test
		require.NoError(t, err)
		defer admin.Close(context.Background())
		for _, statement := range []string{"DROP DATABASE " + s.role + " WITH (FORCE)", "DROP ROLE " + s.role} {
			_, err := admin.Exec(context.Background(), statement)
			assert.NoError(t, err)
		}
	})

	s.cfg = configFor(with(t, postgres, url.UserPassword(s.role, "secret"), s.role))
	s.cfg.Users, s.cfg.Interval = config.Users(users), config.Duration(200*time.Millisecond)
	s.cfg.QueryTimeout = config.Duration(faultQueryTimeout)
	return s
}

// connectThroughProxy starts a proxy to the database of a configuration, and changes the configuration to use it.
func connectThroughProxy(t *testing.T, cfg *config.Config) *toxiproxy.Proxy {
	t.Helper()
	u, err := url.Parse(string(cfg.DatabaseURL))
	require.NoError(t, err)
	proxy := pgtest.Proxy(t, u.Host)
	u.Host = proxy.Listen
	cfg.DatabaseURL = config.DatabaseURL(u.String())
	return proxy
}

// startProber starts a prober of all servers, and waits until it gets answers.
func (s *testbed) startProber(t *testing.T) {
	t.Helper()
	s.prober = startProber(t, s.servers...)
	s.prober.until(t, "answers", func() bool { return s.prober.successes() >= 50 })
}

// connection returns another connection of the server's role to its database, not through the proxy.
func (s *testbed) connection(t *testing.T) (*pgx.Conn, error) {
	t.Helper()
	cfg := s.admin.Config().Copy()
	cfg.User, cfg.Password, cfg.Database = s.role, "secret", s.role
	return pgx.ConnectConfig(t.Context(), cfg)
}

// superuser returns a connection of a superuser, not through the proxy: a new one if the last one was cut.
func (s *testbed) superuser(t *testing.T) *pgx.Conn {
	t.Helper()
	if s.admin.Ping(t.Context()) != nil {
		admin, err := pgx.ConnectConfig(t.Context(), s.admin.Config())
		require.NoError(t, err)
		s.admin = admin
	}
	return s.admin
}

// cut cuts all connections of the server's role.
func (s *testbed) cut(t *testing.T) {
	t.Helper()
	_, err := s.superuser(t).Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", s.role)
	require.NoError(t, err)
}

// requireUpdated waits until an update that has not begun yet succeeds, and checks that it has reached every user. With a
// shared state an update may have begun somewhat earlier than is recorded, so it waits for the second one.
func (s *testbed) requireUpdated(t *testing.T) {
	t.Helper()
	now := time.Now()
	require.Eventually(t, func() bool {
		var body struct {
			Updates []struct {
				StartedAt time.Time  `json:"started_at"`
				EndedAt   *time.Time `json:"ended_at"`
				Users     int64      `json:"users"`
				Failed    bool       `json:"failed"`
			} `json:"updates"`
		}
		if json.Unmarshal(s.get(t, "/updates").body, &body) != nil {
			return false
		}
		succeeded := 0
		for _, u := range body.Updates {
			if u.StartedAt.After(now) && u.EndedAt != nil && !u.Failed {
				succeeded++
				assert.Equal(t, s.users, u.Users)
			}
		}
		return succeeded > 1
	}, patience, pollInterval, "no update succeeds")
	conn, err := s.connection(t)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var updated, inRange int64
	// PostgreSQL stores microseconds.
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE updated_at >= $1),"+
		" count(*) FILTER (WHERE points BETWEEN 0 AND 100) FROM users", now.Truncate(time.Microsecond)).Scan(&updated, &inRange))
	assert.Equal(t, s.users, updated)
	assert.Equal(t, s.users, inRange)
}

// A fault is something that goes wrong around a server.
type fault struct {
	name   string
	stops  bool  // the whole PostgreSQL server
	users  int64 // the default is 2,000
	inject func(t *testing.T, s *testbed) (undo func())
	during []int // statuses that clients get while it lasts; 504 only until the store counts as down
}

// requireRecovery injects the fault on a testbed and checks that the server recovers.
func (f fault) requireRecovery(t *testing.T, postgres string) {
	t.Helper()
	s := newTestbed(t, postgres, cmp.Or(f.users, 2000))
	s.prober.mark()
	undo := f.inject(t, s)
	for _, status := range f.during {
		enough := 20
		if status == http.StatusGatewayTimeout {
			enough = 1
		}
		s.prober.until(t, fmt.Sprintf("status %d", status), func() bool { return s.prober.statuses[status] >= enough })
	}
	during := s.prober.String()
	s.prober.mark()
	undo()
	recovery := s.prober.recoveryTime(t)
	s.requireUpdated(t)
	s.prober.stop()
	assert.Empty(t, s.prober.violations)
	assert.Zero(t, s.hungQueries(t))
	t.Logf("during: %s; recovery time %v", during, recovery.Round(time.Millisecond))
}

// toxic is a fault of the network.
func toxic(kind, stream string, attributes map[string]int) func(*testing.T, *testbed) func() {
	return func(t *testing.T, s *testbed) func() {
		t.Helper()
		undo := make([]func(), 0, 2)
		for direction := range strings.FieldsSeq(stream) {
			undo = append(undo, pgtest.Toxic(t, s.proxy, kind, direction, attributes))
		}
		return func() {
			for _, end := range undo {
				end()
			}
		}
	}
}

// networkFaults returns faults of the network between server and database.
func networkFaults() []fault {
	return []fault{
		{name: "latency", inject: toxic("latency", "downstream", map[string]int{"latency": 100, "jitter": 50}),
			during: []int{200}},
		{name: "latency beyond the timeout", inject: toxic("latency", "downstream", map[string]int{"latency": 3000}),
			during: []int{504, 503}},
		{name: "low bandwidth", inject: toxic("bandwidth", "downstream", map[string]int{"rate": 4}), during: []int{200}},
		{name: "black hole", inject: toxic("timeout", "upstream downstream", map[string]int{"timeout": 0}),
			during: []int{504, 503}},
		{name: "responses lost", inject: toxic("timeout", "downstream", map[string]int{"timeout": 0}),
			during: []int{504, 503}},
		{name: "reset", inject: toxic("reset_peer", "upstream downstream", map[string]int{"timeout": 0}),
			during: []int{503}},
		{name: "cut in mid answer", inject: toxic("limit_data", "downstream", map[string]int{"bytes": 50}),
			during: []int{503}},
		{name: "refused", inject: func(t *testing.T, s *testbed) func() {
			s.proxy.Stop()
			return func() { require.NoError(t, s.proxy.Start()) }
		}, during: []int{503}},
	}
}

// Clients get the expected answers while the network between server and database fails, and the server recovers.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	postgres := pgtest.URL(t)
	for _, f := range networkFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.requireRecovery(t, postgres)
		})
	}
}

// databaseFaults returns faults of the database. Those that stop it need a server of their own, postgres.
func databaseFaults(postgres *pgtest.Server) []fault {
	return []fault{
		{name: "connections cut", inject: func(t *testing.T, s *testbed) func() {
			s.cut(t)
			return func() {}
		}, during: []int{200}},
		{name: "stopped", stops: true, inject: func(*testing.T, *testbed) func() {
			postgres.Stop()
			return postgres.Start
		}, during: []int{503}},
		{name: "killed in mid update", stops: true, users: 100_000, inject: func(t *testing.T, s *testbed) func() {
			require.Eventually(t, func() bool {
				var updating bool
				err := s.superuser(t).QueryRow(t.Context(), "SELECT count(*) > 0 FROM pg_stat_activity"+
					" WHERE usename = $1 AND state = 'active' AND query LIKE 'UPDATE%'", s.role).Scan(&updating)
				return assert.NoError(t, err) && updating
			}, patience, time.Millisecond)
			postgres.Kill()
			return postgres.Start
		}, during: []int{503}},
		{name: "table locked", inject: func(t *testing.T, s *testbed) func() {
			other, err := s.connection(t)
			require.NoError(t, err)
			exec(t, other, "BEGIN", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
			return func() { require.NoError(t, other.Close(context.Background())) }
		}, during: []int{504, 503}},
		{name: "statement timeout", users: 50_000, inject: func(t *testing.T, s *testbed) func() {
			exec(t, s.superuser(t), "ALTER ROLE "+s.role+" SET statement_timeout = '2ms'")
			s.cut(t)
			s.requireFailing(t)
			return func() {
				exec(t, s.superuser(t), "ALTER ROLE "+s.role+" RESET statement_timeout")
				s.cut(t)
			}
		}, during: []int{200}},
		{name: "too many connections", inject: func(t *testing.T, s *testbed) func() {
			var others []*pgx.Conn
			exec(t, s.superuser(t), "ALTER ROLE "+s.role+" CONNECTION LIMIT 20")
			for range 20 { // the server has some of them
				if other, err := s.connection(t); err == nil {
					others = append(others, other)
				}
			}
			exec(t, s.superuser(t), fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d", s.role, len(others)))
			pids := make([]uint32, 0, len(others))
			for _, other := range others {
				pids = append(pids, other.PgConn().PID())
			}
			_, err := s.superuser(t).Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"+
				" WHERE usename = $1 AND pid <> ALL ($2)", s.role, pids)
			require.NoError(t, err)
			return func() {
				for _, other := range others {
					require.NoError(t, other.Close(context.Background()))
				}
				exec(t, s.superuser(t), "ALTER ROLE "+s.role+" CONNECTION LIMIT -1")
			}
		}, during: []int{503}},
		{name: "no right to update", inject: func(t *testing.T, s *testbed) func() {
			owner, err := s.connection(t)
			require.NoError(t, err)
			exec(t, owner, "REVOKE UPDATE ON users FROM "+s.role)
			s.requireFailing(t)
			return func() {
				exec(t, owner, "GRANT UPDATE ON users TO "+s.role)
				require.NoError(t, owner.Close(context.Background()))
			}
		}, during: []int{200}},
		{name: "no right to read", inject: func(t *testing.T, s *testbed) func() {
			owner, err := s.connection(t)
			require.NoError(t, err)
			exec(t, owner, "REVOKE SELECT ON users FROM "+s.role)
			return func() {
				exec(t, owner, "GRANT SELECT ON users TO "+s.role)
				require.NoError(t, owner.Close(context.Background()))
			}
		}, during: []int{503}},
	}
}

// The same for faults of the database.
func TestDatabaseFaults(t *testing.T) {
	t.Parallel()
	shared := pgtest.URL(t)
	for _, f := range databaseFaults(nil) {
		if !f.stops {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				f.requireRecovery(t, shared)
			})
		}
	}
	t.Run("of the server", func(t *testing.T) {
		t.Parallel()
		postgres := pgtest.NewServer(t)
		for _, f := range databaseFaults(postgres) {
			if f.stops {
				t.Run(f.name, func(t *testing.T) { f.requireRecovery(t, postgres.URL) })
			}
		}
	})
}

// requireFailing waits until one more update has failed, of any server.
func (s *testbed) requireFailing(t *testing.T) {
	t.Helper()
	failures := func() (n int) {
		for _, r := range s.servers {
			n += strings.Count(r.log.String(), "retrying a step of the update") + strings.Count(r.log.String(), "update failed")
		}
		return n
	}
	before := failures()
	require.Eventually(t, func() bool { return failures() > before }, patience, pollInterval)
}

// A transaction that is open for long keeps dead rows from being pruned, so the table grows with each update. Once it
// ends, the table grows no further.
func TestLongTransaction(t *testing.T) {
	t.Parallel()
	s := newTestbed(t, pgtest.URL(t), 20_000)
	other, err := s.connection(t)
	require.NoError(t, err)
	defer other.Close(context.Background())
	size := func() (bytes int64) {
		s.requireUpdated(t)
		s.requireUpdated(t)
		require.NoError(t, other.QueryRow(t.Context(), "SELECT pg_table_size('users')").Scan(&bytes))
		return bytes
	}
	before := size()
	exec(t, other, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT FROM users LIMIT 1")
	during := size()
	assert.Greater(t, during, before)
	exec(t, other, "COMMIT", "VACUUM users") // what autovacuum does within a minute
	after := size()
	for same, updates := 0, 0; same < 3; updates++ { // an update that ran beside VACUUM may need some room once more
		require.Less(t, updates, 20, "the table grows with each update")
		if now := size(); now > after {
			after, same = now, 0
		} else {
			same++
		}
	}
	s.prober.stop()
	assert.Empty(t, s.prober.violations)
	t.Logf("table of %d kB, %d kB while the transaction was open, %d kB afterwards", before>>10, during>>10, after>>10)
}

// A full disk stops updates that need more space, but no query. With free space, updates succeed again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	if postgres.SmallDisk == "" {
		testenv.SkipOrFailf(t, "it fills a disk of 16 MB, which only a server in Docker has: start Docker")
	}
	admin := connect(t, postgres.URL)
	folder := postgres.SmallDisk + "/tablespace"
	exec(t, admin,
		"COPY (SELECT) TO PROGRAM 'mkdir "+folder+"'", // so that it is the server's own
		"CREATE TABLESPACE small LOCATION '"+folder+"'",
		"GRANT CREATE ON TABLESPACE small TO PUBLIC",
		"ALTER SYSTEM SET default_tablespace = small",
		"SELECT pg_reload_conf()",
	)
	s := newTestbed(t, postgres.URL, 40_000)
	// Without pruning, the table must grow.
	other, err := s.connection(t)
	require.NoError(t, err)
	exec(t, other, "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT FROM users LIMIT 1")
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "No space left on device") }, 3*patience, pollInterval)
	s.prober.mark()
	s.prober.until(t, "answers", func() bool { return s.prober.successes() >= 50 })
	require.NoError(t, other.Close(context.Background()))
	vacuum, err := s.connection(t)
	require.NoError(t, err)
	defer vacuum.Close(context.Background())
	exec(t, vacuum, "VACUUM users")
	s.requireUpdated(t)
	s.prober.stop()
	assert.Empty(t, s.prober.violations)
}
