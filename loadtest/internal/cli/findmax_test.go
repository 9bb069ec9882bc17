package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// TestFindMax searches with a real server, on the command line. The server interrupts the search, because its length
// depends on how busy the machine is.
func TestFindMax(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	server := pointsApp(t, func(request int) bool {
		if request == 30 { // the first step has 20
			interrupt()
		}
		return false
	})
	file := filepath.Join(t.TempDir(), "r.json")
	out, errs, code := call(ctx, "-find-max", "-slo", "p99<1h", "-rate", "100", "-duration", "100ms", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "searching for the highest rate that meets p99<1h,errors<1%, with open loops of 100ms.")
	assert.Regexp(t, `^loadtest: the search was interrupted at \d+ requests per second\n$`, errs)
	run := readResult(t, file)
	require.NotNil(t, run.Search)
	assert.Positive(t, run.Counts.Complete)
}

// TestFindMaxReports checks the report of a search, and that its JSON counts neither requests nor responses of the
// warm-up.
func TestFindMaxReports(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	synctest.Test(t, func(t *testing.T) {
		out, err := search(t.Context(), t, &simulatedServer{}, "-slo", "rps<31", "-rate", "20",
			"-assert", "rps>1000", "-compare", "original", "-json", file)
		require.ErrorIs(t, err, errCheckFailed, "the assertion fails")
		assert.Contains(t, out, "FAIL rps>1000: ")
		assert.Contains(t, out, "missed: rps<31")
		assert.Contains(t, out, "Requests per second")
		assert.Regexp(t, `Contract: \d+ responses checked against PointsApp's contract in the step of \d+ requests per second, with its warm-up, 0`, out)
		run := readResult(t, file)
		assert.GreaterOrEqual(t, run.Search.Highest, 20)
		assert.Less(t, run.Search.Highest, 40)
		assert.Contains(t, out, fmt.Sprintf("Verdict: the server meets rps<31,errors<1%% at %d requests per second.", run.Search.Highest))
		assert.Len(t, run.Assertions, 1)
		assert.Equal(t, run.Counts.Complete, run.Load.Requests-run.Load.Unsent)
		assert.Equal(t, "fail", run.Verdict)
	})
}

// TestLaxSLO tests an SLO that allows many or all requests to fail.
func TestLaxSLO(t *testing.T) {
	for name, tt := range map[string]struct {
		server *simulatedServer
		slo    string
		want   string
	}{
		"only 503": {
			&simulatedServer{status: http.StatusServiceUnavailable}, "p99<1s,errors<=100%",
			"Verdict: no request succeeded at 8 and 1 requests per second: 6 of 6 responses were 503 Service Unavailable. " +
				"Check the URL and the server.\n",
		},
		"refuses": {
			&simulatedServer{refuses: from(1)}, "errors<=100%", "Verdict: no request succeeded at 8 and 1 requests per second: connection refused. Check",
		},
		"half of them, as allowed": {
			&simulatedServer{unavailable: func(n int64) bool { return n%2 == 0 }}, "errors<60%,rps<31", "Verdict: the server meets errors<60%,rps<31 at ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, err := search(t.Context(), t, tt.server, "-slo", tt.slo, "-rate", "8")
				assert.Equal(t, strings.Contains(tt.want, "no request"), errors.Is(err, errCheckFailed))
				assert.Contains(t, out, tt.want)
			})
		})
	}
}

// TestServerDiesInSearch uses a server that refuses all connections after some steps.
func TestServerDiesInSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := search(t.Context(), t, &simulatedServer{refuses: from(200)}, "-slo", "p99<1s", "-rate", "20")
		require.ErrorContains(t, err, "the server has failed: no request succeeded at 80 requests per second, "+
			"although it met the SLO at 80 requests per second before")
		assert.NotContains(t, out, "Verdict")
		assert.Equal(t, 3, strings.Count(out, "  met\n"))
		assert.Equal(t, 4, strings.Count(out, "no request succeeded\n"), "160/s and 80/s, two times each, and no other rate")
	})
}

// TestServerDiesBeforeItMeetsSLO uses a server that answers some requests of the first step, and then none.
func TestServerDiesBeforeItMeetsSLO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &simulatedServer{unavailable: func(n int64) bool { return n%2 == 0 || n > 35 }}
		out, err := search(t.Context(), t, server, "-slo", "p99<1s", "-rate", "20")
		require.EqualError(t, err, "the server has failed: no request succeeded at 10 requests per second, "+
			"although some did at 20 requests per second before")
		assert.Equal(t, "FAIL: "+err.Error(), lastLine(out))
	})
}

// TestStepWithoutSamples prints a step in which nothing was sent.
func TestStepWithoutSamples(t *testing.T) {
	var out bytes.Buffer
	c := command{stdout: &out}
	c.printStep(&report.Step{Rate: 4, Reason: "no request succeeded"}, record.NewDistribution())
	assert.Regexp(t, `^ +4 +0 +- +- +0  missed: no request succeeded\n$`, out.String())
}

// TestDeadServerEndsSearch uses servers without a success in the first two steps.
func TestDeadServerEndsSearch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	for first, rates := range map[string]string{"50": "50 and 1 requests per second", "1": "1 request per second"} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			out, err := search(t.Context(), t, &simulatedServer{status: http.StatusServiceUnavailable}, "-slo", "p99<1s", "-rate", first, "-json", file)
			require.ErrorIs(t, err, errCheckFailed)
			assert.LessOrEqual(t, time.Since(start), 6*time.Second)
			want := "no request succeeded at " + rates + ": "
			assert.Contains(t, out, "Verdict: "+want)
			assert.Contains(t, lastLine(out), "FAIL: "+want)
			run := readResult(t, file)
			require.Len(t, run.Reasons, 1)
			assert.Contains(t, run.Reasons[0], want)
			assert.Len(t, run.Search.Steps, 2)
		})
	}
}

// TestSearchOfSheddingServer uses a server that rejects all requests if they come faster than 10/s: the rate is the
// reason, not the server.
func TestSearchOfSheddingServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		server := &simulatedServer{unavailable: func(int64) bool {
			sheds := time.Since(last) < 99*time.Millisecond
			last = time.Now()
			return sheds
		}}
		out, err := search(t.Context(), t, server, "-slo", "p99<1s", "-rate", "100", "-duration", "4s")
		require.NoError(t, err, out)
		assert.Contains(t, out, "Verdict: the server meets p99<1s,errors<1% at 10 requests per second.")
		assert.Equal(t, "PASS: the server meets p99<1s,errors<1% at 10 requests per second, contract in all steps", lastLine(out))
	})
}

// TestFewRequests uses low rates: the confirming step is as long as the SLO needs, up to a limit.
func TestFewRequests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	synctest.Test(t, func(t *testing.T) {
		out, err := search(t.Context(), t, &simulatedServer{}, "-slo", "rps<31", "-rate", "20", "-json", file)
		require.NoError(t, err, out)
		assert.InDelta(t, 1500, readResult(t, file).Counts.Complete, 1)

		out, err = search(t.Context(), t, &simulatedServer{}, "-slo", "rps<3", "-rate", "2")
		require.ErrorIs(t, err, errCheckFailed)
		const want = "the server may meet rps<3,errors<1% at 3 requests per second, but 1500 requests are needed to show it: " +
			"use -duration 2m47s or more"
		assert.Contains(t, out, "No verdict: "+want+".\n")
		assert.Equal(t, "FAIL: no verdict: "+want, lastLine(out))

		out, err = search(t.Context(), t, &simulatedServer{}, "-slo", "rps<3", "-rate", "2", "-duration", "4m11s")
		require.NoError(t, err, out)
	})
}

// TestSearchByChance uses servers that miss the SLO at any rate, but only by a few requests: a step with fewer requests
// is no reason to pass.
func TestSearchByChance(t *testing.T) {
	for slo, share := range map[string]uint64{"p99<100ms": 25, "p99<100ms,errors<5%": 100, "p90<100ms,errors<50%": 250} {
		for _, first := range []string{"100", "20"} {
			for seed := range int64(5) {
				fails := func(n int64) bool { return scramble(n+seed<<32)%1000 < share }
				slow := &simulatedServer{onServe: func(n int64) {
					if fails(n) {
						<-time.After(200 * time.Millisecond)
					}
				}}
				for name, server := range map[string]*simulatedServer{"errors": {unavailable: fails}, "latency": slow} {
					if name == "errors" && slo == "p90<100ms,errors<50%" || name == "latency" && slo == "p99<100ms,errors<5%" {
						continue // within the limit
					}
					synctest.Test(t, func(t *testing.T) {
						out, err := search(t.Context(), t, server, "-slo", slo, "-rate", first, "-duration", "5s")
						require.ErrorIs(t, err, errCheckFailed, "%s, seed %d, from %s/s: %s", name, seed, first, out)
					})
				}
			}
		}
	}
}

func TestNoRateMeetsSLO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := search(t.Context(), t, &simulatedServer{}, "-slo", "p50<0s", "-rate", "4")
		require.ErrorIs(t, err, errCheckFailed)
		assert.Contains(t, out, "Verdict: no rate meets p50<0s,errors<1%, not even 1 request per second.")
	})
}

// TestFindMaxReportsEachViolation uses a server that violates the contract only in a step that misses the SLO.
func TestFindMaxReportsEachViolation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	synctest.Test(t, func(t *testing.T) {
		// The first step has 20 requests, the second one 40, and misses the SLO.
		server := &simulatedServer{violates: func(n int64) bool { return n > 25 && n < 30 }}
		out, err := search(t.Context(), t, server, "-slo", "rps<31", "-rate", "20", "-assert", "violations=0", "-json", file)
		require.ErrorIs(t, err, errCheckFailed)
		assert.Contains(t, out, "contract in the step of 40 requests per second, with its warm-up, 3 violations")
		assert.Contains(t, out, "Violation: timestamp returned twice")
		assert.Contains(t, out, "FAIL violations=0: 3")
		run := readResult(t, file)
		assert.EqualValues(t, 3, run.Search.Steps[1].Violations)
		assert.Equal(t, "fail", run.Verdict)
	})
}

// TestInterruptedSearch interrupts a search in its first and in its second step: the JSON has what was measured so far.
func TestInterruptedSearch(t *testing.T) {
	for name, tt := range map[string]struct {
		at    int64 // request; the first step has 20, of which 10 are its warm-up
		rate  int
		steps int
	}{"first step": {15, 20, 0}, "second step": {35, 40, 1}} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "r.json")
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancel(t.Context())
				server := &simulatedServer{onServe: func(n int64) {
					if n == tt.at {
						interrupt()
					}
				}}
				out, err := search(ctx, t, server, "-slo", "rps<1000", "-rate", "20", "-assert", "rps>1", "-json", file)
				require.EqualError(t, err, fmt.Sprintf("the search was interrupted at %d requests per second", tt.rate))
				assert.NotContains(t, out, "Verdict")
				assert.Contains(t, out, "PASS rps>1: ")
				run := readResult(t, file)
				assert.Equal(t, "fail", run.Verdict)
				assert.Equal(t, []string{"interrupted"}, run.Reasons)
				assert.Len(t, run.Search.Steps, tt.steps)
				assert.Equal(t, 20*tt.steps, run.Search.Highest)
				assert.Positive(t, run.Counts.Complete)
			})
		})
	}
}
