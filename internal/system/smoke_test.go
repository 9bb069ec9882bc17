package system

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// TestSmoke checks the server's first answer, and that no request of ab's fails before, during and after updates.
func TestSmoke(t *testing.T) {
	needFlag(t)
	need(t, "ab")
	program := build(t, "examples/server")
	t.Run("in memory", func(t *testing.T) { testSmoke(t, program, "DATABASE_URL=") })
	t.Run("PostgreSQL", func(t *testing.T) {
		url := pgtest.URL(t)
		testSmoke(t, program, "DATABASE_URL="+url)
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		var missed int
		err = conn.QueryRow(t.Context(), "SELECT 1000000 - count(*) FROM users WHERE updated_at > inserted_at").Scan(&missed)
		require.NoError(t, err)
		assert.Zero(t, missed, "users that no update has reached")
	})
}

func testSmoke(t *testing.T, program, env string) {
	t.Helper()
	s := startServer(t, program, env, "-update-on-start=false")
	first, err := get(s.url)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(first, `{"users":[],"timestamp":null}`), "the first answer is %s", first)
	s.load("before the first update")
	s.stop()

	s = startServer(t, program, env, "-interval", "100ms")
	s.load("while updates run")
	s.stop()

	s = startServer(t, program, env)
	eventually(t, func() bool {
		ready, err := get(s.url + "readyz")
		return err == nil && strings.Contains(ready, `"last_success":`)
	}, "no update has succeeded")
	s.load("after an update")
	answer, err := get(s.url)
	require.NoError(t, err)
	t.Log(answer)
	s.stop()
}

// A server is a process of examples/server.
type server struct {
	t       *testing.T
	command *exec.Cmd
	url     string
	log     *testenv.Log
	ended   chan error
}

// startServer starts the program on a free port and waits until it is ready.
func startServer(t *testing.T, program, env string, args ...string) *server {
	t.Helper()
	cmd := command(program, append([]string{"-addr=127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), env)
	s := &server{t: t, command: cmd, log: new(testenv.Log), ended: make(chan error, 1)}
	cmd.Stderr = s.log
	require.NoError(t, cmd.Start())
	go func() { s.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error says that it has ended
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.log)
		}
	})
	eventually(t, func() bool {
		if match := regexp.MustCompile(`url=(http://\S+)`).FindStringSubmatch(s.log.String()); match != nil {
			s.url = match[1]
		}
		_, err := get(s.url + "readyz")
		return s.url != "" && err == nil
	}, "the server does not get ready")
	return s
}

// address returns the server's host:port.
func (s *server) address() string { return strings.Trim(strings.TrimPrefix(s.url, "http://"), "/") }

// stop sends SIGTERM, as an orchestrator does, and checks that the server ends in time and with exit code 0.
func (s *server) stop() {
	s.t.Helper()
	require.NoError(s.t, s.command.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.ended:
		require.NoError(s.t, err)
	case <-time.After(10 * time.Second): // what Docker waits before it kills
		require.Fail(s.t, "the server still runs 10 s after SIGTERM")
	}
}

// load runs the benchmark of the original: all answers must be 200.
func (s *server) load(when string) {
	s.t.Helper()
	report := output(s.t, command("ab", "-q", "-k", "-l", "-n", "10000", "-c", "100", s.url))
	assert.Regexp(s.t, `(?m)^Complete requests: +10000$`, report, when)
	assert.Regexp(s.t, `(?m)^Failed requests: +0$`, report, when)
	assert.NotRegexp(s.t, `(?m)^Non-2xx responses:`, report, when)
	s.t.Logf("%s: %s", when, regexp.MustCompile(`(?m)^Requests per second:.*`).FindString(report))
}
