package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// lastLine returns the last line of a text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// measured runs the command with -json and returns the file.
func measured(t *testing.T, name string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	_, errs, _ := call(t.Context(), append([]string{"-q", "-json", file}, args...)...)
	require.FileExists(t, file, errs)
	return file
}

// TestMergeNeedsSuccessOfEachRun merges a run with others that only had 503, at the same time.
func TestMergeNeedsSuccessOfEachRun(t *testing.T) {
	good := measured(t, "m1.json", "-n", "80", respond(t, http.StatusOK).URL)
	bad := measured(t, "m3.json", "-n", "80", respond(t, http.StatusServiceUnavailable).URL)
	run := readResult(t, good)
	sameTime := map[string]any{"date": run.Date, "seconds": run.Seconds}
	require.NoError(t, os.WriteFile(bad, withFields(t, bad, sameTime), 0o600))
	const reason = "no request succeeded: 80 of 80 responses were 503 Service Unavailable"
	merged, page := filepath.Join(t.TempDir(), "m.json"), filepath.Join(t.TempDir(), "m.html")
	for name, args := range map[string][]string{"assertions": {"-assert", "p99<1m,errors<=50%"}, "no assertions": nil} {
		out, errs, code := call(t.Context(), append(append([]string{"merge", "-json", merged, "-html", page}, args...), good, bad)...)
		assert.Equal(t, exitFailed, code, name)
		assert.Contains(t, errs, "loadtest: "+bad+": "+reason+"\n", name)
		assert.Regexp(t, `(?m)^loadtest: note: the runs have different targets: http://\S+, http://\S+$`, errs, name)
		assert.Equal(t, "FAIL: "+bad+": "+reason, lastLine(out), name)
		assert.Equal(t, report.VerdictFail, readResult(t, merged).Verdict, name)
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		assert.Contains(t, string(content), reason, name)
	}
	_, errs, code := call(t.Context(), "merge", merged)
	assert.Equal(t, exitFailed, code, "also if it is merged again")
	assert.Contains(t, errs, bad+": "+reason)

	out, errs, code := call(t.Context(), "merge", bad)
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "loadtest: "+reason+"\n", errs)
	assert.Equal(t, "FAIL: "+reason, lastLine(out))
}

// listen starts a server that handles connections as given.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			handle(c)
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
		for _, c := range open {
			c.Close()
		}
	})
	return "http://" + listener.Addr().String() + "/"
}

// TestDeadOldServer compares with a server that does not work.
func TestDeadOldServer(t *testing.T) {
	good := respond(t, http.StatusOK).URL
	for name, tt := range map[string]struct {
		url, reason string
		noSamples   bool
	}{
		"503":    {respond(t, http.StatusServiceUnavailable).URL + "/", "20 of 20 responses were 503 Service Unavailable", false},
		"closes": {listen(t, func(c net.Conn) { c.Close() }), "", false},
		"hangs":  {listen(t, func(net.Conn) {}), "no response arrived before the end of the run", true},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r.json")
			out, errs, code := call(t.Context(), "-q", "-n", "10", "-c", "2", "-t", "0.2", "-repeat", "2", "-compare", tt.url, "-json", file, good)
			assert.Equal(t, exitFailed, code)
			reason := tt.url + " (the old server): no request succeeded: " + tt.reason
			assert.Contains(t, errs, "loadtest: "+reason)
			assert.Contains(t, errs, "; there is nothing to compare with\n")
			assert.Contains(t, lastLine(out), "FAIL: "+reason)
			assert.NotRegexp(t, `\dx\n`, out, "no ratios")
			assert.Equal(t, tt.noSamples, strings.Contains(out, "0.00 successful requests per second, 50% - ms, 99% - ms"))
			if tt.noSamples {
				assert.Regexp(t, `\n +50% \[ms\] +- +\d`, out)
				assert.Regexp(t, `Total, mean \[ms\] +- +\d`, out)
			}
			assert.Equal(t, report.VerdictFail, readResult(t, file).Verdict)
		})
	}
	old := measured(t, "old.json", "-n", "20", respond(t, http.StatusServiceUnavailable).URL)
	current := measured(t, "new.json", "-n", "20", good)
	for name, args := range map[string][]string{
		"merge": {"merge", "-compare", old, current}, "run": {"-q", "-n", "20", "-compare", old, good},
	} {
		out, errs, code := call(t.Context(), args...)
		assert.Equal(t, exitFailed, code, name)
		assert.Equal(t, "loadtest: "+old+" (the old run): no request succeeded: 20 of 20 responses were 503 Service Unavailable; "+
			"there is nothing to compare with\n", errs, name)
		assert.NotRegexp(t, `\dx\n`, out, name)
	}
}

// TestOneOldRunWithoutSuccess compares with a server that only works in its first run.
func TestOneOldRunWithoutSuccess(t *testing.T) {
	var requests atomic.Int64
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 10 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer old.Close()
	out, errs, code := call(t.Context(), "-q", "-n", "10", "-repeat", "2", "-compare", old.URL, respond(t, http.StatusOK).URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errs, "(the old server): run 2 of 2: no request succeeded: 10 of 10 responses were 503 Service Unavailable;")
	assert.NotRegexp(t, `\dx\n`, out)
}

// TestLimitedOldRun compares with runs that the load generator has limited: the old server may be better than they show.
func TestLimitedOldRun(t *testing.T) {
	const undecided = ", undecided: the old run was limited by the load generator\n"
	server := respond(t, http.StatusOK).URL
	current := measured(t, "new.json", "-n", "20", server)
	limit := map[string]any{"client": map[string]any{"limit": "it used 98% of its CPU time"}}
	old := writeFile(t, "old.json", string(withFields(t, current, limit)))
	page := filepath.Join(t.TempDir(), "page.html")
	for name, args := range map[string][]string{
		"run":   {"-q", "-n", "20", "-compare", old, "-html", page, "-assert", "rps>=0.0001*old", server},
		"merge": {"merge", "-compare", old, "-html", page, "-assert", "rps>=0.0001*old", current},
	} {
		const note = "The old run was limited by the load generator: it used 98% of its CPU time. The server may be capable of more."
		out, _, code := call(t.Context(), args...)
		assert.Equal(t, exitFailed, code, name)
		assert.Regexp(t, `(?m)^FAIL rps>=0\.0001\*old: .*`+undecided, out, name)
		assert.Contains(t, out, note+"\n", name)
		content, err := os.ReadFile(page)
		require.NoError(t, err)
		assert.Contains(t, string(content), note, name)
	}
	out, _, code := call(t.Context(), "merge", "-compare", old, "-assert", "rps>=1000000*old", current)
	assert.Equal(t, exitFailed, code)
	assert.NotContains(t, out, "undecided", "it is worse than even that")
	_, _, code = call(t.Context(), "merge", "-compare", old, "-assert", "p99<1m", current)
	assert.Equal(t, exitOK, code, "the clause does not refer to the old run")

	synctest.Test(t, func(t *testing.T) {
		slow := &simulatedServer{minSleep: 5 * time.Millisecond} // of the load generator's timer
		out, err := simulate(t.Context(), t, slow, "-q", "-rate", "80", "-duration", "1s", "-repeat", "2", "-compare", server,
			"-assert", "p99<1ms,p99<=1000*old")
		require.ErrorIs(t, err, errCheckFailed)
		assert.Regexp(t, `(?m)^FAIL p99<=1000\*old: .*`+undecided, out)
		assert.Contains(t, out, "The old run was limited by the load generator: it sent requests late although clients were idle")
	})
}

// TestDifferentSetups compares with a closed loop of 2 clients.
func TestDifferentSetups(t *testing.T) {
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received.Add(1) }))
	defer server.Close()
	old := measured(t, "old.json", "-n", "20", "-c", "2", server.URL)
	interrupted := filepath.Join(t.TempDir(), "interrupted.json")
	require.NoError(t, os.WriteFile(interrupted, withFields(t, old, map[string]any{"interrupted": true}), 0o600))
	targets := writeFile(t, "targets", "GET /a\n\nGET /b\n")
	const loop = "the old run was a closed loop of 2 clients, this one is "
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"clients":    {[]string{"-n", "20"}, loop + "a closed loop of 1 client"},
		"open loop":  {[]string{"-rate", "20", "-duration", "100ms"}, loop + "an open loop of 20/s"},
		"search":     {[]string{"-find-max", "-slo", "p99<1s,errors<1%"}, loop + "a search with the SLO p99<1s,errors<1%"},
		"method":     {[]string{"-n", "20", "-c", "2", "-m", "POST"}, "the old run has method GET, this one has method POST"},
		"targets":    {[]string{"-n", "20", "-c", "2", "-targets", targets}, "the old run has method GET, this one has 2 requests in turn"},
		"keep-alive": {[]string{"-n", "20", "-c", "2", "-k=false"}, "the old run has keep-alive, this one has no keep-alive"},
		"transport":  {[]string{"-n", "20", "-c", "2", "-transport", "net/http"}, "the old run has transport http1, this one has transport net/http"},
	} {
		received.Store(0)
		args := append([]string{"-q", "-compare", old}, tt.args...)
		_, errs, code := call(t.Context(), append(args, "-assert", "p99<=1000*old", server.URL)...)
		assert.Equal(t, exitUsage, code, name)
		assert.Equal(t, "loadtest: not comparable: "+tt.want+"\n", errs, name)
		assert.Zero(t, received.Load(), name)
		if name == "search" {
			continue
		}
		file := filepath.Join(t.TempDir(), "new.json")
		out, errs, code := call(t.Context(), append(args, "-json", file, server.URL)...)
		assert.Equal(t, exitOK, code, "%s: %s", name, errs)
		assert.Contains(t, out, "Not comparable, so without ratios: "+tt.want+".\n", name)
		assert.NotRegexp(t, `\dx\n`, out, name)
		_, errs, code = call(t.Context(), "merge", "-compare", old, "-assert", "p99<=1000*old", file)
		assert.Equal(t, exitFailed, code, name)
		assert.Equal(t, "loadtest: not comparable: "+tt.want+"\n", errs, name)
	}
	for _, args := range [][]string{{"-n", "200", "-c", "2", "-q"}, {"-duration", "50ms", "-c", "2", "-q"}} {
		out, errs, code := call(t.Context(), append(args, "-compare", old, "-assert", "p50<=100000*old", server.URL+"/other")...)
		assert.Equal(t, exitOK, code, "the length of the run may differ: %s%s", out, errs)
		assert.Regexp(t, `\dx\n`, out)
	}
	_, errs, code := call(t.Context(), "-q", "-n", "20", "-c", "2", "-compare", interrupted, "-assert", "p99<=1000*old", server.URL)
	assert.Equal(t, exitUsage, code)
	assert.Equal(t, "loadtest: not comparable: the old run was interrupted, so its figures are incomplete\n", errs)
}

// TestMergedRateIsTotal compares an open loop with two of half the rate.
func TestMergedRateIsTotal(t *testing.T) {
	for rates, total := range map[string]string{"20": "20", "10 + 10": "20", "0.5 + 0.25": "0.75", "1:2 + 5": "1:2 + 5"} {
		run := &report.Run{Load: report.Load{Mode: "open", Rate: rates}}
		assert.Contains(t, report.Difference(&report.Run{}, run), "this one is an open loop of "+total+"/s")
	}
}

// TestVerdictIsLast checks the end of the text report.
func TestVerdictIsLast(t *testing.T) {
	good, unavailable := respond(t, http.StatusOK).URL, respond(t, http.StatusServiceUnavailable).URL
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"no success":           {[]string{"-n", "20", "-assert", "errors<=100%", unavailable}, "PASS errors<=100%: 100%\nFAIL: no request succeeded: 20 of 20 responses were 503 Service Unavailable\n"},
		"no success, no check": {[]string{"-n", "20", unavailable}, "\nFAIL: no request succeeded: 20 of 20 responses were 503 Service Unavailable\n"},
		"pass":                 {[]string{"-assert", "failed=0", good}, "PASS errors<1%: 0%\nPASS: failed=0, errors<1%\n"},
		"contract":             {[]string{"-n", "3", pointsApp(t, never).URL}, ", 0 violations.\nPASS: contract in 3 responses\n"},
		"clause and contract":  {[]string{"-assert", "errors=0", pointsApp(t, never).URL}, "PASS errors=0: 0\nPASS: errors=0, contract in 1 response\n"},
		"fail":                 {[]string{"-assert", "failed>0", good}, "PASS errors<1%: 0%\nFAIL: 1 of 2 clauses\n"},
		"compare":              {[]string{"-repeat", "1", "-assert", "errors<1%", "-compare", good, good}, "x\n\nPASS errors<1%: 0%\nPASS: errors<1%\n"},
	} {
		out, _, _ := call(t.Context(), append([]string{"-q"}, tt.args...)...)
		assert.True(t, strings.HasSuffix(out, tt.want), "%s: %s", name, out)
	}
	out, _, _ := call(t.Context(), "-q", good)
	assert.NotRegexp(t, `(?m)^(PASS|FAIL)`, out, "there is nothing to judge")
}

// TestNoSuccessNamesOutcomes tests runs without a 2xx response.
func TestNoSuccessNamesOutcomes(t *testing.T) {
	mixed := func(n int64) int {
		if n%4 == 0 {
			return http.StatusNotFound
		}
		return http.StatusServiceUnavailable
	}
	var requests atomic.Int64
	two := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(mixed(requests.Add(1)))
	}))
	defer two.Close()
	plain := strings.Replace(two.URL, "http:", "https:", 1)
	for want, args := range map[string][]string{
		"tls: first record does not look like a TLS handshake; use an http URL if the server has no TLS":        {plain},
		"2 of 2 responses were 302 Found; redirects are not followed: use the final URL; -v 2 prints the first": {"-n", "2", respond(t, http.StatusFound).URL},
		"10 of 10 responses were 405 Method Not Allowed; -v 2 prints the first":                                 {"-n", "10", respond(t, http.StatusMethodNotAllowed).URL},
		"10 of 10 responses were 405 Method Not Allowed":                                                        {"-n", "10", "-v", "2", respond(t, http.StatusMethodNotAllowed).URL},
		"1 of 1 response was 599; -v 2 prints the first":                                                        {respond(t, 599).URL},
		"2 of 8 responses were 404 Not Found, 6 were 503 Service Unavailable; -v 2 prints the first":            {"-n", "8", two.URL},
	} {
		_, errs, code := call(t.Context(), append([]string{"-q"}, args...)...)
		assert.Equal(t, exitFailed, code)
		assert.Equal(t, "loadtest: no request succeeded: "+want+"\n", errs)
	}
	synctest.Test(t, func(t *testing.T) {
		server := &simulatedServer{status: http.StatusServiceUnavailable, refuses: func(n int64) bool { return n > 5 }}
		_, err := simulate(t.Context(), t, server, "-q", "-n", "20")
		require.EqualError(t, err, "no request succeeded: 5 of 5 responses were 503 Service Unavailable, "+
			"and 15 requests failed: connection refused; -v 2 prints the first")
	})
}

// TestComparedPercentilesAreThoseOfClauses tests an open loop whose client is busy, so that requests are sent late.
func TestComparedPercentilesAreThoseOfClauses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old.json")
	synctest.Test(t, func(t *testing.T) {
		server := func() *simulatedServer {
			return &simulatedServer{capacity: &capacityServer{slots: 1, service: 10 * time.Millisecond}}
		}
		args := []string{"-q", "-rate", "150", "-duration", "1s", "-c", "1"}
		_, err := simulate(t.Context(), t, server(), append(args, "-json", file)...)
		require.NoError(t, err)
		out, err := simulate(t.Context(), t, server(), append(args, "-compare", file, "-assert", "p99<1ms,errors<=100%")...)
		require.ErrorIs(t, err, errCheckFailed)
		run := readResult(t, file)
		for _, p := range run.LatencyPercentiles {
			if p.Percent == 99 {
				require.Greater(t, p.MS, 300.0)
			}
		}
		assert.Regexp(t, `FAIL p99<1ms: 5\d\d\.\d`, out)
		assert.Regexp(t, `\n +99% \[ms\] +5\d\d\.\d\d +5\d\d\.\d\d +1x\n`, out)
		assert.Contains(t, out, "Latency and percentiles count from when a request was due, the other times from when it was sent.\n")
		assert.Regexp(t, `99\.999% \[ms\] .+\n +100% \(longest request\) \[ms\] +5\d\d`, out)
	})
}
