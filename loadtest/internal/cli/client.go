package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// minShare is the share of the offered rate that a server must reach.
const minShare = 0.99

// offered returns the average rate of an open loop after the warm-up, in requests per second.
func (r *run) offered() float64 {
	window := r.schedule.Duration() - r.warmUp
	return float64(r.schedule.Requests()-r.schedule.DueBefore(r.warmUp)) / window.Seconds()
}

// reachedOffered reports whether an open loop reached the offered rate. One response may arrive after the end.
func (r *run) reachedOffered() bool { return r.reachesOffered(1) }

// reachesOffered reports whether an open loop would reach the offered rate with that many additional responses.
func (r *run) reachesOffered(additional float64) bool {
	window := r.schedule.Duration() - r.warmUp
	return r.rate()+additional/window.Seconds() >= minShare*r.offered()
}

// misses are the reasons why an open loop misses an SLO.
type misses struct {
	clauses   []slo.Result // that do not hold
	unsent    bool         // requests could not be sent
	unreached bool         // the offered rate was not reached
}

// misses evaluates the clauses with latency instead of the measured one.
func (r *run) misses(clauses []slo.Clause, latency *record.Distribution) misses {
	metrics := r.metrics()
	metrics.Latency = latency
	results, _ := slo.Evaluate(clauses, metrics)
	results = slices.DeleteFunc(results, func(result slo.Result) bool { return result.Met })
	return misses{clauses: results, unsent: r.unsent > 0, unreached: !r.reachedOffered()}
}

func (m *misses) none() bool { return len(m.clauses) == 0 && !m.unsent && !m.unreached }

// describe returns the reasons as text.
func (r *run) describe(m *misses) string {
	var reasons []string
	for _, result := range m.clauses {
		reasons = append(reasons, result.Clause+": "+result.Measured)
	}
	if m.unsent {
		reasons = append(reasons, count(r.unsent, "request", "requests")+" could not be sent")
	}
	if m.unreached {
		reasons = append(reasons, fmt.Sprintf("reached %.1f%% of the offered rate", 100*r.rate()/r.offered()))
	}
	return strings.Join(reasons, ", ")
}

// clientLimit returns why the client limited the result, and not the server; "" if it did not. In an open loop it did
// only if the clauses do not hold, or the offered rate was not reached.
func (r *run) clientLimit(clauses []slo.Clause) string {
	if r.schedule != nil {
		if m := r.misses(clauses, r.summary.Latency); m.none() {
			return ""
		}
	}
	if r.cpu.Full() {
		return r.cpu.String()
	}
	if r.schedule == nil || !r.missedByDelays(clauses) {
		return ""
	}
	late := r.summary.ClientDelay
	return fmt.Sprintf("it sent requests late although clients were free: 1%% of them by %v or more, at most %v",
		late.Percentile(99).Round(100*time.Microsecond), late.Max().Round(100*time.Microsecond))
}

// missedByDelays reports whether an open loop would meet the clauses without the delays that the client itself caused.
func (r *run) missedByDelays(clauses []slo.Clause) bool {
	m := r.misses(clauses, r.summary.Undelayed)
	// The client's delays moved at most those responses past the end whose requests were due within the longest delay
	// before it. Unsent requests have no response at all.
	late := r.offered()*r.summary.ClientDelay.Max().Seconds() + float64(r.unsent)
	return len(m.clauses) == 0 && (!m.unsent || !r.full) && (!m.unreached || r.reachesOffered(1+late))
}
