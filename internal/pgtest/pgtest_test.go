package pgtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main(m))
}

func TestPoolIsOnADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			_, err := pool.Exec(t.Context(), "CREATE TABLE users ()")
			require.NoError(t, err)
		})
	}
}

func TestDatabaseIsDroppedAtTheEndOfTheTest(t *testing.T) {
	pool := pgtest.Pool(t)
	count := func(database string) (n int) {
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", database).Scan(&n)
		require.NoError(t, err)
		return n
	}
	var conn *pgx.Conn
	t.Run("test", func(t *testing.T) {
		var err error
		conn, err = pgx.Connect(t.Context(), pgtest.URL(t))
		require.NoError(t, err)
		assert.Equal(t, 1, count(conn.Config().Database))
	})
	assert.Equal(t, 0, count(conn.Config().Database))
	assert.Error(t, conn.Ping(t.Context()), "a connection that the test left open is cut")
	require.NoError(t, conn.Close(t.Context()))
}

// What a server had committed is there when it runs again, however it ended.
func TestServerThatEndsAndStartsAgain(t *testing.T) {
	server := pgtest.NewServer(t)
	exec := func(statement string) error {
		conn, err := pgx.Connect(t.Context(), server.URL)
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), statement)
		return err
	}
	require.NoError(t, exec("CREATE TABLE users ()"))
	for _, end := range []func(){server.Stop, server.Kill} {
		end()
		require.Error(t, exec("TABLE users"))
		server.Start()
		require.NoError(t, exec("TABLE users"))
	}
}

// A standby follows its primary, and takes its place.
func TestStandby(t *testing.T) {
	primary := pgtest.NewServer(t)
	standby := primary.Standby()
	connect := func(url string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	_, err := connect(primary.URL).Exec(t.Context(), "CREATE TABLE users ()")
	require.NoError(t, err)
	follower := connect(standby.URL)
	require.Eventually(t, func() bool {
		_, err := follower.Exec(t.Context(), "TABLE users")
		return err == nil
	}, 3*time.Minute, 10*time.Millisecond)
	_, err = follower.Exec(t.Context(), "DROP TABLE users")
	require.ErrorContains(t, err, "read-only")
	primary.Kill()
	standby.Promote()
	_, err = follower.Exec(t.Context(), "DROP TABLE users")
	require.NoError(t, err)
}
