package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// minShare is the share of the offered rate that a server must reach.
const minShare = 0.99

// offered returns the average rate of an open loop after the warm-up, in requests per second.
func (r *run) offered() float64 {
	window := r.schedule.Duration() - r.warmUp
	return float64(r.schedule.Requests()-r.schedule.DueBefore(r.warmUp)) / window.Seconds()
}

// endedPerSecond returns the rate of requests that ended during the scheduled time of an open loop, whatever the
// outcome. In each run, one request that ended late counts, too.
func (r *run) endedPerSecond() float64 {
	return r.endedPerSecondWith(float64(min(r.summary.Window.Late, int64(r.runCount()))))
}

// endedPerSecondWith returns the rate of requests that ended during the scheduled time, plus the additional ones.
func (r *run) endedPerSecondWith(additional float64) float64 {
	return (float64(r.summary.Window.Ended) + additional) / max(r.scheduled().Seconds(), 1e-9)
}

// misses are the reasons why an open loop misses an SLO.
type misses struct {
	clauses   []slo.Result // that do not hold
	unsent    bool         // requests could not be sent
	unreached bool         // the offered rate was not reached
	noSuccess bool         // there was no 2xx response
}

// misses evaluates the clauses with latency instead of the measured one.
func (r *run) misses(clauses []slo.Clause, latency *record.Distribution) misses {
	metrics := r.metrics()
	metrics.Latency = latency
	results, _ := slo.Evaluate(clauses, metrics)
	results = slices.DeleteFunc(results, func(result slo.Result) bool { return result.Met })
	return misses{
		clauses: results, unsent: r.unsent > 0, unreached: r.endedPerSecond() < minShare*r.offered(),
		noSuccess: r.summary.Good == 0,
	}
}

func (m *misses) none() bool { return len(m.clauses) == 0 && !m.unsent && !m.unreached && !m.noSuccess }

// describe returns the reasons as text.
func (r *run) describe(m *misses) string {
	var reasons []string
	for _, result := range m.clauses {
		reasons = append(reasons, result.Clause+": "+result.Measured)
	}
	if m.unsent {
		reasons = append(reasons, report.Plural(r.unsent, "request", "requests")+" could not be sent")
	}
	if m.unreached {
		reasons = append(reasons, fmt.Sprintf("reached %.1f%% of the offered rate", 100*r.endedPerSecond()/r.offered()))
	}
	if m.noSuccess {
		reasons = append(reasons, "no request succeeded")
	}
	return strings.Join(reasons, ", ")
}

// clientLimit returns why the client, not the server, limited the result; "" if it did not. An open loop is never
// limited if it has no misses.
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
	case s.Attempts() == 0 && s.Window.Good > 0: // the server responded to what it got
		return fmt.Sprintf("the warm-up kept its %s busy until the end: lower -rate or raise -c",
			report.Plural(r.cfg.Clients, "client", "clients"))
	case errorCount > 0 && float64(errorCount) >= slo.MaxErrorShare*float64(s.Attempts()):
		return "" // a slow client does not make a server refuse connections, or respond with errors
	case r.cpu.Full():
		return r.cpu.String()
	case r.schedule == nil, !r.missedByDelays(clauses):
		return ""
	}
	late := s.ClientDelay
	return fmt.Sprintf("it sent requests late although clients were idle: 1%% of them by %v or more, at most %v",
		late.Percentile(99).Round(100*time.Microsecond), late.Max().Round(100*time.Microsecond))
}

// missedByDelays reports whether an open loop would meet the clauses without the delays that the client itself caused.
func (r *run) missedByDelays(clauses []slo.Clause) bool {
	m := r.misses(clauses, r.summary.Undelayed)
	// The client's delays moved at most those responses past the end whose requests were due within the longest delay
	// before it. Unsent requests have no response at all. In each run one more may be late, as in endedPerSecond.
	moved := float64(r.runCount()) * (1 + r.offered()*r.summary.ClientDelay.Max().Seconds())
	moved = min(moved, float64(r.summary.Window.Late))
	reaches := r.endedPerSecondWith(moved+float64(r.unsent)) >= minShare*r.offered()
	return len(m.clauses) == 0 && (!m.unsent || !r.full) && (!m.unreached || reaches) && !m.noSuccess
}
