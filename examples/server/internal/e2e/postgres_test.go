package e2e_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// connect opens a connection that is closed at the end of the test.
func connect(t *testing.T, connection string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connection)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

// with returns a connection string with another user, or another database.
func with(t *testing.T, connection string, user *url.Userinfo, database string) string {
	t.Helper()
	u, err := url.Parse(connection)
	require.NoError(t, err)
	if user != nil {
		u.User = user
	}
	if database != "" {
		u.Path = "/" + database
	}
	return u.String()
}

// configFor returns a configuration for a database. A busy machine may take longer to connect than the server's default
// allows.
func configFor(connection string) config.Config {
	cfg := config.Defaults()
	if u, err := url.Parse(connection); err == nil && u.Host != "" && !u.Query().Has("connect_timeout") {
		query := u.Query()
		query.Set("connect_timeout", "10")
		u.RawQuery = query.Encode()
		connection = u.String()
	}
	cfg.DatabaseURL, cfg.Users = config.DatabaseURL(connection), 1000
	cfg.QueryTimeout = config.Duration(patience) // a busy machine is no outage
	return cfg
}

// runError runs a server that cannot start, and returns its error and its log.
func runError(t *testing.T, cfg config.Config) (message, logged string) {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	log := new(testenv.Log)
	server, err := server.Open(cfg, log)
	require.NoError(t, err)
	err = server.Run(t.Context())
	require.Error(t, err, "%s", log)
	return err.Error(), log.String()
}

// While the table is seeded, the server is alive but not ready. A restart keeps the users.
func TestFilling(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	r := startReady(t, cfg)
	require.NoError(t, r.stop())
	assert.Contains(t, r.log.String(), `msg="seeding the table" users=0 of=1000`)
	assert.Contains(t, r.log.String(), `msg="seeding the table" users=1000 of=1000`)

	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "LOCK TABLE users IN ACCESS EXCLUSIVE MODE") // blocks every read of the table
	cfg.Users = 5
	r = start(t, cfg)
	const starting = "The server is starting: the store is being opened."
	assertProblem(t, r.get(t, "/"), http.StatusServiceUnavailable, starting)
	assertProblem(t, r.get(t, "/readyz"), http.StatusServiceUnavailable, starting)
	assert.Equal(t, http.StatusOK, r.get(t, "/healthz").status)
	select {
	case <-r.server.Ready():
		assert.Fail(t, "it cannot be ready")
	default:
	}
	require.NoError(t, tx.Rollback(t.Context()))
	<-r.server.Ready()
	_, err = parseResult(r.get(t, "/"))
	require.NoError(t, err)
	assert.Contains(t, r.log.String(), "users=1000", "a table that has users is not filled")
}

// A server can be stopped while it starts.
func TestStopsWhileStarting(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	require.NoError(t, startReady(t, configFor(connection)).stop())
	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
	r := start(t, configFor(connection))
	assert.Equal(t, http.StatusServiceUnavailable, r.get(t, "/").status)
	require.NoError(t, r.stop())
}

// At shutdown, waiting queries are answered and a running update is cancelled.
func TestStopsWhileBusy(t *testing.T) {
	t.Parallel()
	const queries = 10
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.Shared = false // the shared state lets no query wait for a table for more than 2 seconds
	cfg.UpdateOnStart = false
	cfg.Interval = config.Duration(10 * time.Millisecond)
	r := startReady(t, cfg)

	tx, err := connect(t, connection).Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx.Conn(), "LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
	// First an update waits for the table: a tick would not start one while a query does.
	require.Eventually(t, func() (waits bool) {
		return assert.NoError(t, tx.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks"+
			" WHERE relation = 'users'::regclass AND NOT granted)").Scan(&waits)) && waits
	}, patience, pollInterval)
	var waiting sync.WaitGroup
	var allWait atomic.Bool
	for range queries {
		waiting.Go(func() {
			// A query with the min number 100 does not wait, as no user can have more points: repeat it.
			for again := true; again; again = !t.Failed() && !allWait.Load() {
				a, err := r.do(http.MethodGet, "/")
				if assert.NoError(t, err) {
					_, err = parseResult(a)
					assert.NoError(t, err)
				}
			}
		})
	}
	require.Eventually(t, func() bool {
		metrics := string(r.get(t, "/metrics").body)
		return strings.Contains(metrics, fmt.Sprintf("\npoints_queries_waiting %d\n", queries)) &&
			strings.Contains(metrics, "\npoints_update_running 1\n")
	}, patience, pollInterval)
	allWait.Store(true)

	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", r.server.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil && strings.Contains(r.log.String(), `msg="update cancelled"`)
	}, patience, pollInterval)
	require.NoError(t, tx.Rollback(t.Context()))
	waiting.Wait()
	require.NoError(t, <-stopped)
	assert.NotContains(t, r.log.String(), "were not answered")
}

// During an outage of the database queries get 503; afterwards they get users again. Each change is logged once.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.LogLevel = 0
	r := startReady(t, cfg)
	_, err := parseResult(r.get(t, "/"))
	require.NoError(t, err)

	parsed, err := pgx.ParseConfig(connection)
	require.NoError(t, err)
	admin := connect(t, with(t, connection, nil, "postgres"))
	exec(t, admin, "ALTER DATABASE "+parsed.Database+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+parsed.Database+"'")
	for range 3 {
		assertProblem(t, r.get(t, "/"), http.StatusServiceUnavailable,
			"The users cannot be read at the moment. Try again later.")
	}
	require.Eventually(t, func() bool { // not that queries have failed
		return strings.Contains(string(r.get(t, "/readyz").body), "The store")
	}, patience, pollInterval)
	assertProblem(t, r.get(t, "/readyz"), http.StatusServiceUnavailable, "The store does not answer.")
	assert.Equal(t, http.StatusOK, r.get(t, "/healthz").status)

	exec(t, admin, "ALTER DATABASE "+parsed.Database+" ALLOW_CONNECTIONS true")
	require.Eventually(t, func() bool { return r.get(t, "/").status == http.StatusOK }, patience, pollInterval)
	require.Eventually(t, func() bool { return r.get(t, "/readyz").status == http.StatusOK }, patience, pollInterval)
	assert.Equal(t, 1, strings.Count(r.log.String(), `level=ERROR msg="queries fail"`))
	assert.Equal(t, 1, strings.Count(r.log.String(), `msg="queries succeed again" failed_reads=`))
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close() // it accepts connections and sends nothing
	for connection, want := range map[string]string{
		"postgres://me:s3cret@127.0.0.1:1/points": "PostgreSQL at 127.0.0.1:1: nothing listens there: start it, or " +
			"see -database-url (DATABASE_URL)",
		"postgres://me:s3cret@localhost:1/points?sslmode=disable": "PostgreSQL at localhost:1: nothing listens there: " +
			"start it, or see -database-url (DATABASE_URL)",
		"host=/nowhere user=me password=s3cret": "PostgreSQL at /nowhere:5432: nothing listens there: start it, or " +
			"see -database-url (DATABASE_URL)",
		"postgres://me:s3cret@" + silent.Addr().String() + "/points?connect_timeout=1": "PostgreSQL at " +
			silent.Addr().String() + ": no answer within 1s: check firewalls, or see -database-url (DATABASE_URL)",
	} {
		message, log := runError(t, configFor(connection))
		assert.Equal(t, want, message)
		assert.Empty(t, log)
	}
}

// Each fault of the database, role or table gives a one-line error that says how to fix it.
func TestUnfit(t *testing.T) {
	t.Parallel()
	const see = "see -database-url (DATABASE_URL)"
	t.Run("no such database", func(t *testing.T) {
		t.Parallel()
		assertCannotStart(t, with(t, pgtest.URL(t), nil, "nowhere"),
			`database "nowhere" does not exist: create it (CREATE DATABASE), or `+see)
	})
	t.Run("no such schema", func(t *testing.T) {
		t.Parallel()
		cfg := configFor(pgtest.URL(t))
		cfg.Schema = "nowhere"
		message, _ := runError(t, cfg)
		assert.Contains(t, message, `schema "nowhere" does not exist: create it (CREATE SCHEMA), correct search_path, or see -schema (SCHEMA)`)
	})
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		role := newRole(t, connect(t, connection))
		connection = with(t, connection, url.UserPassword(role.Username(), "s3cret"), "")
		if conn, err := pgx.Connect(t.Context(), connection); err == nil {
			conn.Close(t.Context())
			testenv.SkipOrFailf(t, "PostgreSQL accepts any password here: its pg_hba.conf says trust")
		}
		assertCannotStart(t, connection, fmt.Sprintf(
			`password authentication failed for user "%s": check user and password, `+see, role.Username()))
	})
	t.Run("another table", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		exec(t, connect(t, connection), "CREATE TABLE users (id bigint PRIMARY KEY, name text)")
		assertCannotStart(t, connection, "pgstore: migrating table users: it has no column points: it needs id, points, inserted_at "+
			"and updated_at: change or rename the table, or use another database, "+see)
	})
	t.Run("a name of the shared state is taken", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		exec(t, connect(t, connection), "CREATE TABLE users_state (id bigint)")
		assertCannotStart(t, connection, "pgstore: migrating table users: the shared state needs the name public.users_state, "+
			"but another TABLE has it: rename that, or choose another Config.Table: or set -shared=false (SHARED)")
	})
	t.Run("standby", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		parsed, err := pgx.ParseConfig(connection)
		require.NoError(t, err)
		exec(t, connect(t, connection), "ALTER DATABASE "+parsed.Database+" SET default_transaction_read_only = on")
		assertCannotStart(t, connection, "pgstore: migrating table users: the database is a standby, or default_transaction_read_only is on: use the "+
			"primary; if the connection string has several hosts, add target_session_attrs=read-write, "+see)
	})
	t.Run("no right to connect", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		conn := connect(t, connection)
		role, database := newRole(t, conn), conn.Config().Database
		exec(t, conn, "REVOKE CONNECT ON DATABASE "+database+" FROM PUBLIC")
		assertCannotStart(t, with(t, connection, role, ""), fmt.Sprintf(`permission denied for database "%s": role %s needs `+
			"the right to connect (GRANT CONNECT ON DATABASE %s TO %s)", database, role.Username(), database, role.Username()))
	})
	t.Run("no rights", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		conn := connect(t, connection)
		role := newRole(t, conn)
		exec(t, conn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC") // as since PostgreSQL 15
		assertCannotStart(t, with(t, connection, role, ""), fmt.Sprintf("permission denied for schema public: role %s "+
			"needs the right to create the table (GRANT CREATE ON SCHEMA ... TO %s), or a table that has users and that it "+
			"may SELECT and UPDATE", role.Username(), role.Username()))
	})
	t.Run("no right to create the shared state", func(t *testing.T) {
		t.Parallel()
		connection := pgtest.URL(t)
		conn := connect(t, connection)
		role := newRole(t, conn)
		exec(t, conn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE TABLE users (id bigserial PRIMARY KEY, points int,"+
			" inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "GRANT SELECT, UPDATE ON users TO "+role.Username())
		assertCannotStart(t, with(t, connection, role, ""), fmt.Sprintf("permission denied for schema public: role %s may not "+
			"migrate the table (start the server once as its owner, or GRANT CREATE ON SCHEMA ... TO %s), nor use it as it is: "+
			"pgstore: table users: it has no shared state: call Migrate, as the reference server does at its start: "+
			"or set -shared=false (SHARED)", role.Username(), role.Username()))
	})
}

// A role that may not fill an empty table needs another right than one that may not create it.
func TestNoRightToSeed(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	cfg := configFor(connection)
	cfg.Users = 0
	require.NoError(t, startReady(t, cfg).stop())
	conn := connect(t, connection)
	role := newRole(t, conn)
	exec(t, conn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "GRANT SELECT, UPDATE ON users TO "+role.Username())
	cfg = configFor(with(t, connection, role, ""))
	cfg.Shared = false
	message, _ := runError(t, cfg)
	assert.Contains(t, message, fmt.Sprintf("permission denied for table users: role %s needs the right to fill the empty "+
		"table (GRANT INSERT, UPDATE on it and, for a serial id, USAGE on its sequence TO %s), or start with -users=0 (USERS)", role.Username(), role.Username()))
	cfg.Users = 0
	require.NoError(t, startReady(t, cfg).stop())
}

// The table may have another name and another schema, without a search_path in the connection string.
func TestSchemaAndTable(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	conn := connect(t, connection)
	exec(t, conn, "CREATE SCHEMA app")
	cfg := configFor(connection)
	cfg.Schema, cfg.Table = "app", "members"
	require.NoError(t, startReady(t, cfg).stop())
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM app.members").Scan(&n))
	assert.EqualValues(t, cfg.Users, n)
}

// A role with few rights can serve a table that another role created. The error of a role with fewer names them.
func TestFewRights(t *testing.T) {
	t.Parallel()
	connection := pgtest.URL(t)
	require.NoError(t, startReady(t, configFor(connection)).stop())
	conn := connect(t, connection)
	role := newRole(t, conn)
	exec(t, conn, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "GRANT SELECT, UPDATE ON users TO "+role.Username(),
		"COMMENT ON TABLE users IS 'pointsapp/pgstore: schema version 0'") // there is a migration, which the role may not run
	cfg := configFor(with(t, connection, role, ""))
	cfg.Interval = config.Duration(pollInterval)
	message, _ := runError(t, cfg)
	_, grants, _ := strings.Cut(message, "the role needs rights to its shared state: ")
	grants = strings.TrimSuffix(grants, ": or set -shared=false (SHARED)")
	require.NotEmpty(t, grants, message)
	for grant := range strings.SplitSeq(grants, "; ") {
		exec(t, conn, grant)
	}
	r := startReady(t, cfg)
	require.Eventually(t, func() bool {
		result, err := parseResult(r.get(t, "/"))
		return err == nil && len(result.Users) > 0
	}, patience, pollInterval)
	assert.Contains(t, r.log.String(), "using the table as it is")
}

// assertCannotStart asserts that a server cannot start, and says so in one line without the password.
func assertCannotStart(t *testing.T, connection, want string) {
	t.Helper()
	parsed, err := pgx.ParseConfig(connection)
	require.NoError(t, err)
	message, log := runError(t, configFor(connection))
	address := net.JoinHostPort(parsed.Host, strconv.Itoa(int(parsed.Port)))
	assert.Equal(t, "PostgreSQL at "+address+": "+want, message)
	assert.Empty(t, log)
}

// newRole creates a role that may do nothing but connect. It is dropped at the end of the test, which is skipped, or
// fails where CI is set, if the tests' own role may not create roles.
func newRole(t *testing.T, conn *pgx.Conn) *url.Userinfo {
	t.Helper()
	name, password := "points_test_"+strings.ToLower(rand.Text()), rand.Text()
	if _, err := conn.Exec(t.Context(), "CREATE ROLE "+name+" LOGIN PASSWORD '"+password+"'"); err != nil {
		testenv.SkipOrFailf(t, "the role of the tests must be able to create other roles (CREATEROLE): %v", err)
	}
	t.Cleanup(func() {
		_, err := conn.Exec(context.Background(), "DROP OWNED BY "+name+"; DROP ROLE "+name)
		assert.NoError(t, err)
	})
	return url.UserPassword(name, password)
}

// A parameter that the server does not know may be a piece of a password: the server's message, which quotes it, is not
// repeated.
func TestUnknownParameterIsNotQuoted(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	for _, parameter := range []string{"secretpiece=1", "search_path=secretpiece,,", "DateStyle=secretpiece"} {
		connection := *u
		connection.RawQuery += "&" + parameter
		message, logged := runError(t, configFor(connection.String()))
		assert.Equal(t, "PostgreSQL at "+u.Host+": the connection string sets a parameter that the server does not accept: "+
			"see -database-url (DATABASE_URL)", message)
		assert.NotContains(t, message+logged, "secretpiece")
	}
}
