package app

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/pointsapp/pointsapp/examples/server/dashboard"
)

// newDashboard returns the page that shows what the server does.
func (s *Server) newDashboard(problems *lastLines) *dashboard.Dashboard {
	return dashboard.New(dashboard.Source{
		Metrics:  s.telemetry.Registry(),
		State:    s.engine.State,
		Phase:    s.handler.doing,
		Updates:  func() any { return s.handler.updates.last(20) },
		Problems: problems.read,
		Latest: func() json.RawMessage {
			if latest := s.handler.latest.Load(); latest != nil {
				return *latest
			}
			return nil
		},
		Watch: func(on bool) {
			s.handler.latest.Store(nil) // what somebody has seen before is not the latest any more
			s.handler.watched.Store(on)
		},
		Controls: s.cfg.ControlToken != "",
	})
}

// doing returns what the server does when it does not simply serve.
func (h *Handler) doing() string {
	if p := h.phase.Load(); p != nil {
		return p.what
	}
	return ""
}

// lastLines keeps the last lines that are written to it.
type lastLines struct {
	mu    sync.Mutex
	lines []string
}

// logTo returns a logger that logs to another one, and warnings and errors to the lines, too.
func (l *lastLines) logTo(logger *slog.Logger) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		logger.Handler(), slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn})))
}

// Write implements io.Writer, for whole lines.
func (l *lastLines) Write(line []byte) (int, error) {
	const keep = 10
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == keep {
		l.lines = slices.Delete(l.lines, 0, 1)
	}
	l.lines = append(l.lines, strings.TrimSpace(string(line)))
	return len(line), nil
}

func (l *lastLines) read() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.lines...)
}
