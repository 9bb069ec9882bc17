package dashboard

import (
	"fmt"
	"strings"
	"time"
)

// A level is the health of a server in one word.
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

// A health is the level of a server and the reasons for it.
type health struct {
	Level   level     `json:"level"`
	Since   time.Time `json:"since"` // when the server got this level
	Reasons []string  `json:"reasons"`
}

// healthOf returns the health of a server with this snapshot, with at least one reason. The caller sets Since.
func healthOf(s *snapshot, w window) health {
	switch {
	case strings.HasPrefix(s.Phase, "starting"):
		return health{Level: levelStarting, Reasons: []string{"Not ready: the server is " + s.Phase + "."}}
	case s.Phase != "":
		return health{Level: levelStopping, Reasons: []string{
			"The server is " + s.Phase + ": it still answers queries, and load balancers send no more.",
		}}
	}
	h := health{Level: levelOK}
	for _, r := range append(serving(s, w), updating(s, w)...) {
		if r.level == levelDown {
			h.Level = levelDown
		} else if h.Level == levelOK {
			h.Level = levelDegraded
		}
		h.Reasons = append(h.Reasons, r.text)
	}
	if h.Level == levelOK {
		h.Reasons = []string{"Queries are answered, and updates succeed."}
	}
	h.Reasons = append(h.Reasons, notes(s)...)
	return h
}

// notes returns what is shown at each level.
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

// serving returns the problems of queries.
func serving(s *snapshot, w window) []reason {
	var reasons []reason
	add := func(level level, text string, args ...any) {
		reasons = append(reasons, reason{level, fmt.Sprintf(text, args...)})
	}
	if s.Down {
		add(levelDown, "Reads of the database fail: queries are rejected with status 503.")
	}
	if w.unsynced() {
		add(levelDegraded,
			"The shared state has not been read for %s: the database does not answer. "+
				"This server does not tick until it answers.",
			spaced(w.syncAge.Round(time.Second)))
	}
	if w.errorShare > maxErrorShare && !s.Down {
		add(levelDegraded, "%.1f%% of the queries of the last minute failed with status 5xx (limit %.0f%%).",
			100*w.errorShare, 100*maxErrorShare)
	}
	if w.p99 > maxP99 {
		add(levelDegraded, "Queries are slow: the 99th percentile of the last minute is %s (limit %s).",
			spaced(w.p99), spaced(maxP99))
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

// updating returns the problems of updates.
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

// spaced returns a duration as the page writes it: 320 ms, 1.25 s, 2 min 5 s, 1 h 15 min.
func spaced(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}
