package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkTelemetry compares the reference server, as a program, with and without metrics and traces. Each round loads
// every variant for a second over the same number of keep-alive connections. The ratios are medians over all rounds.
func BenchmarkTelemetry(b *testing.B) {
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the server may have been stopped
	}))
	defer sink.Close()
	program := buildServer(b, "-tags", "otlp")
	database := "DATABASE_URL=" + database(b)
	variants := []struct {
		name string
		p    *process
	}{
		{"without", startProgram(b, program, database, "TELEMETRY=false", "UPDATE_ON_START=false")},
		{"metrics", startProgram(b, program, database, "UPDATE_ON_START=false")},
		{"traces", startProgram(b, program, database, "UPDATE_ON_START=false", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+sink.URL)},
		{"memory, without", startProgram(b, program, "TELEMETRY=false")},
		{"memory, metrics", startProgram(b, program)},
	}
	rounds := map[string][]measured{}
	for range b.N {
		for _, v := range variants {
			cpu := func() int64 { return v.p.cpu(b) }
			rounds[v.name] = append(rounds[v.name], loadServers(b, []string{v.p.address}, "/", connections, cpu))
		}
	}
	for _, v := range variants {
		fmt.Fprintf(os.Stdout, "%-16s %s\n", v.name, medians(rounds[v.name])) // b.Log shows ten lines at most
	}
	b.ReportMetric(0, "ns/op")
	rate := func(m measured) float64 { return m.rate }
	b.ReportMetric(ratio(rounds["metrics"], rounds["without"], rate), "metrics/without")
	b.ReportMetric(ratio(rounds["traces"], rounds["without"], rate), "traces/without")
	b.ReportMetric(ratio(rounds["memory, metrics"], rounds["memory, without"], rate), "metrics/without-in-memory")
	cpu := func(m measured) float64 { return m.cpu }
	b.ReportMetric(ratio(rounds["metrics"], rounds["without"], cpu), "metrics/without-cpu")
	b.ReportMetric(ratio(rounds["traces"], rounds["without"], cpu), "traces/without-cpu")
	b.ReportMetric(ratio(rounds["memory, metrics"], rounds["memory, without"], cpu), "metrics/without-in-memory-cpu")
}

// A process is a running reference server.
type process struct {
	pid     int
	address string
}

// startProgram starts the reference server with these environment variables, and stops it when the benchmark ends.
func startProgram(b *testing.B, program string, environ ...string) *process {
	b.Helper()
	cmd := exec.Command(program, "-addr=127.0.0.1:0", "-interval=1h")
	cmd.Env = environ
	stderr, err := cmd.StderrPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	log := bufio.NewReader(stderr)
	drained := make(chan struct{})
	drain := func() {
		defer close(drained)
		io.Copy(io.Discard, log) //nolint:errcheck // it ends with the process
	}
	b.Cleanup(func() {
		require.NoError(b, cmd.Process.Signal(os.Interrupt))
		<-drained
		require.NoError(b, cmd.Wait())
	})
	for serving := regexp.MustCompile(`msg=serving .*url=http://(\S+)/ `); ; {
		line, err := log.ReadString('\n')
		match := serving.FindStringSubmatch(line)
		if err != nil || match != nil {
			go drain()
		}
		require.NoError(b, err)
		if match != nil {
			return &process{pid: cmd.Process.Pid, address: match[1]}
		}
	}
}

// cpu returns the CPU time that the process has used, in µs. It needs Linux, and is exact to 10 ms.
func (p *process) cpu(b *testing.B) int64 {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third one on, see proc_pid_stat(5)
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		require.NoError(b, err)
		ticks += n
	}
	const tick = 10_000 // µs
	return ticks * tick
}
