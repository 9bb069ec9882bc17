package cli

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// burstDelay is a delay of the load generator after which requests come as a burst that a server may reject.
const burstDelay = 20 * time.Millisecond

// minShare is the share of the offered rate that a server must reach.
const minShare = 0.99

// offeredRate returns the average rate of an open loop after the warm-up, in requests per second.
func (r *run) offeredRate() float64 {
	window := r.schedule.Duration() - r.warmUp
	return float64(r.schedule.Requests()-r.schedule.DueBefore(r.warmUp)) / window.Seconds()
}

// endedRate returns the requests per second that ended during the scheduled time of an open loop, whatever their
// outcome. In each run, it includes one request that ended late: the last one may be due at the end.
func (r *run) endedRate() float64 {
	return r.endedRateWith(float64(min(r.summary.Window.Late, int64(r.runCount()))))
}

// endedRateWith is endedRate, but with the given number of requests that ended late.
func (r *run) endedRateWith(late float64) float64 {
	return (float64(r.summary.Window.Ended) + late) / max(r.scheduledTime().Seconds(), 1e-9)
}

// misses are the reasons why an open loop misses the SLO or the assertions.
type misses struct {
	clauses   []slo.Result // that fail
	unsent    bool         // a request could not be sent
	unreached bool         // the offered rate was not reached
	noSuccess bool         // there was no 2xx response
}

// misses evaluates the clauses with the given distribution instead of the measured latency.
func (r *run) misses(clauses []slo.Clause, latency *record.Distribution) misses {
	metrics := r.metrics()
	metrics.Latency = latency
	results, _ := slo.Evaluate(clauses, metrics)
	results = slices.DeleteFunc(results, func(result slo.Result) bool { return result.Met })
	return misses{
		clauses: results, unsent: r.unsent > 0, unreached: r.endedRate() < minShare*r.offeredRate(),
		noSuccess: r.summary.Successful == 0,
	}
}

func (m *misses) none() bool { return len(m.clauses) == 0 && !m.unsent && !m.unreached && !m.noSuccess }

// describe returns the reasons as text, separated by commas.
func (r *run) describe(m *misses) string {
	var reasons []string
	for _, result := range m.clauses {
		reasons = append(reasons, result.Clause+": "+result.Measured)
	}
	if m.unsent {
		reasons = append(reasons, report.Plural(r.unsent, "request", "requests")+" could not be sent")
	}
	if m.unreached {
		percent := math.Floor(1000*r.endedRate()/r.offeredRate()) / 10 // not 99% for 98.96%
		reasons = append(reasons, fmt.Sprintf("reached %.1f%% of the offered rate", percent))
	}
	if m.noSuccess {
		reasons = append(reasons, "no request succeeded")
	}
	return strings.Join(reasons, ", ")
}

// clientLimit returns why the load generator, not the server, limited the result; "" if it did not. An open loop
// without misses is not limited.
func (r *run) clientLimit(clauses []slo.Clause) string {
	if r.schedule != nil {
		if m := r.misses(clauses, r.summary.Latency); m.none() {
			return ""
		}
	}
	s := &r.summary
	errorCount := s.Errors()
	switch {
	case s.OutOfResources > 0:
		return "it had no free port, file descriptor or buffer for " + report.Plural(s.OutOfResources, "request", "requests")
	case s.Ended() == 0 && s.Window.Successful > 0: // the server answered the warm-up
		return fmt.Sprintf("the warm-up kept its %s busy until the end: lower -rate or raise -c",
			report.Plural(r.cfg.Clients, "client", "clients"))
	case errorCount > 0 && float64(errorCount) >= slo.MaxErrorShare*float64(s.Ended()):
		if r.schedule != nil && s.Successful > 0 && s.ClientDelay.Percentile(99) >= burstDelay {
			return describeDelay(s.ClientDelay)
		}
		return "" // otherwise a slow load generator does not cause failures or error responses
	case r.cpu.Saturated():
		return r.cpu.String()
	case r.schedule == nil, !r.meetsWithoutDelays(clauses):
		return ""
	}
	return describeDelay(s.ClientDelay)
}

func describeDelay(late *record.Distribution) string {
	return fmt.Sprintf("it sent requests late although clients were idle: 1%% of them by %v or more, at most %v",
		late.Percentile(99).Round(100*time.Microsecond), late.Max().Round(100*time.Microsecond))
}

// meetsWithoutDelays reports whether an open loop would have no misses without the delays of the load generator.
func (r *run) meetsWithoutDelays(clauses []slo.Clause) bool {
	m := r.misses(clauses, r.summary.Undelayed)
	// The delays moved at most those responses past the end whose requests were due within the longest delay before it.
	// Unsent requests have no response at all. In each run one more may be late, as in endedRate.
	moved := float64(r.runCount()) * (1 + r.offeredRate()*r.summary.ClientDelay.Max().Seconds())
	moved = min(moved, float64(r.summary.Window.Late))
	reaches := r.endedRateWith(moved+float64(r.unsent)) >= minShare*r.offeredRate()
	return len(m.clauses) == 0 && (!m.unsent || !r.saturated) && (!m.unreached || reaches) && !m.noSuccess
}
