package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// TestInterleaved compares a server with one that fails half of the requests.
func TestInterleaved(t *testing.T) {
	var mu sync.Mutex
	var order []string
	start := func(name string, status func(n int) int) string {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, "/path", r.RequestURI)
			requests++
			if requests%10 == 1 {
				order = append(order, name)
			}
			w.WriteHeader(status(requests))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	before := start("old", func(int) int { return http.StatusOK })
	after := start("new", func(n int) int { return []int{http.StatusOK, http.StatusServiceUnavailable}[n%2] })
	file, page := filepath.Join(t.TempDir(), "r.json"), filepath.Join(t.TempDir(), "r.html")

	out, errs, code := call(t.Context(), "-q", "-n", "10", "-repeat", "3", "-compare", before, "-json", file, "-html", page,
		"-assert", "errors<=1.1*old,failed<=old,length=0", after+"/path")
	assert.Equal(t, exitFailed, code, errs)
	assert.Equal(t, []string{"old", "new", "new", "old", "old", "new"}, order, "they take turns")
	assert.Contains(t, out, "FAIL errors<=1.1*old: 50%, old 0%\n")
	assert.Contains(t, out, "PASS failed<=old: 0%, old 0%\n")
	assert.Len(t, regexp.MustCompile(`(?m)^(old )?run \d of 3: `).FindAllString(out, -1), 6)
	assert.Contains(t, out, "Complete requests:      30\n")
	assert.Contains(t, out, "Non-2xx responses:      15\n")
	assert.Regexp(t, `Non-2xx responses +0 +15`, out, "the comparison")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, text := range []string{out, string(html)} {
		assert.Contains(t, text, "3 runs in sequence. The figures are those of all their requests.")
	}
	run := readResult(t, file)
	assert.Len(t, run.Repeats, 3)
	assert.EqualValues(t, 10, run.Repeats[0].Counts.Complete)
	assert.EqualValues(t, 30, run.Load.Requests)

	// The file holds three runs to compare with.
	out, errs, code = call(t.Context(), "-q", "-n", "10", "-repeat", "2", "-compare", file, "-assert", "errors>=0.9*old,errors<=old", after+"/path")
	assert.Equal(t, exitOK, code, "%s%s", out, errs)
	assert.Contains(t, out, "PASS errors<=old: 1*old (geometric means of the runs: 50%, old 50%; 95% interval 1 to 1)\n")
}

func TestRepeatedOpenLoop(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	out, errs, code := call(t.Context(), "-q", "-rate", "200", "-duration", "100ms", "-repeat", "2", "-json", file,
		"-assert", "rps<=200", pointsApp(t, never).URL)
	require.Equal(t, exitOK, code, "%s%s", out, errs)
	run := readResult(t, file)
	assert.EqualValues(t, 40, run.Load.Requests)
	assert.Equal(t, run.Load.Requests-run.Load.Unsent, run.Counts.Complete)
	assert.Equal(t, run.Counts.Complete, run.Contract.Responses)
	assert.LessOrEqual(t, run.SuccessfulPerSecond, 200.0)
	assert.GreaterOrEqual(t, run.Seconds, 0.2)
}

func TestComparisonNeedsHistograms(t *testing.T) {
	old := writeFile(t, "old.json", `{"schema":1,"name":"old"}`)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the run has started") }))
	defer server.Close()
	_, errs, code := call(t.Context(), "-q", "-compare", old, "-assert", "p99<=old", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errs, "cannot compare: old has no histograms")
}

// TestCombinedRate tests two runs of a second with ten responses each.
func TestCombinedRate(t *testing.T) {
	a, b := openRun(t, 10), openRun(t, 10)
	for _, r := range []*run{a, b} {
		r.summary.Elapsed, r.summary.Window.Successful, r.summary.Times = time.Second, 10, emptyTimes(r)
	}
	assert.InDelta(t, 10, combine([]*run{a, b}).rate(), 1e-9)
	assert.EqualValues(t, 20, combine([]*run{a, b}).plannedRequests())
}

// emptyTimes returns the times of a run without requests.
func emptyTimes(r *run) record.Times {
	return record.New(r.recordOptions(func(*transport.Exchange) {})).Summary(time.Second).Times
}

// TestInterruptedRepeat interrupts one of several runs of ten requests.
func TestInterruptedRepeat(t *testing.T) {
	for name, tt := range map[string]struct {
		interruptAt int // request
		compare     bool
		args        []string
		want        string
	}{
		"repeat":   {14, false, []string{"-n", "10", "-repeat", "5"}, `in run 2 of 5, after 1[345] of 50 requests`},
		"compare":  {24, true, []string{"-n", "10", "-repeat", "2"}, `in run 2 of 2, after 2[345] of 40 requests`},
		"old":      {4, true, []string{"-n", "10", "-repeat", "2"}, `in old run 1 of 2, after [345] of 40 requests`},
		"no limit": {14, false, []string{"-duration", "1h", "-repeat", "5"}, `in run 1 of 5, after 1[345] requests`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			var received atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				if received.Add(1) == int64(tt.interruptAt) {
					interrupt()
				}
			}))
			defer server.Close()
			args := append([]string{"-q"}, tt.args...)
			if tt.compare {
				args = append(args, "-compare", server.URL)
			}
			out, errs, code := call(ctx, append(args, server.URL)...)
			assert.Equal(t, exitFailed, code)
			assert.LessOrEqual(t, strings.Count(out, "old run 1 of 2"), 1)
			assert.Regexp(t, "^loadtest: interrupted "+tt.want+"\n$", errs)
		})
	}
}
