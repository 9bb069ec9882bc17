package server

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// lastLines keeps the last lines written to it, for the dashboard.
type lastLines struct {
	mu    sync.Mutex
	lines []string
}

// logTo returns a logger that logs to another one, and warnings and errors to l as well.
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
