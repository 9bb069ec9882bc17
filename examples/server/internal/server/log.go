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

// longUpdates logs how far an update is that takes long. Its methods are for points.Hooks.
type longUpdates struct {
	logger *slog.Logger

	logged time.Time // its begin, or the latest line
}

func (l *longUpdates) started(ctx context.Context, info points.UpdateInfo) context.Context {
	l.logged = info.Started
	return ctx
}

func (l *longUpdates) progress(done, total int64) {
	const every = 5 * time.Second
	if time.Since(l.logged) >= every {
		l.logger.Info("updating", "users", done, "of", total)
		l.logged = time.Now()
	}
}

// outages logs when reads of the store begin to fail, and when they succeed again: a line for each query that fails
// would be thousands a second. It is for points.Hooks, which calls it for one batch at a time.
type outages struct {
	logger *slog.Logger

	since   time.Time // zero while there is none
	queries int       // that have failed since
}

func (o *outages) batch(info points.BatchInfo) {
	switch {
	case info.Err != nil:
		if o.since.IsZero() {
			o.since = time.Now()
			o.logger.Error("queries fail", "error", backend.OneLine(info.Err))
		}
		o.queries += info.Queries
	case !o.since.IsZero():
		o.logger.Info("queries are answered again", "failed", o.queries, "after", time.Since(o.since))
		o.since, o.queries = time.Time{}, 0
	}
}
