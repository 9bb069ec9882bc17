package server

import (
	"log/slog"
	"sync"
	"time"
)

// atConnectionLimit returns the callback of connlimit.New, which logs and measures.
func (s *Server) atConnectionLimit(limit int64) func(rejected bool) {
	episodes := &connectionEpisodes{logger: s.logger, limit: limit}
	return func(rejected bool) {
		episodes.add(rejected)
		if rejected && s.telemetry != nil {
			s.telemetry.Rejected()
		}
	}
}

// connectionEpisodes logs the start and the end of each episode in which the limit of connections is reached. A line
// for each connection could be thousands per second.
type connectionEpisodes struct {
	logger *slog.Logger
	limit  int64

	mu               sync.Mutex
	began, latest    time.Time // of the episode; zero if there is none
	rejected, closed int       // in the episode
}

// episodeTimeout is the time from the latest connection beyond the limit to the end of its episode.
const episodeTimeout = 10 * time.Second

// add records a connection beyond the limit: it was rejected, or an idle one was closed for it.
func (e *connectionEpisodes) add(rejected bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.latest = time.Now()
	if e.began.IsZero() {
		e.began = e.latest
		e.logger.Warn("too many connections: idle ones are closed, or new ones rejected, see -max-connections "+
			"(MAX_CONNECTIONS)", "limit", e.limit)
		time.AfterFunc(episodeTimeout, e.end)
	}
	if rejected {
		e.rejected++
	} else {
		e.closed++
	}
}

// end ends the episode, or reschedules itself if there was another connection in the meantime.
func (e *connectionEpisodes) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if left := episodeTimeout - time.Since(e.latest); left > 0 {
		time.AfterFunc(left, e.end)
		return
	}
	e.logger.Info("connections are within the limit again", "rejected", e.rejected, "idle_closed", e.closed,
		"after", e.latest.Sub(e.began))
	e.began, e.rejected, e.closed = time.Time{}, 0, 0
}
