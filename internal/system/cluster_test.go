package system

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// TestRollingRestart restarts three servers behind HAProxy, one after the other, while queries come on kept and on new
// connections: no request fails, all answers belong to one order, and ticks come once per interval.
func TestRollingRestart(t *testing.T) {
	needFlag(t)
	need(t, "haproxy")
	program, loadtest := build(t, "examples/server"), build(t, "loadtest")
	url := pgtest.URL(t)
	const interval = time.Second
	start := func(address string) *server {
		return startServer(t, program, "DATABASE_URL="+url, "-addr="+address, "-users=10000", "-interval="+interval.String(),
			"-drain-delay=1s")
	}
	var servers [3]*server
	for i := range servers {
		servers[i] = start("127.0.0.1:0")
	}
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	ticks := func() (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT ticks FROM users_state").Scan(&n))
		return n
	}

	target, haproxy := startHAProxy(t, servers)
	began, before := time.Now(), ticks()
	kept, unkept := startLoad(t, loadtest, target), startLoad(t, loadtest, "-k=false", target)
	for i, s := range servers {
		name := "Server servers/server" + string(rune('1'+i))
		s.stop()
		require.Contains(t, haproxy.String(), name+" is DOWN", "a server ends before HAProxy notices that it is not ready")
		servers[i] = start(s.address())
		eventually(t, func() bool { return strings.Contains(haproxy.String(), name+" is UP") }, "%s is not up again", name)
	}
	kept.end("kept connections")
	unkept.end("new connections")
	assert.NotContains(t, haproxy.String(), "no server available")

	claimed := ticks() - before
	assert.Positive(t, claimed)
	assert.LessOrEqual(t, claimed, int(time.Since(began)/interval)+1)
	for _, s := range servers {
		s.stop()
	}
}

// startHAProxy starts HAProxy with the configuration of the profile "cluster", before three servers, and returns its URL
// and its log.
func startHAProxy(t *testing.T, servers [3]*server) (url string, messages *log) {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(root, "examples/server/cluster/haproxy.cfg"))
	require.NoError(t, err)
	address := "127.0.0.1:" + freePort(t)
	replace := []string{
		"bind :4000", "bind " + address,
		"server1 server:4000", "server1 " + servers[0].address(),
		"server2 server2:4000", "server2 " + servers[1].address(),
		"server3 server3:4000", "server3 " + servers[2].address(),
	}
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(config), replace[i])
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	require.NoError(t, os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(string(config))), 0o600))
	messages = new(log)
	cmd := command("haproxy", "-db", "-f", path)
	cmd.Stdout, cmd.Stderr = messages, messages
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy's log:\n%s", messages)
		}
	})
	url = "http://" + address + "/"
	eventually(t, func() bool { _, err := get(url); return err == nil }, "HAProxy does not answer")
	return url, messages
}

// A load is a loadtest that runs until it is ended.
type load struct {
	t       *testing.T
	command *exec.Cmd
	output  *log
	results string // path of the JSON
}

func startLoad(t *testing.T, program string, args ...string) *load {
	t.Helper()
	l := &load{t: t, output: new(log), results: filepath.Join(t.TempDir(), "results.json")}
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
		Failures int `json:"failures"`
		Contract struct {
			Checked    bool `json:"checked"`
			Violations int  `json:"violations"`
		} `json:"contract"`
	}
	require.NoError(l.t, json.Unmarshal(text, &results))
	l.t.Logf("%s: %+v", name, results)
	assert.Positive(l.t, results.Counts.Good, name)
	assert.Zero(l.t, results.Failures, "%s: %s", name, l.output)
	assert.Zero(l.t, results.Counts.Non2xx, "%s: %s", name, l.output)
	assert.True(l.t, results.Contract.Checked, name)
	assert.Zero(l.t, results.Contract.Violations, "%s: %s", name, l.output)
}
