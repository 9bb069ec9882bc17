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
		options.ReplaceAttr = durationAsText
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// durationAsText makes durations in JSON readable: by default they are numbers of nanoseconds.
func durationAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
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

// reads logs when reads of the store begin to fail and when they succeed again: a line for each failed query would be
// thousands a second. At level debug it logs each read. It is for points.Hooks, which calls it for one batch at a time.
type reads struct {
	logger *slog.Logger
	debug  bool // the logger logs at level debug

	since  time.Time // when the first read that failed began; zero if there is no outage
	failed int       // reads since then; further queries were rejected without a read
}

func newReads(logger *slog.Logger) *reads {
	return &reads{logger: logger, debug: logger.Enabled(context.Background(), slog.LevelDebug)}
}

func (r *reads) ended(info points.BatchInfo) {
	if r.debug {
		attrs := []any{
			"batch", info.Batch, "queries", info.Queries, "users", info.Users,
			"waited", info.Waited, "duration", info.Duration,
		}
		if info.Err != nil {
			attrs = append(attrs, "error", backend.OneLine(info.Err))
		}
		r.logger.Debug("read", attrs...)
	}
	switch {
	case info.Err != nil:
		if r.since.IsZero() {
			r.since = time.Now().Add(-info.Duration)
			r.logger.Error("queries fail", "error", backend.OneLine(info.Err))
		}
		r.failed++
	case !r.since.IsZero():
		r.logger.Info("queries succeed again", "failed_reads", r.failed, "after", time.Since(r.since))
		r.since, r.failed = time.Time{}, 0
	}
}
