package pgstore_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/pgstore"
)

// Everything works behind PgBouncer in transaction mode, which gives each transaction of a client any of several
// connections, with the settings that the package documentation names.
func TestBehindPgBouncer(t *testing.T) {
	t.Run("nothing prepared", func(t *testing.T) {
		url := startPgBouncer(t, pgtest.URL(t), "")
		testBehindPgBouncer(t, url+"?default_query_exec_mode=exec&pool_max_conns=8")
	})
	t.Run("prepared statements", func(t *testing.T) {
		if !pgBouncerPrepares(t) {
			t.Skip("pgbouncer knows no prepared statements: install 1.21 or later")
		}
		url := startPgBouncer(t, pgtest.URL(t), "max_prepared_statements = 200")
		testBehindPgBouncer(t, url+"?pool_max_conns=8")
	})
}

func testBehindPgBouncer(t *testing.T, url string) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)

	store, err := pgstore.New(pool, pgstore.Config{BatchSize: 1000})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			assert.NoError(t, store.Migrate(t.Context()))
			assert.NoError(t, store.Seed(t.Context(), 20_000))
		})
	}
	wg.Wait()
	require.NoError(t, store.Migrate(t.Context()))
	assertUsers(t, store, 20_000)

	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, above := range []int{0, 50, 99, 100} {
					users, err := store.UsersAbove(t.Context(), above, 2) //nolint:contextcheck // ctx stops the loop alone
					assert.NoError(t, err)
					assert.NotNil(t, users)
				}
			}
		})
	}
	for key := range uint64(3) {
		n, err := store.UpdateAll(t.Context(), key)
		require.NoError(t, err)
		assert.EqualValues(t, 20_000, n)
		assert.Zero(t, missed(t, pool, key))
	}
	stop()
	wg.Wait()
}

// pgBouncer returns the path of the program.
func pgBouncer(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // Debian's is not on every PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.SkipOrFailf(t, "there is no pgbouncer: install the package pgbouncer")
	return ""
}

// pgBouncerPrepares reports whether it knows prepared statements, as it does since 1.21.
func pgBouncerPrepares(t *testing.T) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), pgBouncer(t), "--version").Output()
	require.NoError(t, err)
	var major, minor int
	_, err = fmt.Sscanf(string(out), "PgBouncer %d.%d", &major, &minor)
	require.NoError(t, err)
	return major > 1 || minor >= 21
}

// startPgBouncer starts one in front of a database, with fewer connections to it than clients may have, and with one
// more line of configuration.
func startPgBouncer(t *testing.T, database, setting string) (url string) {
	t.Helper()
	path := pgBouncer(t)
	server, err := pgxpool.ParseConfig(database)
	require.NoError(t, err)
	port := freePort(t)
	conn := server.ConnConfig
	password := ""
	if conn.Password != "" { // an empty one is a syntax error
		password = " password='" + conn.Password + "'"
	}
	config := fmt.Sprintf(`[databases]
points = host=%s port=%d dbname=%s user=%s%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
auth_type = any
pool_mode = transaction
default_pool_size = 5
unix_socket_dir =
%s
`, conn.Host, conn.Port, conn.Database, conn.User, password, port, setting)

	cmd := exec.Command(path, "pgbouncer.ini")
	endWithParent(cmd)
	pgtest.Unprivileged(t, cmd, map[string]string{"pgbouncer.ini": config})
	cmd.Stderr = t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		assert.NoError(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait()
	})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, 10*time.Second, 20*time.Millisecond, "pgbouncer does not listen")
	return "postgres://" + conn.User + "@" + address + "/points"
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
