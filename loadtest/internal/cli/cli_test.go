package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call runs the command, and returns its output and exit code.
func call(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = Run(ctx, args, &out, &errs)
	return out.String(), errs.String(), code
}

// pointsApp starts a server that meets PointsApp's contract, except in the responses for which violate returns true.
func pointsApp(t *testing.T, violate func(request int) bool) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	requests, last := 0, time.Time{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		timestamp := "null"
		if !last.IsZero() {
			timestamp = last.Format(`"2006-01-02T15:04:05.000000Z07:00"`)
		}
		if now := time.Now().UTC().Truncate(time.Microsecond); now.After(last) && !violate(requests) {
			last = now
		} else if !violate(requests) {
			last = last.Add(time.Microsecond)
		}
		requests++
		w.Header().Set("Server", "test")
		fmt.Fprintf(w, `{"users":[{"id":1,"points":99}],"timestamp":%s}`, timestamp)
	})
	mux.HandleFunc("GET /updates", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		fmt.Fprintf(w, `{"updates":[{"started_at":%q,"ended_at":%q},{"started_at":%q,"ended_at":null}]}`,
			now.Add(-time.Hour).Format(time.RFC3339Nano), now.Add(-time.Minute).Format(time.RFC3339Nano), now.Add(-time.Minute).Format(time.RFC3339Nano))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func never(int) bool { return false }

func TestClosedLoop(t *testing.T) {
	server := pointsApp(t, never)
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			out, errs, code := call(t.Context(), "-n", "500", "-c", "7", "-l", "-transport", transport,
				"-e", filepath.Join(dir, "p.csv"), "-json", filepath.Join(dir, "r.json"), "-html", filepath.Join(dir, "r.html"),
				"-assert", "failed=0,p50<1m", "-assert", "rps>1", server.URL)
			require.Equal(t, exitOK, code, "%s%s", out, errs)
			for _, line := range []string{
				"Server Software:        test\n", "Concurrency Level:      7\n", "Complete requests:      500\n", "Failed requests:        0\n",
				"Keep-Alive requests:    500\n", "Document Length:        Variable\n", "PASS failed=0: 0\n",
				"Contract: 500 responses checked against PointsApp's contract, 0 violations.\n",
			} {
				assert.Contains(t, out, line)
			}
			assert.Equal(t, "Completed 100 requests\nCompleted 200 requests\nCompleted 300 requests\nCompleted 400 requests\n"+
				"Completed 500 requests\nFinished 500 requests\n", errs)

			run := readResult(t, filepath.Join(dir, "r.json"))
			assert.EqualValues(t, 500, run.Counts.Complete)
			assert.EqualValues(t, 500, run.Contract.Responses)
			assert.Len(t, run.Assertions, 4, "errors<1% is added")
			assert.Len(t, run.Updates, 1, "updates before the run are omitted")
			csv, err := os.ReadFile(filepath.Join(dir, "p.csv"))
			require.NoError(t, err)
			assert.Equal(t, 102, bytes.Count(csv, []byte("\n")))
			page, err := os.ReadFile(filepath.Join(dir, "r.html"))
			require.NoError(t, err)
			assert.Contains(t, string(page), "</html>")
		})
	}
}

func readResult(t testing.TB, path string) *report.Run {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	run, err := report.ReadJSON(f)
	require.NoError(t, err)
	return run
}

func TestCompare(t *testing.T) {
	server := pointsApp(t, never)
	file := filepath.Join(t.TempDir(), "old.json")
	_, _, code := call(t.Context(), "-q", "-n", "10", "-json", file, server.URL)
	require.Equal(t, exitOK, code)
	out, _, code := call(t.Context(), "-q", "-n", "10", "-json", file, "-compare", file, server.URL) // the old run is read before it is replaced
	require.Equal(t, exitOK, code)
	assert.Regexp(t, `Complete requests +10 +10 +1x`, out)
	out, _, code = call(t.Context(), "-q", "-n", "10", "-compare", "original", server.URL)
	require.Equal(t, exitOK, code)
	assert.Regexp(t, `Requests per second +200.92 `, out)
}

func TestOpenLoop(t *testing.T) {
	server := pointsApp(t, never)
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-q", "-rate", "200:600", "-duration", "500ms", "-json", file, server.URL)
	require.Equal(t, exitOK, code, out)
	assert.Contains(t, out, "open loop: 200:600 requests per second for 500ms")
	assert.Contains(t, out, "99.999%")
	assert.NotContains(t, out, "Concurrency Level")
	run := readResult(t, file)
	assert.Equal(t, "open", run.Load.Mode)
	assert.Equal(t, "200:600", run.Load.Rate)
	assert.EqualValues(t, 200, run.Load.Requests)
	assert.Equal(t, run.Load.Requests-run.Load.Unsent, run.Counts.Complete)
}

func TestFailedChecks(t *testing.T) {
	server := pointsApp(t, func(request int) bool { return request == 5 })
	out, errs, code := call(t.Context(), "-q", "-n", "10", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "10 responses checked against PointsApp's contract, 1 violation.")
	assert.Contains(t, out, "Violation: timestamp returned twice: {")
	assert.Empty(t, errs)

	out, _, code = call(t.Context(), "-q", "-n", "10", "-verify=false", "-assert", "rps<1", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL rps<1: ")
}

// TestUpdatesAreOfTheServer uses a proxy that answers itself: the host of the URL gets no request, and no credentials.
func TestUpdatesAreOfTheServer(t *testing.T) {
	var received atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received.Add(1) }))
	defer other.Close()
	proxy := pointsApp(t, never)
	out, errs, code := call(t.Context(), "-q", "-n", "5", "-X", proxy.Listener.Addr().String(), "-A", "bob:secret", other.URL+"/")
	require.Equal(t, exitOK, code, "%s%s", out, errs)
	assert.Contains(t, out, "Contract: 5 responses checked")
	assert.Zero(t, received.Load())
}

func TestOtherServer(t *testing.T) {
	var size atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := size.Add(1)
		if n > 1 {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, strings.Repeat("x", int(n)))
	}))
	defer server.Close()
	out, _, code := call(t.Context(), "-q", "-n", "4", server.URL)
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "Failed requests:        3\n   (Connect: 0, Receive: 0, Length: 3, Exceptions: 0)\nNon-2xx responses:      3\n")
	assert.Contains(t, out, "Length: 3 bodies differ in length from the first one.")
	assert.NotContains(t, out, "Contract")

	size.Store(0)
	out, _, code = call(t.Context(), "-q", "-n", "4", "-verify", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "1 response checked against PointsApp's contract, 1 violation.", "only the response with status 200 is checked")
}

// TestReferenceServer runs the command without a URL, with fewer requests than by default.
func TestReferenceServer(t *testing.T) {
	out, errs, code := call(t.Context(), "-n", "1000")
	require.Equal(t, exitOK, code, "%s%s", out, errs)
	assert.Contains(t, out, "Concurrency Level:      100\n")
	assert.Contains(t, out, "Contract: 1000 responses checked against PointsApp's contract, 0 violations.")
	assert.Contains(t, out, " old: original  ")
	assert.Regexp(t, `Not comparable, so without ratios: old run: another machine, PostgreSQL; new run: this machine, users in memory`, out)
	assert.NotRegexp(t, `[0-9]x\n`, out)
}

func TestTimeLimit(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	out, errs, code := call(t.Context(), "-q", "-t", "50ms", server.URL)
	assert.Equal(t, exitFailed, code, errs)
	assert.Contains(t, out, "Complete requests:      0\n", "pending requests are not complete")
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		if received.Add(1) == 10 {
			cancel()
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "r.json")
	out, errs, code := call(ctx, "-q", "-n", "1000000", "-assert", "failed=0", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	run := readResult(t, file)
	assert.Equal(t, "fail", run.Verdict)
	assert.Equal(t, []string{"interrupted"}, run.Reasons)
	assert.Contains(t, out, "Complete requests: ", "a partial report")
	assert.Regexp(t, `^loadtest: interrupted after \d+ of 1000000 requests\n$`, errs)
}

func TestNothingAnswered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	_, errs, code := call(t.Context(), "-q", "-n", "5", "http://"+listener.Addr().String())
	assert.Equal(t, exitFailed, code)
	assert.Regexp(t, `^loadtest: no request succeeded: .+\n$`, errs)
	require.NoError(t, listener.Close())
	wg.Wait()
}

func TestHelp(t *testing.T) {
	out, errs, code := call(t.Context(), "-h")
	assert.Equal(t, exitOK, code)
	assert.Empty(t, errs)
	for _, command := range []string{
		"go run ./loadtest   ", "go run ./loadtest -n 10000 -c 100 http://127.0.0.1:4000/", "go run ./loadtest -rate 5000 -duration 30s URL",
		"go run ./loadtest -find-max -slo 'p99<50ms' URL",
	} {
		assert.Contains(t, out, command)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"merge", "-V"}} {
		out, errs, code := call(t.Context(), args...)
		assert.Equal(t, exitOK, code)
		assert.Empty(t, errs)
		assert.Regexp(t, `^loadtest .+, go1\..+\n$`, out)
	}
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}
	for want, info := range map[string]debug.BuildInfo{
		"loadtest v1.2.3, go1":  {GoVersion: "go1", Main: debug.Module{Version: "v1.2.3"}, Settings: revision},
		"loadtest abc, go1":     {GoVersion: "go1", Main: debug.Module{Version: "(devel)"}, Settings: revision},
		"loadtest (devel), go1": {GoVersion: "go1"},
	} {
		assert.Equal(t, want, describeBuild(&info))
	}
}

// TestRequestsAndDuration tests -n with hey's -z, and interrupts the run after more requests than that.
func TestRequestsAndDuration(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if received.Add(1) == 5 {
			interrupt()
		}
	}))
	defer server.Close()
	out, errs, _ := call(ctx, "-q", "-n", "2", "-z", "1h", server.URL)
	assert.Contains(t, out, "1 client for 1h0m0s")
	assert.Regexp(t, "^loadtest: note: -n has no effect with -z, as in hey and oha: .+\nloadtest: interrupted after [456] requests\n$", errs)
}

// TestSingular checks the singular form in texts and errors.
func TestSingular(t *testing.T) {
	page, targets := filepath.Join(t.TempDir(), "r.html"), writeFile(t, "targets", "GET /\n")
	out, errs, code := call(t.Context(), "-targets", targets, "-html", page, respond(t, http.StatusNotFound).URL)
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "loadtest: no request succeeded: 1 of 1 response was 404 Not Found; -v 2 prints the first\n", errs)
	assert.Contains(t, out, "Document Path:          1 request, from "+targets)
	assert.Contains(t, out, "like ab: 1 client.\n")
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(content), "Closed loop: 1 client. ")
	cfg, err := flags.Parse([]string{"-rate", "1", "x"})
	require.NoError(t, err)
	assert.Contains(t, title(cfg), "open loop: 1 request per second for 10s.")
}

// TestErrors checks that each error is one line that names the rule.
func TestErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	notJSON := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, os.WriteFile(notJSON, []byte("hello"), 0o600))
	noBody := filepath.Join(t.TempDir(), "targets")
	require.NoError(t, os.WriteFile(noBody, []byte("POST /\n@/nowhere\n"), 0o600))
	const url = "http://127.0.0.1:1/"

	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-n", "5", "http://no..host/"}, exitFailed, `host "no..host" not found`},
		{[]string{refused}, exitFailed, "connection refused"},
		{[]string{"-json", "/nowhere/r.json", url}, exitFailed, "cannot write the output: open /nowhere/r.json"},
		{[]string{"-html", "/", url}, exitFailed, "cannot write the output"},
		{[]string{"-compare", "/nowhere/r.json", url}, exitFailed, "cannot read the run: open /nowhere/r.json"},
		{[]string{"-compare", notJSON, url}, exitFailed, "not the JSON of a load test"},
		{[]string{"-assert", "p99<50", url}, exitUsage, "must have a unit"},
		{[]string{"-slo", "p99<50ms", url}, exitUsage, "-slo needs -find-max"},
		{[]string{"-assert", "p99<old", url}, exitUsage, "-assert with old needs -compare"},
		{[]string{"-assert", "p99<old", "-compare", "original", url}, exitUsage, "not the figures of the original"},
		{[]string{"-assert", "p99<1.1old", url}, exitUsage, "must have the form 1.1*old"},
		{[]string{"-repeat", "0", url}, exitUsage, "-repeat must be at least 1, got 0"},
		{[]string{"-repeat", "2", "-find-max", "-slo", "p99<1s", url}, exitUsage, "-repeat cannot be used with -find-max"},
		{[]string{"-compare", url}, exitUsage, "needs the URL of a new one"},
		{[]string{"-compare", "https://x", url}, exitUsage, "both servers must have the same scheme"},
		{[]string{"-find-max", "-slo", "p99<old", url}, exitUsage, "-slo cannot have old"},
		{[]string{"-find-max", "-slo", "p99<1s,rps>3000", url}, exitUsage, "-slo needs upper bounds, got rps>3000"},
		{[]string{"-find-max", url}, exitUsage, "-find-max needs -slo"},
		{[]string{"-find-max", "-slo", "p99<1s", "-rate", "1:2", url}, exitUsage, "-rate must be constant with -find-max, got the ramp 1:2"},
		{[]string{"-n", "x", url}, exitUsage, `-n must be a whole number, got "x"`},
		{[]string{"-n", "0", url}, exitUsage, "-n must be at least 1, got 0\n"},
		{[]string{"-c", "0", url}, exitUsage, "-c must be from 1 to 65535, got 0"},
		{[]string{"-c", "5", url}, exitUsage, "-c must be at most -n (1), got 5"},
		{[]string{"-t", "0", url}, exitUsage, `-t must be a number of seconds above 0, got "0"`},
		{[]string{"-s", "soon", url}, exitUsage, `-s must be a number of seconds above 0, got "soon"`},
		{[]string{"-H", "nonsense", url}, exitUsage, "-H must have the form 'Name: value'"},
		{[]string{"-i", "-m", "POST", url}, exitUsage, "-i and -m cannot be used together"},
		{[]string{"-rate", "fast", url}, exitUsage, "-rate must be a number of requests per second"},
		{[]string{"-rate", "5", "-n", "5", url}, exitUsage, "use -duration"},
		{[]string{"-rate", "5", "-duration", "-5s", url}, exitUsage, "-duration must be above 0, got -5s"},
		{[]string{"-rate", "5", "-duration", "0", url}, exitUsage, "-duration must be above 0, got 0s"},
		{[]string{"-duration", "5s", "-t", "5", url}, exitUsage, "-t and -duration cannot be used together"},
		{[]string{"-find-max", "-slo", "p99<1s", "-rate", "0.5", url}, exitUsage, "-rate must be at least 1 with -find-max"},
		{[]string{"-insecure", url}, exitUsage, "-insecure, -cacert, -cert (or -E) and -http2=false need an https URL"},
		{[]string{"-E", "c.pem", url}, exitUsage, "-insecure, -cacert, -cert (or -E) and -http2=false need an https URL"},
		{[]string{"-http2=false", url}, exitUsage, "-insecure, -cacert, -cert (or -E) and -http2=false need an https URL"},
		{[]string{"-key", "k.pem", "https://127.0.0.1:1/"}, exitUsage, "-key needs -cert, the file of its certificate"},
		{[]string{"-targets", notJSON, url}, exitFailed, "cannot read the targets in " + notJSON + ": bad target: hello"},
		{[]string{"-targets", "/nowhere", url}, exitFailed, "cannot read the targets: open /nowhere"},
		{[]string{"-targets", noBody, url}, exitFailed, "bad body: open /nowhere: no such file or directory\n"},
		{[]string{"-targets", "x", "-p", "y", url}, exitUsage, "-targets cannot be used with"},
		{[]string{"-unix-socket", "/nowhere", url}, exitFailed, "cannot connect to /nowhere: no such file or directory\n"},
		{[]string{"-transport", "pigeon", url}, exitUsage, `-transport must be http1 or net/http, got "pigeon"`},
		{[]string{"-transport", "http1", "https://127.0.0.1:1/"}, exitUsage, "-transport must be net/http for an https URL, got http1: for HTTP/1.1 use -http2=false\n"},
		{[]string{"-cpus", "-1", url}, exitUsage, "-cpus must be from 1 to 1024"},
		{[]string{"-verify=maybe", url}, exitUsage, `-verify must be true or false, got "maybe"`},
		{[]string{"-jjj"}, exitUsage, "unknown flag -jjj (-h lists the flags)"},
		{[]string{"-compare", "a.json", "b.json"}, exitUsage, "use loadtest merge -compare OLD.json NEW.json"},
		{[]string{"compare", "a.json", "b.json"}, exitUsage, "use loadtest merge -compare OLD.json NEW.json"},
		{[]string{url, "-n", "5"}, exitUsage, "flags must come before the URL, got -n after it\n"},
		{[]string{url, url}, exitUsage, `the URL must be the last argument, got "http://127.0.0.1:1/" after it`},
		{[]string{"-metrics", "bad", url}, exitUsage, "-metrics must have the form HOST:PORT"},
		{[]string{"-assert", "rps>=inf", url}, exitUsage, "the value must be a number"},
		{[]string{"-json", "x", "-html", "./x", url}, exitUsage, "-json and -html need different files"},
		{[]string{"ftp://x/"}, exitUsage, "the URL must have the form"},
		{[]string{"http://x:99999/"}, exitUsage, "port must be from 1 to 65535"},
		{[]string{"http://"}, exitUsage, "the URL must have the form"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			_, errs, code := call(t.Context(), tt.args...)
			assert.Equal(t, tt.code, code)
			assert.Contains(t, errs, tt.want)
			assert.Equal(t, 1, strings.Count(errs, "\n"), errs)
		})
	}
}

func TestFetchUpdatesIgnoresOtherServers(t *testing.T) {
	for name, body := range map[string]string{"not JSON": "hello", "other JSON": `{"updates":5}`, "none": `{"updates":[]}`, "empty": "{}"} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
			defer server.Close()
			cfg, err := flags.Parse([]string{server.URL})
			require.NoError(t, err)
			r := run{cfg: cfg, start: time.Now()}
			r.contract.Checked = true
			assert.Empty(t, fetchUpdates(t.Context(), &r))
		})
	}
}
