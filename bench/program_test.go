package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// BenchmarkProgram compares the reference server's program with its default settings with a plain net/http program that
// writes the same number of fixed bytes. wrk loads each of them over 100 keep-alive connections, one after the other
// in each round. The ratios are medians over all rounds. The CPU time is that of the server, without the database's.
func BenchmarkProgram(b *testing.B) {
	if _, err := exec.LookPath("wrk"); err != nil {
		testenv.SkipOrFailf(b, "wrk is missing: %v", err)
	}
	duration := "3s"
	if testing.Short() {
		duration = "1s"
	}
	program := buildServer(b)
	const noTelemetry = "TELEMETRY=false"
	url := "DATABASE_URL=" + database(b)
	postgres := func(settings ...string) *process {
		return startProgram(b, program, append(settings, url, "UPDATE_ON_START=false")...)
	}
	variants := []struct {
		name string
		p    *process
	}{
		{"fixed", startSelf(b, plainEnv+"=yes")},
		{"memory", startProgram(b, program)},
		{"memory, without telemetry", startProgram(b, program, noTelemetry)},
		{"PostgreSQL", postgres()},
		{"PostgreSQL, without telemetry", postgres(noTelemetry)},
		{"PostgreSQL, state of its own", postgres("SHARED=false")},
	}
	rounds := map[string][]measured{}
	for range b.N {
		for _, v := range variants {
			rounds[v.name] = append(rounds[v.name], wrk(b, v.p, duration))
		}
	}
	rate := func(m measured) float64 { return m.rate }
	cpu := func(m measured) float64 { return m.cpu }
	for _, v := range variants {
		fmt.Fprintf(os.Stdout, "%-30s %s; to fixed: rate %.2f, CPU %.2f\n", v.name, medians(rounds[v.name]),
			ratio(rounds[v.name], rounds["fixed"], rate), ratio(rounds[v.name], rounds["fixed"], cpu))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio(rounds["memory"], rounds["fixed"], rate), "memory-rate/fixed")
	b.ReportMetric(ratio(rounds["PostgreSQL"], rounds["fixed"], rate), "rate/fixed")
	b.ReportMetric(ratio(rounds["PostgreSQL"], rounds["fixed"], cpu), "cpu/fixed")
	b.ReportMetric(ratio(rounds["memory"], rounds["memory, without telemetry"], cpu), "memory-cpu/without-telemetry")
	b.ReportMetric(ratio(rounds["PostgreSQL"], rounds["PostgreSQL, without telemetry"], cpu), "cpu/without-telemetry")
}

// buildServer builds the reference server, with these flags of go build.
func buildServer(b *testing.B, flags ...string) (program string) {
	b.Helper()
	program = filepath.Join(b.TempDir(), "server")
	args := append([]string{"build", "-o", program}, append(flags, "../examples/server")...)
	output, err := exec.CommandContext(b.Context(), "go", args...).CombinedOutput()
	require.NoError(b, err, string(output))
	return program
}

// Lines of wrk's report.
var (
	wrkTotal   = regexp.MustCompile(`(\d+) requests in`)
	wrkRate    = regexp.MustCompile(`Requests/sec: +([\d.]+)`)
	wrkFailed  = regexp.MustCompile(`Socket errors|Non-2xx`)
	wrkLatency = regexp.MustCompile(`(50|99)% +([\d.]+)(us|ms|s)`)
)

// wrk loads a server with one thread, and measures the server.
func wrk(b *testing.B, p *process, duration string) (m measured) {
	b.Helper()
	before := p.cpu(b)
	output, err := exec.CommandContext(b.Context(), "wrk", "--latency", "-t", "1", "-c", strconv.Itoa(connections),
		"-d", duration, "http://"+p.address+"/").CombinedOutput()
	after := p.cpu(b)
	require.NoError(b, err, string(output))
	require.NotRegexp(b, wrkFailed, string(output))
	number := func(s []byte) float64 {
		n, err := strconv.ParseFloat(string(s), 64)
		require.NoError(b, err)
		return n
	}
	total, rate := wrkTotal.FindSubmatch(output), wrkRate.FindSubmatch(output)
	require.NotNil(b, total, string(output))
	require.NotNil(b, rate, string(output))
	m.rate = number(rate[1])
	m.cpu = float64(after-before) / number(total[1])
	for _, latency := range wrkLatency.FindAllSubmatch(output, -1) {
		ms := number(latency[2]) * map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[string(latency[3])]
		if string(latency[1]) == "50" {
			m.p50 = ms
		} else {
			m.p99 = ms
		}
	}
	return m
}
