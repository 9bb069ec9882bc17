package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// respond starts a server with a fixed status.
func respond(t *testing.T, status int) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, "x")
	}))
	t.Cleanup(server.Close)
	return server
}

// from returns a function that reports whether a number is at least n.
func from(n int64) func(int64) bool { return func(i int64) bool { return i >= n } }

func TestNoResponseIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := simulate(t.Context(), t, &simulatedServer{hangs: from(1)},
			"-q", "-t", "0.1", "-n", "5", "-c", "5", "-assert", "p99<50ms,failed=0,rps<1")
		require.ErrorContains(t, err, "no request succeeded")
		assert.Contains(t, out, "FAIL p99<50ms: no samples\n")
		assert.Contains(t, out, "FAIL failed=0: no samples\n")
		assert.Contains(t, out, "FAIL rps<1: no samples\n")
	})
}

func TestOnlyErrorsIsNoSuccess(t *testing.T) {
	unavailable := respond(t, http.StatusServiceUnavailable)
	for name, args := range map[string][]string{
		"no checks": {"-n", "20"},
		"latency":   {"-n", "20", "-assert", "p99<1m,failed=0"},
		"verify":    {"-n", "20", "-verify"},
		"open loop": {"-rate", "100", "-duration", "100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := call(t.Context(), append(append([]string{"-q"}, args...), unavailable.URL)...)
			assert.Equal(t, exitFailed, code)
			assert.Regexp(t, `^loadtest: no request succeeded: \d+ of \d+ responses were 503 Service Unavailable; -v 2 prints the first\n$`, errs)
		})
	}
}

// TestVerifyChecksSomething uses a server that succeeds, but never with a status that is checked.
func TestVerifyChecksSomething(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-q", "-n", "5", "-verify", "-assert", "failed=0", "-json", file, respond(t, http.StatusAccepted).URL)
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "fail", readResult(t, file).Verdict)
	assert.Contains(t, out, "Contract: FAIL: -verify is set")
}

func TestFindMaxLimitsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unavailable := &simulatedServer{status: http.StatusServiceUnavailable}
		out, err := search(t.Context(), t, unavailable, "-slo", "p50<1m,rps<31", "-rate", "8")
		require.ErrorIs(t, err, errCheckFailed)
		assert.Contains(t, out, "missed: errors<1%: 100%")
		assert.Contains(t, out, "Verdict: no request succeeded at 8 and 1 requests per second: ")
	})
}

// TestDeadServer uses a server that stops in the run. What it responded before meets the SLO.
func TestDeadServer(t *testing.T) {
	dead := from(91)
	for name, tt := range map[string]struct {
		server *simulatedServer
		args   []string
		want   []string
	}{
		"refuses connections": {
			&simulatedServer{refuses: dead}, []string{"-n", "1000", "-c", "5", "-assert", "p99<50ms"},
			[]string{"PASS p99<50ms", "FAIL errors<1%: 91%"},
		},
		"refuses connections of an open loop": {
			&simulatedServer{refuses: dead}, []string{"-rate", "100", "-duration", "3s", "-assert", "p99<50ms"},
			[]string{"PASS p99<50ms", "FAIL errors<1%: 70%"},
		},
		"only 503": {
			&simulatedServer{unavailable: dead}, []string{"-n", "1000", "-c", "5", "-assert", "p99<50ms,failed=0"},
			[]string{"PASS failed=0", "FAIL errors<1%: 91%"},
		},
		"only 503, repeated": {
			&simulatedServer{unavailable: dead}, []string{"-n", "100", "-repeat", "2", "-assert", "p99<50ms"},
			[]string{"FAIL errors<1%: 55%"},
		},
		"hangs": {
			&simulatedServer{hangs: dead}, []string{"-duration", "10s", "-c", "5", "-assert", "p99.9<50ms,failed=0,errors<1%"},
			[]string{"PASS p99.9<50ms", "Stalled: 5 of 5 pending requests had waited much longer than any response took, or for most of the run.\n"},
		},
		"hangs from the start": {
			&simulatedServer{hangs: func(int64) bool { return true }}, []string{"-duration", "2s", "-c", "5", "-assert", "failed=0"},
			[]string{"FAIL failed=0: no samples", "Stalled: 5 of 5 pending requests had waited for a long time, and there was no complete response.\n"},
		},
		"hangs for some clients": {
			&simulatedServer{hangs: func(n int64) bool { return n < 10 }, capacity: &capacityServer{slots: 1, service: time.Millisecond}},
			[]string{"-duration", "1s", "-c", "10", "-assert", "p99<50ms,rps>1"},
			[]string{"PASS rps>1", "Stalled: 9 of 9 pending requests had waited"},
		},
		"hangs, repeated": {
			&simulatedServer{hangs: dead}, []string{"-duration", "1s", "-c", "5", "-repeat", "3", "-assert", "p99<1s,rps>1"},
			[]string{"PASS p99<1s", "run 2 of 3: 0.00 successful requests per second"},
		},
		"only 503 in a repeated run": {
			&simulatedServer{unavailable: dead}, []string{"-n", "45", "-repeat", "3", "-assert", "errors<50%"},
			[]string{"PASS errors<50%", "run 3 of 3: 0.00 successful requests per second"},
		},
		"closes connections": {
			&simulatedServer{refuses: func(n int64) bool { return n%2 == 0 }}, []string{"-n", "100", "-assert", "non2xx<1%,p99<1s"},
			[]string{"PASS non2xx<1%", "FAIL failed<1%: 50%"},
		},
		"nothing checked": {
			&simulatedServer{}, []string{"-n", "10", "-verify=false", "-assert", "violations=0"}, []string{"FAIL violations=0: no samples"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r.json")
			synctest.Test(t, func(t *testing.T) {
				out, err := simulate(t.Context(), t, tt.server, append([]string{"-q", "-json", file}, tt.args...)...)
				require.Error(t, err, out)
				for _, want := range tt.want {
					assert.Contains(t, out, want)
				}
				assert.Equal(t, report.VerdictFail, readResult(t, file).Verdict)
			})
		})
	}
}

// TestPendingAtTheEnd tests requests that are pending when the time is up, but not for long.
func TestPendingAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &simulatedServer{capacity: &capacityServer{slots: 1, service: 700 * time.Millisecond}, hangs: from(3)}
		out, err := simulate(t.Context(), t, server, "-q", "-duration", "2s", "-assert", "p99<1s")
		require.NoError(t, err, out)
		assert.Contains(t, out, "Aborted: 1 request was")
		assert.NotContains(t, out, "Stalled")
	})
}

// TestContractIsNoVerdict checks the contract of a server that mostly answers 503.
func TestContractIsNoVerdict(t *testing.T) {
	for verdict, unavailable := range map[string]func(int64) bool{report.VerdictPass: nil, report.VerdictNone: from(11)} {
		synctest.Test(t, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r.json")
			_, err := simulate(t.Context(), t, &simulatedServer{unavailable: unavailable}, "-q", "-n", "100", "-verify", "-json", file)
			require.NoError(t, err)
			assert.Equal(t, verdict, readResult(t, file).Verdict)
		})
	}
}

// TestFailingOldServer compares with runs of a server that only answers 503, or does so too often.
func TestFailingOldServer(t *testing.T) {
	good, old, current := respond(t, http.StatusOK), filepath.Join(t.TempDir(), "old.json"), filepath.Join(t.TempDir(), "new.json")
	unavailable := respond(t, http.StatusServiceUnavailable)
	call(t.Context(), "-q", "-n", "20", "-json", old, unavailable.URL)
	_, errs, code := call(t.Context(), "-q", "-n", "20", "-json", current, good.URL)
	require.Equal(t, exitOK, code, errs)
	const relative, nothing = "rps>=0.0001*old", "FAIL rps>=0.0001*old: an old run has no 2xx response: nothing to compare with\n"
	for name, args := range map[string][]string{
		"URL":   {"-q", "-n", "20", "-repeat", "2", "-compare", unavailable.URL, "-assert", relative, good.URL},
		"merge": {"merge", "-compare", old, "-assert", relative, current},
	} {
		out, _, code := call(t.Context(), args...)
		assert.Equal(t, exitFailed, code, name)
		assert.Contains(t, out, nothing, name)
	}

	var requests atomic.Int64
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer flaky.Close()
	out, _, code := call(t.Context(), "-q", "-n", "20", "-repeat", "2", "-compare", flaky.URL, "-assert", relative, good.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "FAIL errors<1%: 0%, old 50%\n")
	out, _, code = call(t.Context(), "-q", "-n", "20", "-repeat", "2", "-compare", flaky.URL, "-assert", "errors<1%", good.URL)
	assert.Equal(t, exitOK, code, out)
}

// TestRPSCountsSuccesses uses a server whose first response is the only success.
func TestRPSCountsSuccesses(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) > 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	out, _, code := call(t.Context(), "-q", "-rate", "100", "-duration", "100ms", "-c", "1", "-assert", "rps<=10,errors<=9", server.URL)
	assert.Equal(t, exitOK, code, out)
}

// TestAborted uses a server that responds 20 times and then hangs until the run is interrupted.
func TestAborted(t *testing.T) {
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		t.Run(transport, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			var received atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				switch n := received.Add(1); {
				case n == 25:
					interrupt()
					fallthrough
				case n > 20:
					<-r.Context().Done()
				}
			}))
			defer server.Close()
			file := filepath.Join(t.TempDir(), "r.json")
			out, _, code := call(ctx, "-q", "-n", "1000", "-c", "5", "-transport", transport, "-json", file, server.URL)
			assert.Equal(t, exitFailed, code)
			assert.Contains(t, out, "Complete requests:      20\n")
			assert.Contains(t, out, "Aborted: 5 requests")
			run := readResult(t, file)
			assert.EqualValues(t, 25, received.Load())
			assert.EqualValues(t, 20, run.Counts.Complete)
			assert.EqualValues(t, 5, run.Counts.Aborted)
		})
	}
}

// TestUnsentExcludesAborted interrupts an open loop whose requests the server has all received.
func TestUnsentExcludesAborted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		server := &simulatedServer{hangs: from(1), onServe: func(n int64) {
			if n == 20 {
				interrupt()
			}
		}}
		out, err := simulate(ctx, t, server, "-q", "-rate", "200", "-duration", "100ms", "-json", file)
		require.EqualError(t, err, "interrupted after 0 of 20 requests")
		assert.NotContains(t, out, "Unsent")
		run := readResult(t, file)
		assert.EqualValues(t, 20, run.Counts.Aborted)
		assert.Zero(t, run.Load.Unsent)
		longest := run.LatencyPercentiles[len(run.LatencyPercentiles)-1]
		assert.InDelta(t, 100, longest.Percent, 0)
		assert.InDelta(t, 95, longest.MS, 1, "percentiles include the age of pending requests: the first one is the oldest")
	})
}

// TestInterruptLeavesNothingUnsent interrupts an open loop long before its end. No client was missing.
func TestInterruptLeavesNothingUnsent(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var received atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if received.Add(1) == 20 {
			interrupt()
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(ctx, "-q", "-rate", "200", "-duration", "1h", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	assert.NotContains(t, out, "Unsent")
	assert.Zero(t, readResult(t, file).Load.Unsent)
}

func TestPerSecond(t *testing.T) {
	for want, rate := range map[string]attack.Rate{
		"1 request per second":    {From: 1, To: 1},
		"0.5 requests per second": {From: 0.5, To: 0.5},
		"1:2 requests per second": {From: 1, To: 2},
	} {
		assert.Equal(t, want, perSecond(rate))
	}
}

func TestResentIsReported(t *testing.T) {
	var received atomic.Int64
	var served sync.Map // connections that have had a response
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received.Add(1)
		if _, second := served.LoadOrStore(r.RemoteAddr, true); second {
			panic(http.ErrAbortHandler) // closes the connection
		}
		fmt.Fprint(w, "x")
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-q", "-n", "20", "-json", file, "-assert", "resent<1%,errors=0", server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "Resent: 19 requests")
	assert.Contains(t, out, "FAIL resent<1%: 95%\nPASS errors=0: 0\n")
	assert.EqualValues(t, 39, received.Load())
	assert.EqualValues(t, 19, readResult(t, file).Counts.Resent)

	received.Store(0)
	_, _, code = call(t.Context(), "-q", "-n", "20", "-m", "POST", "-json", file, server.URL)
	assert.Equal(t, exitOK, code)
	assert.EqualValues(t, 20, received.Load(), "a POST is never sent again")
	assert.EqualValues(t, 10, readResult(t, file).Counts.Receive)
}

// TestRateIsPerScheduledTime tests responses that arrive long before the end of the schedule.
func TestRateIsPerScheduledTime(t *testing.T) {
	server := respond(t, http.StatusOK)
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-q", "-rate", "5", "-duration", "400ms", "-assert", "rps<=5", "-json", file, server.URL)
	assert.Equal(t, exitOK, code, out)
	assert.LessOrEqual(t, readResult(t, file).RequestsPerSecond, 5.0)
}

// TestLateResponsesAreReported uses a server that answers all requests, the last ones after the scheduled time.
func TestLateResponsesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &simulatedServer{capacity: &capacityServer{slots: 100, service: 400 * time.Millisecond}}
		out, err := simulate(t.Context(), t, server, "-q", "-rate", "100", "-duration", "2s")
		require.NoError(t, err)
		assert.Contains(t, out, "Successful: 80.5% of the offered rate of 100 requests per second; "+
			"39 requests ended after the scheduled time.\n")
	})
}

// TestCSVCountsFromDue uses a client that sends most requests late, because a response takes longer than the interval.
func TestCSVCountsFromDue(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the response takes this long
	}))
	defer server.Close()
	dir := t.TempDir()
	_, errs, code := call(t.Context(), "-q", "-rate", "400", "-duration", "100ms", "-c", "1",
		"-e", filepath.Join(dir, "p.csv"), "-json", filepath.Join(dir, "r.json"), server.URL)
	assert.Equal(t, exitOK, code, errs)
	csv, err := os.ReadFile(filepath.Join(dir, "p.csv"))
	require.NoError(t, err)
	latency := readResult(t, filepath.Join(dir, "r.json")).LatencyPercentiles
	assert.Contains(t, string(csv), fmt.Sprintf("\n100,%.3f\n", latency[len(latency)-1].MS))
}
