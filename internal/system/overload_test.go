package system

import (
	"cmp"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

var overload = flag.Duration("overload", 10*time.Second, "how long TestOverload overloads the server")

// TestOverload runs the server with a tenth of a processor, 128 MB and at most 500 connections. 450 clients send
// requests as fast as they get answers, first alone, then beside 19,800 others that together ask for three times what
// the server can do. All requests of the 450 must succeed, some of the others must be rejected, and once they are gone
// queries must be answered again.
func TestOverload(t *testing.T) {
	needFlag(t)
	need(t, "docker", "nice")
	program, loadtest := build(t, "examples/server", "CGO_ENABLED=0"), build(t, "loadtest")
	port := freePort(t)
	url := "http://127.0.0.1:" + port + "/"
	// With the short period the server waits for its processor for at most 9 ms.
	container := output(t, docker("run", "--detach", "--network", "host", "--cpu-period", "10000", "--cpu-quota", "1000",
		"--memory", "128m", "--memory-swap", "128m", "--volume", program+":/server:ro", "--entrypoint", "/server",
		postgresImage(), "-addr", "127.0.0.1:"+port, "-users", "100000", "-interval", "10s", "-max-connections", "500"))
	cleanDocker(t, "rm", "--force", "--volumes", container)
	eventually(t, func() bool {
		_, err := get(url + "readyz")
		return err == nil
	}, "the server does not get ready")

	clients := func(duration time.Duration) *exec.Cmd {
		return command(loadtest, "-q", "-l", "-c", "450", "-n", "1000000000", "-assert", "failed=0,non2xx=0",
			"-t", strconv.Itoa(int(duration.Seconds())), url)
	}
	alone := output(t, clients(10*time.Second))
	t.Logf("alone: %s", summary(alone))
	match := regexp.MustCompile(`(?m)^Requests per second: +(\d+)`).FindStringSubmatch(alone)
	require.Len(t, match, 2, alone)
	rate, err := strconv.Atoi(match[1])
	require.NoError(t, err)

	const open = "points_connections_open"
	eventually(t, func() bool { return metric(url, open) == 1 }, "the connections of the clients stay open")
	type result struct {
		report string
		err    error
	}
	beside := make(chan result, 1)
	go func() {
		report, err := try(clients(*overload))
		beside <- result{report, err}
	}()
	eventually(t, func() bool { return metric(url, open) > 450 }, "the clients do not connect")
	stopOthers := startOthers(t, loadtest, rate, url)
	r := <-beside
	require.NoError(t, r.err)
	t.Logf("beside others: %s", summary(r.report))
	t.Logf("memory: %s", output(t, docker("stats", "--no-stream", "--format", "{{.MemUsage}}", container)))
	stopOthers()
	// The closed connections count until the server, with its tenth of a processor, has noticed that they are closed.
	eventually(t, func() bool {
		_, err := get(url)
		return err == nil
	}, "the server still rejects queries although the clients are gone")
	rejected := metric(url, "points_connections_rejected_total")
	t.Logf("rejected connections: %d", rejected)
	assert.Greater(t, rejected, 100, "the server was not overloaded")
}

// startOthers starts the clients that overload the server, which together ask for three times the rate.
func startOthers(t *testing.T, loadtest string, rate int, url string) (stop func()) {
	t.Helper()
	const clients = 2
	started := make([]*exec.Cmd, 0, clients)
	stop = func() {
		for _, others := range started {
			_ = others.Process.Kill() // the error of a kill, too
			_ = others.Wait()
		}
		started = nil
	}
	t.Cleanup(stop)
	for range clients {
		others := command("nice", "-n", "10", loadtest, "-q", "-verify=false", "-rate", strconv.Itoa(rate*3/2),
			"-duration", "1h", "-c", "9900", "-s", "10", url)
		require.NoError(t, others.Start())
		started = append(started, others)
	}
	return stop
}

// summary returns the throughput, two percentiles and the resent requests of a report.
func summary(report string) string {
	lines := regexp.MustCompile(`(?m)^(Requests per second:|Resent:|  (50|99)%).*`).FindAllString(report, -1)
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}

// metric returns the value of a metric of the server, -1 if there is none.
func metric(url, name string) int {
	text, err := get(url + "metrics")
	if err != nil {
		return -1
	}
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if match == nil {
		return -1
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		return -1
	}
	return int(value)
}

// postgresImage returns the image for PostgreSQL and for what needs no image of its own.
func postgresImage() string {
	return cmp.Or(os.Getenv("POINTS_TEST_POSTGRES_IMAGE"), "postgres:17")
}

// freePort returns a free port of 127.0.0.1.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := testenv.FreePort()
	require.NoError(t, err)
	return port
}
