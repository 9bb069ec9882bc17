package pgtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// PgBouncer starts one in front of a database, in transaction mode and with fewer connections to it than clients may
// have, unless a further line of configuration, "name = value", changes that. It is stopped at the end of the test.
// Without the program, the test is skipped, or fails where CI is set.
func PgBouncer(t testing.TB, database, setting string) (url string) {
	t.Helper()
	command := exec.Command(pgBouncer(t), "pgbouncer.ini") //nolint:noctx // the test's end stops it
	testenv.EndWithParent(command)
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	config, user, err := pgBouncerConfig(database, port, setting)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	Unprivileged(t, command, map[string]string{"pgbouncer.ini": config})
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatalf("pgtest: starting PgBouncer: %v", err)
	}
	t.Cleanup(func() {
		if err := command.Process.Signal(os.Interrupt); err != nil {
			t.Errorf("pgtest: stopping PgBouncer: %v", err)
		}
		_ = command.Wait() // it fails, because of the interrupt
	})
	address := net.JoinHostPort("127.0.0.1", port)
	if err := awaitListener(address); err != nil {
		t.Fatalf("pgtest: PgBouncer does not listen: %v", err)
	}
	return "postgres://" + user + "@" + address + "/points"
}

// SkipWithoutPreparedStatements skips the test unless PgBouncer supports prepared statements, as 1.21 and later do.
func SkipWithoutPreparedStatements(t testing.TB) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), pgBouncer(t), "--version").Output()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(output), "PgBouncer %d.%d", &major, &minor); err != nil {
		t.Fatalf("pgtest: the version of PgBouncer in %q: %v", output, err)
	}
	if major == 1 && minor < 21 {
		t.Skipf("prepared statements need PgBouncer 1.21 or later, this is %d.%d: set POINTS_TEST_PGBOUNCER to the path of "+
			"a newer one, as .ci/run test does", major, minor)
	}
}

// pgBouncer returns the path of the program: POINTS_TEST_PGBOUNCER, or else the one that is installed.
func pgBouncer(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("POINTS_TEST_PGBOUNCER"); path != "" {
		return path
	}
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} { // Debian's is not on every PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	testenv.SkipOrFailf(t, "there is no pgbouncer: install the package pgbouncer")
	return ""
}

// pgBouncerConfig returns the configuration of a PgBouncer, and the user of the database.
func pgBouncerConfig(database, port, setting string) (config, user string, err error) {
	server, err := pgxpool.ParseConfig(database)
	if err != nil {
		return "", "", err
	}
	conn := server.ConnConfig
	password := ""
	if conn.Password != "" { // an empty one is a syntax error
		password = " password='" + conn.Password + "'"
	}
	config = fmt.Sprintf(`[databases]
points = host=%s port=%s dbname=%s user=%s%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
auth_type = any
unix_socket_dir =
%s
`, conn.Host, strconv.Itoa(int(conn.Port)), conn.Database, conn.User, password, port, withDefaults(setting))
	return config, conn.User, nil
}

// withDefaults returns a setting after those that it does not replace.
func withDefaults(setting string) string {
	var lines strings.Builder
	for _, line := range []string{"pool_mode = transaction", "default_pool_size = 5"} {
		if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(setting, name+" ") {
			lines.WriteString(line + "\n")
		}
	}
	return lines.String() + setting
}

// awaitListener waits until a program listens at the address.
func awaitListener(address string) error {
	var last error
	for end := time.Now().Add(readyTimeout); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, readyTimeout) //nolint:noctx // the same
		if err == nil {
			return conn.Close()
		}
		last = err
	}
	return last
}
