// Package pgtest gives tests and benchmarks a real PostgreSQL, with nothing to set up:
//
//	func TestSomething(t *testing.T) {
//		pool := pgtest.Pool(t) // a new empty database, dropped at the end of the test
//		// test with it
//	}
//
//	func TestMain(m *testing.M) {
//		goleak.VerifyTestMain(pgtest.Main(m)) // or os.Exit(pgtest.Main(m).Run())
//	}
//
// The server is the first of these that is available:
//
//  1. the one that POINTS_TEST_DATABASE_URL names, whose user must be allowed to create databases;
//  2. a container of the image POINTS_TEST_POSTGRES_IMAGE (the default is postgres:17), if there is Docker;
//  3. a throwaway cluster made by the newest PostgreSQL binaries of this machine.
//
// If POINTS_TEST_DISTRIBUTE is set, the first one is a coordinator of Citus. Its value is the statement that
// distributes the table users, and Distribute executes it.
//
// With none of them a test is skipped with a message that says how to get one, or fails where CI is set. The second and
// third are started by the first test that needs one, once per test binary, with PostgreSQL's default settings, except
// that fsync is off unless benchmarks run: no test is about a crash of the operating system. Benchmarks connect to the
// container's own address if they can, tests to a published port, which stays the same over restarts. Both servers are
// removed when Main has run the tests, and also when the test binary is killed.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// timeout bounds creating and dropping a database.
const timeout = 3 * time.Minute

// started is the server of this test binary. It is started once, by the first test that needs it.
var started struct { //nolint:gochecknoglobals // shared by all tests of a binary
	once   sync.Once
	server *server
	err    error
}

// URL returns the connection string of a new empty database. It is dropped at the end of the test, and connections to
// it are cut. Without a server the test is skipped, or fails where CI is set. It is safe for concurrent use.
func URL(t testing.TB) string {
	t.Helper()
	started.once.Do(func() { started.server, started.err = start() })
	if started.err != nil {
		unavailable(t, started.err)
	}
	server := started.server
	t.Logf("PostgreSQL: %s", server.origin)

	name := "points_test_" + strings.ToLower(rand.Text())
	create, drop, url := "CREATE DATABASE "+name+" TEMPLATE template0", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)",
		inDatabase(server.url, name)
	if Distributed() {
		create, drop, url = "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE", inSchema(server.url, name)
	}
	if err := server.exec(create); err != nil {
		t.Fatalf("pgtest: %s on %s: %v", create, server.origin, err)
	}
	t.Cleanup(func() {
		if err := server.exec(drop); err != nil {
			t.Errorf("pgtest: %s on %s: %v", drop, server.origin, err)
		}
	})
	return url
}

// Pool returns a pool of connections to a new empty database, as URL makes it. It is closed at the end of the test.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), URL(t))
	if err != nil {
		t.Fatalf("pgtest: opening a pool: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Main returns the tests of a TestMain, so that the server they start is stopped once they have run.
func Main(m *testing.M) Tests {
	return Tests{m}
}

// Tests are the tests of a TestMain.
type Tests struct {
	m interface{ Run() int }
}

// Run runs the tests, stops the server if one was started, and returns the exit code. Failing to stop the server is a
// failure.
func (tests Tests) Run() int {
	code := tests.m.Run()
	if started.server == nil || started.server.remove == nil {
		return code
	}
	if err := started.server.remove(); err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: stopping PostgreSQL (%s): %v\n", started.server.origin, err)
		return max(code, 1)
	}
	return code
}

// unavailable skips or fails a test that has no server.
func unavailable(t testing.TB, err error) {
	t.Helper()
	testenv.SkipOrFailf(t, "pgtest: no PostgreSQL to test with: %v", err)
}

// exec executes a statement on a connection of its own.
func (s *server) exec(statement string) error {
	// Not the test's context: it has ended when its databases are dropped.
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // the statement is done, or has failed for a reason of its own
	_, err = conn.Exec(ctx, statement)
	return err
}

// inDatabase returns the connection string, a URL or keywords and values, with its database replaced.
func inDatabase(connection, database string) string {
	u, err := url.Parse(connection)
	if err != nil || u.Scheme == "" {
		return connection + " dbname=" + database // the last one counts
	}
	u.Path = "/" + database
	query := u.Query()
	query.Del("dbname")
	u.RawQuery = query.Encode()
	return u.String()
}
