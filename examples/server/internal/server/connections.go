package server

import (
	"log/slog"
	"sync"
	"time"
)

// atConnectionLimit returns what is to be called for each connection beyond the limit.
func (s *Server) atConnectionLimit(limit int64) func(rejected bool) {
	episodes := &connectionEpisodes{logger: s.logger, limit: limit}
	return func(rejected bool) {
		episodes.add(rejected)
		if rejected && s.telemetry != nil {
			s.telemetry.Rejected()
		}
	}
}

// connectionEpisodes logs when the limit of connections is reached, and when it has not been for a while: a line for
// each connection could be thousands a second.
type connectionEpisodes struct {
	logger *slog.Logger
	limit  int64

	mu               sync.Mutex
	began, latest    time.Time // of the episode; zero if there is none
	rejected, closed int       // in the episode
}

// episodeEnds is how long after its latest connection beyond the limit an episode ends.
const episodeEnds = 10 * time.Second

// add adds a connection beyond the limit, which was rejected, or for which an idle one was closed.
func (e *connectionEpisodes) add(rejected bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.latest = time.Now()
	if e.began.IsZero() {
		e.began = e.latest
		e.logger.Warn("too many connections: idle ones are closed, or new ones rejected, see -max-connections "+
			"(MAX_CONNECTIONS)", "limit", e.limit)
		time.AfterFunc(episodeEnds, e.end)
	}
	if rejected {
		e.rejected++
	} else {
		e.closed++
	}
}

// end ends the episode, or looks again when it may have ended.
func (e *connectionEpisodes) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if left := episodeEnds - time.Since(e.latest); left > 0 {
		time.AfterFunc(left, e.end)
		return
	}
	e.logger.Info("no longer too many connections", "rejected", e.rejected, "idle_closed", e.closed,
		"after", e.latest.Sub(e.began))
	e.began, e.rejected, e.closed = time.Time{}, 0, 0
}
