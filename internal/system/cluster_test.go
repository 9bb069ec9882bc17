package system

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/internal/testenv"
)

// TestRollingRestart restarts three servers behind a load balancer, one after the other, while queries come on kept and
// on new connections: no request fails, all answers belong to one order, and ticks come once per interval.
func TestRollingRestart(t *testing.T) {
	needFlag(t)
	program, loadtest := build(t, "examples/server"), build(t, "loadtest")
	for _, test := range []struct {
		name  string
		start func(*testing.T, [3]*server) (url string)
	}{
		{"TCP proxy", startTCPProxy},
		{"HAProxy", startHAProxy},
		{"HAProxy without retries", startHAProxyWithoutRetries},
		{"nginx", startNginx},
	} {
		t.Run(test.name, func(t *testing.T) {
			database := pgtest.URL(t)
			const interval = time.Second
			start := func(address string) *server {
				return startServer(t, program, "DATABASE_URL="+database, "-addr="+address, "-users=10000", "-interval="+interval.String())
			}
			var servers [3]*server
			for i := range servers {
				servers[i] = start("127.0.0.1:0")
			}
			conn, err := pgx.Connect(t.Context(), database)
			require.NoError(t, err)
			defer conn.Close(t.Context())
			ticks := func() (n int) {
				require.NoError(t, conn.QueryRow(t.Context(), "SELECT ticks FROM users_state").Scan(&n))
				return n
			}

			url := test.start(t, servers)
			began, before := time.Now(), ticks()
			kept, unkept := startLoad(t, loadtest, url), startLoad(t, loadtest, "-k=false", url)
			for i, s := range servers {
				awaitQueries(t, s)
				s.stop()
				t.Logf("the latest query came %s after SIGTERM", latestQuery(t, s))
				servers[i] = start(s.address())
				awaitQueries(t, servers[i])
			}
			kept.end("kept connections")
			unkept.end("new connections")

			claimed := ticks() - before
			assert.Positive(t, claimed)
			assert.LessOrEqual(t, claimed, int(time.Since(began)/interval)+1)
			for _, s := range servers {
				s.stop()
			}
		})
	}
}

// awaitQueries waits until the server has answered queries of the load balancer.
func awaitQueries(t *testing.T, s *server) {
	t.Helper()
	answered := regexp.MustCompile(`(?m)^http_server_request_duration_seconds_count\{.*http_response_status_code="200",http_route="/",.*\} [1-9]`)
	eventually(t, func() bool {
		metrics, err := get(s.url + "metrics")
		return err == nil && answered.MatchString(metrics)
	}, "no query is sent to %s", s.url)
}

// latestQuery returns how long after SIGTERM the last query came to a server that has ended.
func latestQuery(t *testing.T, s *server) string {
	t.Helper()
	match := regexp.MustCompile(`msg="no longer listening" latest_query=(\S+)`).FindStringSubmatch(s.log.String())
	require.Len(t, match, 2)
	return match[1]
}

// startHAProxy starts HAProxy with the configuration of the profile "cluster", before three servers, and returns its URL.
func startHAProxy(t *testing.T, servers [3]*server) (url string) {
	t.Helper()
	return startHAProxyWith(t, servers)
}

func startHAProxyWithoutRetries(t *testing.T, servers [3]*server) (url string) {
	t.Helper()
	return startHAProxyWith(t, servers, "retries 3", "retries 0", "retry-on conn-failure empty-response", "retry-on none")
}

func startHAProxyWith(t *testing.T, servers [3]*server, replacements ...string) (url string) {
	t.Helper()
	need(t, "haproxy")
	address := "127.0.0.1:" + freePort(t)
	path := balancerConfig(t, "haproxy.cfg", servers, append(replacements, "bind :4000", "bind "+address)...)
	return startBalancer(t, address, command("haproxy", "-db", "-f", path))
}

// startNginx starts nginx before three servers, and returns its URL.
func startNginx(t *testing.T, servers [3]*server) (url string) {
	t.Helper()
	need(t, "nginx")
	address := "127.0.0.1:" + freePort(t)
	path := balancerConfig(t, "nginx.conf", servers, "listen 4000", "listen "+address)
	directory := filepath.Dir(path)
	return startBalancer(t, address, command("nginx", "-p", directory, "-e", "stderr", "-c", path, "-g",
		"daemon off; master_process off; pid "+filepath.Join(directory, "pid")+";"))
}

// balancerConfig writes a configuration of examples/server/cluster, with the addresses of three servers and further
// replacements, and returns its path.
func balancerConfig(t *testing.T, name string, servers [3]*server, replacements ...string) (path string) {
	t.Helper()
	for i, s := range servers {
		host := "server" + strings.TrimSuffix(strconv.Itoa(i+1), "1") + ":4000"
		replacements = append(replacements, " "+host, " "+s.address())
	}
	return copyWith(t, "cluster/"+name, replacements...)
}

// startBalancer starts a load balancer and returns its URL once it answers.
func startBalancer(t *testing.T, address string, cmd *exec.Cmd) (url string) {
	t.Helper()
	messages := new(testenv.Log)
	cmd.Stdout, cmd.Stderr = messages, messages
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the log of the load balancer:\n%s", messages)
		}
	})
	url = "http://" + address + "/"
	eventually(t, func() bool { _, err := get(url); return err == nil }, "the load balancer does not answer")
	return url
}

// A load is a loadtest that runs until it is ended.
type load struct {
	t       *testing.T
	command *exec.Cmd
	output  *testenv.Log
	results string // path of the JSON
}

func startLoad(t *testing.T, program string, args ...string) *load {
	t.Helper()
	l := &load{t: t, output: new(testenv.Log), results: filepath.Join(t.TempDir(), "results.json")}
	l.command = command(program, append([]string{"-q", "-l", "-c=10", "-duration=1h", "-json=" + l.results}, args...)...)
	l.command.Stdout, l.command.Stderr = l.output, l.output
	require.NoError(t, l.command.Start())
	t.Cleanup(func() {
		if l.command.ProcessState == nil {
			_ = l.command.Process.Kill()
			_ = l.command.Wait()
		}
	})
	return l
}

// end interrupts the load and checks that every request was answered with 200 and that the answers keep the contract.
func (l *load) end(name string) {
	l.t.Helper()
	require.NoError(l.t, l.command.Process.Signal(os.Interrupt))
	_ = l.command.Wait() // an interrupted run ends with 1
	text, err := os.ReadFile(l.results)
	require.NoError(l.t, err, "%s: %s", name, l.output)
	var results struct {
		Counts struct {
			Good    int `json:"good"`
			Non2xx  int `json:"non_2xx"`
			Resent  int `json:"resent"`
			Receive int `json:"receive"`
		} `json:"counts"`
		Failures []any `json:"failures"`
		Contract struct {
			Checked    bool `json:"checked"`
			Violations int  `json:"violations"`
		} `json:"contract"`
	}
	require.NoError(l.t, json.Unmarshal(text, &results))
	l.t.Logf("%s: %+v", name, results)
	assert.Positive(l.t, results.Counts.Good, name)
	assert.Empty(l.t, results.Failures, "%s: %s", name, l.output)
	assert.Zero(l.t, results.Counts.Non2xx, "%s: %s", name, l.output)
	assert.True(l.t, results.Contract.Checked, name)
	assert.Zero(l.t, results.Contract.Violations, "%s: %s", name, l.output)
}
