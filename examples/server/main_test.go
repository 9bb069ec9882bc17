package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry/otlp"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// beServer is the variable that makes the test binary run as the server.
const beServer = "POINTS_TEST_BE_SERVER"

func TestMain(m *testing.M) {
	switch os.Getenv(beServer) {
	case "default":
		main()
	case "otlp": // as built with -tags otlp
		os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, otlp.New))
	}
	os.Exit(pgtest.Main(m).Run())
}

// command returns the server as a command, with these arguments and environment variables alone.
func command(t *testing.T, args []string, environ ...string) (server *exec.Cmd, stdout *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	server = exec.CommandContext(ctx, program, args...)
	// Of a variable that is there twice, the last counts.
	server.Env = append([]string{beServer + "=default", "SHUTDOWN_DELAY=0s"}, environ...)
	stdout = new(bytes.Buffer)
	server.Stdout = stdout
	return server, stdout
}

// Each failure prints one line to standard error and ends with the documented exit code.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() }) // not before the parallel subtests have ended
	for name, test := range map[string]struct {
		args, environ []string
		code          int
		stderr        string
	}{
		"unknown flag":   {[]string{"-nonsense"}, nil, 2, `server: flag provided but not defined: -nonsense \(-h explains all flags\)\n`},
		"stray argument": {[]string{"-update-on-start", "false"}, nil, 2, `server: unexpected argument false: .*\n`},
		"bad flag":       {[]string{"-users=-1"}, nil, 2, `server: -users must be at least 0, got -1 \(-h explains all flags\)\n`},
		"bad variable":   {nil, []string{"TIMER_INTERVAL=x"}, 2, `server: TIMER_INTERVAL must be a duration .*, got x .*\n`},
		"bad URL":        {nil, []string{"DATABASE_URL=postgres://me:s3cret@db:x/y"}, 2, `server: DATABASE_URL must look like .*: invalid port .*\n`},
		"no exporter":    {nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, 1, `time=\S+ level=ERROR msg="OTEL_EXPORTER_OTLP_ENDPOINT is set, .*-tags otlp.*"\n`},
		"taken port":     {[]string{"-addr", taken.Addr().String()}, nil, 1, `time=\S+ level=ERROR msg="\S+: another program listens there: .*"\n`},
		"unreachable": {
			[]string{"-addr=127.0.0.1:0", "-log-format=json"}, []string{"DATABASE_URL=postgres://me:s3cret@127.0.0.1:1/y"}, 1,
			`\{"time":"\S+","level":"ERROR","msg":"PostgreSQL at 127.0.0.1:1: nothing listens there: .*"\}\n`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, stdout := command(t, test.args, test.environ...)
			var stderr bytes.Buffer
			server.Stderr = &stderr
			err := server.Run()
			if test.code == 0 {
				require.NoError(t, err)
			} else {
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit)
				assert.Equal(t, test.code, exit.ExitCode())
				assert.Equal(t, 1, strings.Count(stderr.String(), "\n"))
			}
			assert.Regexp(t, `^`+test.stderr+`$`, stderr.String())
			assert.NotContains(t, stderr.String(), "s3cret")
			assert.Empty(t, stdout.String())
		})
	}
}

// Actions write only their output to standard output, and start no server.
func TestActions(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=postgres://me:s3cret@db/points?sslmode=require", "USERS=7"}
	for action, want := range map[string]string{
		"-h":            `(?s)Usage: server \[flags\]\n.*-addr HOST:PORT.*`,
		"-version":      `pointsapp \S+, revision .+, go1\.\S+\n`,
		"-print-config": `(?s)ADDR=127\.0\.0\.1:4000\nCONTROL_TOKEN=\nCORS_ORIGINS=\n# DATABASE_URL has a password that is not shown: set PGPASSWORD\nDATABASE_URL=postgres://me@db/points\?sslmode=require\n.*\nUSERS=7\n`,
	} {
		server, stdout := command(t, []string{action}, environ...)
		var stderr bytes.Buffer
		server.Stderr = &stderr
		require.NoError(t, server.Run())
		assert.Regexp(t, "^"+want+"$", stdout.String())
		assert.Empty(t, stderr.String())
	}
}

// An action whose output cannot be written fails: an empty env file would set nothing.
func TestActionsOnFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("this machine has no /dev/full: %v", err)
	}
	defer full.Close()
	for _, action := range []string{"-h", "-version", "-print-config"} {
		server, _ := command(t, []string{action})
		var stderr bytes.Buffer
		server.Stdout, server.Stderr = full, &stderr
		require.Error(t, server.Run())
		assert.Equal(t, 1, server.ProcessState.ExitCode())
		assert.Regexp(t, `^server: .*no space left on device\n$`, stderr.String())
	}
}

// The OpenAPI description has the version that -version prints.
func TestDescriptionHasVersion(t *testing.T) {
	t.Parallel()
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"})
	address, log := startServer(t, server)
	response, err := http.Get("http://" + address + "/openapi.json")
	require.NoError(t, err)
	defer response.Body.Close()
	var description struct {
		Info struct {
			Version string `json:"version"`
		} `json:"info"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&description))
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())

	program, stdout := command(t, []string{"-version"})
	require.NoError(t, program.Run())
	assert.Contains(t, stdout.String(), "pointsapp "+description.Info.Version+", ")
}

// -healthcheck reports whether the server at -addr can answer.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"})
	address, log := startServer(t, server)
	check := func() (stderr string, err error) {
		t.Helper()
		healthcheck, stdout := command(t, []string{"-healthcheck"}, "ADDR="+address)
		var text bytes.Buffer
		healthcheck.Stderr = &text
		err = healthcheck.Run()
		assert.Empty(t, stdout.String())
		return text.String(), err
	}
	stderr, err := check()
	require.NoError(t, err)
	assert.Empty(t, stderr)

	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
	stderr, err = check()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Regexp(t, `^server: `+address+`: nothing listens there: .*\n$`, stderr)
}

// startServer starts the server on a free port and waits until it serves. It returns its address, and the log from there.
func startServer(t *testing.T, server *exec.Cmd) (address string, log *bufio.Reader) {
	t.Helper()
	address, stderr := startServerWith(t, server)
	return address, bufio.NewReader(stderr)
}

// startServerWith is startServer with the pipe of the log. It has read one line of it, a byte at a time.
func startServerWith(t *testing.T, server *exec.Cmd) (address string, stderr io.ReadCloser) {
	t.Helper()
	stderr, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	log := bufio.NewReaderSize(iotest.OneByteReader(stderr), 16)
	line, err := log.ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`msg=serving users=10 url=http://(\S+)/ store=memory interval=1m0s instance=\S+ shared=false\n`).FindStringSubmatch(line)
	require.Len(t, match, 2, line)
	return match[1], stderr
}

// Either signal ends it gracefully.
func TestSignals(t *testing.T) {
	t.Parallel()
	// If the tests run under nohup, the servers must not inherit that SIGHUP is ignored.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangups) })
	for _, sent := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP} {
		t.Run(sent.String(), func(t *testing.T) {
			t.Parallel()
			server, stdout := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"})
			_, log := startServer(t, server)
			require.NoError(t, server.Process.Signal(sent))
			rest, err := io.ReadAll(log)
			require.NoError(t, err)
			require.NoError(t, server.Wait())
			assert.Regexp(t, `^\S+ level=INFO msg="shutting down"\n\S+ level=INFO msg=stopped\n$`, string(rest))
			assert.Empty(t, stdout.String())
		})
	}
}

// After nohup the end of a terminal's session does not end the server.
func TestIgnoredHangup(t *testing.T) {
	t.Parallel()
	server, _ := command(t, []string{"-c", `trap "" HUP; exec "$0" "$@"`, "", "-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"})
	server.Args[3], server.Path = server.Path, "/bin/sh"
	address, log := startServer(t, server)
	require.NoError(t, server.Process.Signal(syscall.SIGHUP))
	status := func() int {
		response, err := http.Get("http://" + address + "/readyz")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	for range 20 {
		status() // 503 at times on a busy machine
	}
	require.Eventually(t, func() bool { return status() == http.StatusOK }, time.Minute, 10*time.Millisecond)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
}

// With the users in a database, the garbage collector runs less often, unless GOGC says how often.
func TestGCPercent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ []string
		want    string
	}{
		"memory":         {nil, "100"},
		"database":       {[]string{"DATABASE_URL=" + pgtest.URL(t)}, "400"},
		"database, GOGC": {[]string{"DATABASE_URL=" + pgtest.URL(t), "GOGC=50"}, "50"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"}, test.environ...)
			stderr, err := server.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, server.Start())
			log := bufio.NewReader(stderr)
			var serving []string
			for serving == nil {
				line, err := log.ReadString('\n')
				require.NoError(t, err)
				serving = regexp.MustCompile(`msg=serving .*url=http://(\S+)/ `).FindStringSubmatch(line)
			}
			response, err := http.Get("http://" + serving[1] + "/metrics")
			require.NoError(t, err)
			defer response.Body.Close()
			metrics, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Contains(t, string(metrics), "\ngo_gc_gogc_percent "+test.want+"\n")
			require.NoError(t, server.Process.Signal(syscall.SIGTERM))
			_, err = io.ReadAll(log)
			require.NoError(t, err)
			require.NoError(t, server.Wait())
		})
	}
}

// The server survives a log whose reader has closed it.
func TestClosedLog(t *testing.T) {
	t.Parallel()
	const token = "sixteen letters!"
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"}, "CONTROL_TOKEN="+token)
	address, stderr := startServerWith(t, server)
	require.NoError(t, stderr.Close())
	for range 3 { // each logs a line
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/control/pause", nil)
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusNoContent, response.StatusCode)
	}
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	require.NoError(t, server.Wait())
}

// Variables that look like settings are reported.
func TestMisspeltVariable(t *testing.T) {
	t.Parallel()
	server, _ := command(t, []string{"-addr=127.0.0.1:x"}, "TIMER_INTERVALL=1s")
	var stderr bytes.Buffer
	server.Stderr = &stderr
	require.Error(t, server.Run())
	assert.NotContains(t, stderr.String(), "TIMER", "nothing runs")

	server, _ = command(t, []string{"-addr=192.0.2.1:4000"}, "TIMER_INTERVALL=1s", "USER=me", "USERS=7")
	stderr.Reset()
	server.Stderr = &stderr
	require.Error(t, server.Run())
	assert.Contains(t, stderr.String(), `level=WARN msg="unknown environment variable" name="TIMER_INTERVALL (is TIMER_INTERVAL meant?)"`)
	assert.Equal(t, 1, strings.Count(stderr.String(), "WARN"))
}

// While it waits for a client that does not end its request, a second signal ends it at once.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	const token = "sixteen letters!"
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"}, "CONTROL_TOKEN="+token)
	address, log := startServer(t, server)
	client, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer client.Close()
	_, err = io.WriteString(client, "POST /control/interval HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"+
		"Expect: 100-continue\r\nAuthorization: Bearer "+token+"\r\n\r\n") // and no body
	require.NoError(t, err)
	line, err := bufio.NewReader(client).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue", "the handler reads the body")
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	line, err = log.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "shutting down")

	// The handler of the first signal is removed while that line is written.
	ended := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, log)
		ended <- server.Wait()
	}()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "it took the first signal's time")
			status, ok := exit.Sys().(syscall.WaitStatus)
			require.True(t, ok)
			assert.Equal(t, syscall.SIGTERM, status.Signal())
			return
		case <-again.C:
			_ = server.Process.Signal(syscall.SIGTERM)
		}
	}
}

// An export that fails is logged, in the format of the log.
func TestFailedExportIsLogged(t *testing.T) {
	t.Parallel()
	server, _ := command(t, []string{"-addr=127.0.0.1:0", "-users=10", "-update-on-start=false"},
		beServer+"=otlp", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_SAMPLER=always_on", "OTEL_BSP_SCHEDULE_DELAY=1")
	address, log := startServer(t, server)
	response, err := http.Get("http://" + address)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	line, err := log.ReadString('\n')
	require.NoError(t, err)
	assert.Regexp(t, `^time=\S+ level=WARN msg="export of telemetry failed" error=.*connection refused`, line)
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait())
}
