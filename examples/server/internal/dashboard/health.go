package dashboard

import (
	"fmt"
	"strings"
	"time"
)

// A level says how well a server serves.
type level string

const (
	levelOK       level = "ok"
	levelDegraded level = "degraded" // queries are answered, but something needs attention
	levelDown     level = "down"     // queries fail
	levelStarting level = "starting" // queries are not answered yet
	levelStopping level = "stopping"
)

// The limits beyond which a server is degraded. Those of requests and ticks are the limits of alerts.yml.
const (
	maxErrorShare = 0.01                   // of the responses of a minute
	maxP99        = 500 * time.Millisecond // of a minute
	maxSkipped    = 2                      // ticks in 10 minutes
	maxFull       = 0.9                    // of the open connections, and of the wait queue
	maxSyncAge    = 5 * time.Second        // of the shared state
)

// A reason says why a server has a level.
type reason struct {
	level level
	text  string
}

// A judgement is the level of a server and the reasons for it.
type judgement struct {
	Level   level     `json:"level"`
	Since   time.Time `json:"since"` // when the server got this level
	Reasons []string  `json:"reasons"`
}

// judge returns the level of a server with this snapshot, and at least one reason.
func judge(s *snapshot, w window) judgement {
	switch {
	case strings.HasPrefix(s.Phase, "starting"):
		return judgement{Level: levelStarting, Reasons: []string{"Not ready: the server is " + s.Phase + "."}}
	case s.Phase != "":
		return judgement{Level: levelStopping, Reasons: []string{
			"The server is " + s.Phase + ": it still answers queries, and load balancers send no more.",
		}}
	}
	j := judgement{Level: levelOK}
	for _, r := range append(serving(s, w), updating(s, w)...) {
		if r.level == levelDown {
			j.Level = levelDown
		} else if j.Level == levelOK {
			j.Level = levelDegraded
		}
		j.Reasons = append(j.Reasons, r.text)
	}
	if j.Level == levelOK {
		j.Reasons = []string{"Queries are answered, and updates succeed."}
	}
	j.Reasons = append(j.Reasons, notes(s)...)
	return j
}

// notes returns what is worth knowing at each level.
func notes(s *snapshot) []string {
	var notes []string
	if !s.Running.IsZero() {
		notes = append(notes, "An update of all users is running.")
	}
	if s.Paused {
		notes = append(notes, "Ticks are paused: no new min number and no updates until they are resumed.")
	}
	return notes
}

// serving returns what is wrong with the answers to queries.
func serving(s *snapshot, w window) []reason {
	var reasons []reason
	add := func(level level, text string, args ...any) {
		reasons = append(reasons, reason{level, fmt.Sprintf(text, args...)})
	}
	if s.Down {
		add(levelDown, "Reads of the database fail: queries are rejected with status 503.")
	}
	if w.syncAge > maxSyncAge {
		add(levelDegraded,
			"The shared state has not been read for %s: the database does not answer. No ticks here meanwhile.",
			w.syncAge.Round(time.Second))
	}
	if w.errorShare > maxErrorShare && !s.Down {
		add(levelDegraded, "%.1f%% of the queries of the last minute failed with status 5xx (limit %.0f%%).",
			100*w.errorShare, 100*maxErrorShare)
	}
	if w.p99 > maxP99 {
		add(levelDegraded, "Queries are slow: the 99th percentile of the last minute is %s (limit %s).",
			w.p99.Round(time.Millisecond), maxP99)
	}
	full := func(what string, n, limit int64, then string) {
		if float64(n) >= maxFull*float64(limit) {
			add(levelDegraded, "%s: %d of %d. At the limit %s.", what, n, limit, then)
		}
	}
	full("Open connections", s.Connections, s.Server.MaxConnections,
		"idle ones are closed, and without any, new ones get status 503")
	full("Waiting queries", int64(s.Waiting), s.Server.MaxWaiting, "further ones get status 503")
	return reasons
}

// updating returns what is wrong with the updates.
func updating(s *snapshot, w window) []reason {
	var reasons []reason
	add := func(text string, args ...any) {
		reasons = append(reasons, reason{levelDegraded, fmt.Sprintf(text, args...)})
	}
	switch {
	case s.Breaker != "closed":
		add("Updates keep failing, %d in a row: the circuit breaker is %s. Users keep their points.", s.Failures, s.Breaker)
	case s.Failures > 1:
		add("The latest %d updates failed. Users keep their points.", s.Failures)
	case s.Failures == 1:
		add("The latest update failed. Users keep their points.")
	}
	if w.skipped > maxSkipped {
		add("Updates take longer than the interval: %d ticks of the last 10 minutes were skipped.", w.skipped)
	}
	return reasons
}
