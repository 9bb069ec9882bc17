package server

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/backend"
	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/points"
)

// NewLogger returns the logger that cfg asks for.
func NewLogger(cfg config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(cfg.LogLevel)}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// longUpdates logs the progress of updates that take long. Its methods are for points.Hooks.
type longUpdates struct {
	logger *slog.Logger

	logged time.Time // when the update began or the latest line was logged
}

func (l *longUpdates) started(ctx context.Context, info points.UpdateInfo) context.Context {
	l.logged = info.Started
	return ctx
}

func (l *longUpdates) progress(done, total int64) {
	const every = 5 * time.Second
	if time.Since(l.logged) >= every {
		l.logger.Info("update is running", "users", done, "of", total)
		l.logged = time.Now()
	}
}

// outages logs when reads of the store begin to fail and when they succeed again: a line for each failed query would be
// thousands a second. It is for points.Hooks, which calls it for one batch at a time.
type outages struct {
	logger *slog.Logger

	since time.Time // when the first read that failed began; zero if there is no outage
	reads int       // failed since then; further queries were rejected without a read
}

func (o *outages) batch(info points.BatchInfo) {
	switch {
	case info.Err != nil:
		if o.since.IsZero() {
			o.since = time.Now().Add(-info.Duration)
			o.logger.Error("queries fail", "error", backend.OneLine(info.Err))
		}
		o.reads++
	case !o.since.IsZero():
		o.logger.Info("queries succeed again", "failed_reads", o.reads, "after", time.Since(o.since))
		o.since, o.reads = time.Time{}, 0
	}
}
