package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/loadtest/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call runs the command with args and returns what it wrote and its exit code.
func call(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	p := program{stdout: &out, stderr: &errs}
	code = p.run(ctx, args)
	return out.String(), errs.String(), code
}

// pointsApp is a server that keeps PointsApp's contract, but for each answer of which broken says so.
func pointsApp(t *testing.T, broken func(request int) bool) *httptest.Server {
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
		if now := time.Now().UTC().Truncate(time.Microsecond); now.After(last) && !broken(requests) {
			last = now
		} else if !broken(requests) {
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
	for _, transport := range []string{lean, standard} {
		t.Run(transport, func(t *testing.T) {
			dir := t.TempDir()
			out, errs, code := call(t.Context(), "-n", "500", "-c", "7", "-l", "-transport", transport,
				"-e", filepath.Join(dir, "p.csv"), "-json", filepath.Join(dir, "r.json"), "-html", filepath.Join(dir, "r.html"),
				"-assert", "failed=0,p50<1m", "-assert", "rps>1", server.URL)
			require.Equal(t, exitOK, code, "%s%s", out, errs)
			for _, line := range []string{
				"Server Software:        test\n", "Concurrency Level:      7\n", "Complete requests:      500\n", "Failed requests:        0\n",
				"Keep-Alive requests:    500\n", "Document Length:        Variable\n", "kept   failed=0: 0\n",
				"Contract: 500 answers held against PointsApp's contract, 0 violations.\n",
			} {
				assert.Contains(t, out, line)
			}
			assert.Equal(t, "Completed 100 requests\nCompleted 200 requests\nCompleted 300 requests\nCompleted 400 requests\n"+
				"Completed 500 requests\nFinished 500 requests\n", errs)

			run := readRun(t, filepath.Join(dir, "r.json"))
			assert.EqualValues(t, 500, run.Counts.Complete)
			assert.EqualValues(t, 500, run.Contract.Answers)
			assert.Len(t, run.Assertions, 3)
			assert.Len(t, run.Updates, 1, "the one of an hour ago is left out")
			csv, err := os.ReadFile(filepath.Join(dir, "p.csv"))
			require.NoError(t, err)
			assert.Equal(t, 102, bytes.Count(csv, []byte("\n")))
			page, err := os.ReadFile(filepath.Join(dir, "r.html"))
			require.NoError(t, err)
			assert.Contains(t, string(page), "</html>")
		})
	}
}

func readRun(t *testing.T, path string) *report.Run {
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
	out, _, code := call(t.Context(), "-q", "-n", "10", "-json", file, "-compare", file, server.URL) // read, then written
	require.Equal(t, exitOK, code)
	assert.Regexp(t, `Complete requests +10 +10 +1x`, out)
	out, _, code = call(t.Context(), "-q", "-n", "10", "-compare", "seed", server.URL)
	require.Equal(t, exitOK, code)
	assert.Regexp(t, `Requests per second +200.92 `, out)
}

func TestOpenLoop(t *testing.T) {
	server := pointsApp(t, never)
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-q", "-rate", "200:600", "-duration", "500ms", "-json", file, server.URL)
	require.Equal(t, exitOK, code, out)
	assert.Contains(t, out, "open loop: 200:600 requests per second for 500ms")
	assert.Contains(t, out, "Complete requests:      200\n")
	assert.Contains(t, out, "99.999%")
	assert.NotContains(t, out, "Concurrency Level")
	run := readRun(t, file)
	assert.Equal(t, "open", run.Load.Mode)
	assert.Equal(t, "200:600", run.Load.Rate)
}

func TestFindMax(t *testing.T) {
	server := pointsApp(t, never)
	file := filepath.Join(t.TempDir(), "r.json")
	// The promise breaks by a count and not by a time: 20 requests a second for 500 ms are 10, and 40 are 20.
	out, _, code := call(t.Context(), "-find-max", "-slo", "rps<31,failed=0", "-rate", "20", "-duration", "500ms", "-json", file, server.URL)
	require.Equal(t, exitOK, code, out)
	assert.Contains(t, out, "broken: rps<31")
	run := readRun(t, file)
	require.NotNil(t, run.Search)
	assert.GreaterOrEqual(t, run.Search.Highest, 20)
	assert.Less(t, run.Search.Highest, 40)
	assert.Contains(t, out, fmt.Sprintf("Verdict: %d requests per second keep rps<31,failed=0.", run.Search.Highest))

	out, _, code = call(t.Context(), "-find-max", "-slo", "p50<0s", "-rate", "1", "-duration", "500ms", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "Verdict: no rate keeps p50<0s")
}

func TestBroken(t *testing.T) {
	server := pointsApp(t, func(request int) bool { return request == 5 })
	out, errs, code := call(t.Context(), "-q", "-n", "10", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "10 answers held against PointsApp's contract, 1 violations.")
	assert.Contains(t, out, "Violation: a timestamp that was given before: {")
	assert.Empty(t, errs)

	out, _, code = call(t.Context(), "-q", "-n", "10", "-verify=false", "-assert", "rps<1", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "BROKEN rps<1: ")
}

func TestOtherServers(t *testing.T) {
	sizes := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sizes++
		if sizes > 1 {
			w.WriteHeader(http.StatusTeapot)
		}
		fmt.Fprint(w, strings.Repeat("x", sizes))
	}))
	defer server.Close()
	out, _, code := call(t.Context(), "-q", "-n", "4", server.URL)
	assert.Equal(t, exitOK, code)
	assert.Contains(t, out, "Failed requests:        3\n   (Connect: 0, Receive: 0, Length: 3, Exceptions: 0)\nNon-2xx responses:      3\n")
	assert.Contains(t, out, "Length: 3 bodies differ in size from the first one.")
	assert.NotContains(t, out, "Contract")

	sizes = 0
	out, _, code = call(t.Context(), "-q", "-n", "4", "-verify", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "1 violations", "the one of status 200")
}

// TestReference is the command without arguments, but for fewer requests.
func TestReference(t *testing.T) {
	out, errs, code := call(t.Context(), "-n", "2000")
	require.Equal(t, exitOK, code, "%s%s", out, errs)
	assert.Contains(t, out, "Concurrency Level:      100\n")
	assert.Contains(t, out, "Contract: 2000 answers held against PointsApp's contract, 0 violations.")
	assert.Contains(t, out, "the seed (its README)")
}

func TestTimeLimit(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	out, errs, code := call(t.Context(), "-q", "-t", "50ms", server.URL)
	assert.Equal(t, exitOK, code, errs)
	assert.Contains(t, out, "Complete requests:      0\n", "what is under way at the end does not count")
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 10 {
			cancel()
		}
	}))
	defer server.Close()
	out, errs, code := call(ctx, "-q", "-n", "1000000", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "Complete requests: ", "the report of what there was")
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
	assert.Regexp(t, `^loadtest: no request was answered: .+\n$`, errs)
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

// TestErrors are one clear line each.
func TestErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	notJSON := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, os.WriteFile(notJSON, []byte("hello"), 0o600))
	const url = "http://127.0.0.1:1/"

	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-n", "5", "http://no..host/"}, exitFailed, `there is no host "no..host"`},
		{[]string{refused}, exitFailed, "nothing listens at 127.0.0.1:"},
		{[]string{"-json", "/nowhere/r.json", url}, exitFailed, "cannot write the output: open /nowhere/r.json"},
		{[]string{"-html", "/", url}, exitFailed, "cannot write the output"},
		{[]string{"-compare", "/nowhere/r.json", url}, exitFailed, "cannot read the run to compare with: open /nowhere/r.json"},
		{[]string{"-compare", notJSON, url}, exitFailed, "no JSON of a load test"},
		{[]string{"-assert", "p99<50", url}, exitUsage, "needs a unit"},
		{[]string{"-slo", "p99<50ms", url}, exitUsage, "-slo needs -find-max"},
		{[]string{"-find-max", url}, exitUsage, "-find-max needs the promise to keep"},
		{[]string{"-find-max", "-slo", "p99<1s", "-rate", "1:2", url}, exitUsage, "-rate is no ramp"},
		{[]string{"-n", "x", url}, exitUsage, `invalid value "x" for flag -n`},
		{[]string{"-n", "0", url}, exitUsage, "-n is at least 1"},
		{[]string{"-c", "0", url}, exitUsage, "-c is 1 to 65535"},
		{[]string{"-c", "5", url}, exitUsage, "-c 5 is more clients than the 1 requests of -n"},
		{[]string{"-t", "0", url}, exitUsage, "a number of seconds above 0"},
		{[]string{"-s", "soon", url}, exitUsage, "a number of seconds above 0"},
		{[]string{"-H", "nonsense", url}, exitUsage, "a header is written as"},
		{[]string{"-i", "-m", "POST", url}, exitUsage, "-i asks for HEAD"},
		{[]string{"-rate", "fast", url}, exitUsage, "a rate is a whole number"},
		{[]string{"-rate", "5", "-n", "5", url}, exitUsage, "use -duration"},
		{[]string{"-rate", "5", "-duration", "-5s", url}, exitUsage, "-duration is above 0"},
		{[]string{"-duration", "5s", url}, exitUsage, "-duration needs -rate or -find-max"},
		{[]string{"-transport", "pigeon", url}, exitUsage, "-transport is lean or net/http"},
		{[]string{"-transport", "lean", "https://127.0.0.1:1/"}, exitUsage, "speaks no https"},
		{[]string{"-cpus", "-1", url}, exitUsage, "-cpus is at least 1"},
		{[]string{"-verify=maybe", url}, exitUsage, "invalid boolean value"},
		{[]string{"-zzz"}, exitUsage, "flag provided but not defined: -zzz"},
		{[]string{url, "-n", "5"}, exitUsage, "it comes after the flags"},
		{[]string{"ftp://x/"}, exitUsage, "is no URL"},
		{[]string{"http://x:99999/"}, exitUsage, "is no port"},
		{[]string{"http://"}, exitUsage, "is no URL"},
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

func FuzzParseFlags(f *testing.F) {
	for _, s := range []string{"-n 10 -c 2 http://x/", "-rate 5:6 -duration 3s x:80", "-H a:b -t 5 -s 1s -k=false localhost", "-find-max -slo p99<1s x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cfg, err := parseFlags(strings.Fields(line))
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.GreaterOrEqual(t, cfg.clients, 1)
		require.NotEmpty(t, cfg.title())
		if !cfg.reference {
			require.NotEmpty(t, cfg.url.Hostname())
			require.NotEmpty(t, cfg.port())
		}
	})
}

func TestUpdatesThatAreNone(t *testing.T) {
	for name, body := range map[string]string{"no JSON": "hello", "another": `{"updates":5}`, "none": `{"updates":[]}`, "empty": "{}"} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
			defer server.Close()
			cfg, err := parseFlags([]string{server.URL})
			require.NoError(t, err)
			checked := trial{cfg: cfg, began: time.Now()}
			checked.checked.Checked = true
			assert.Empty(t, fetchUpdates(t.Context(), &checked))
		})
	}
}
