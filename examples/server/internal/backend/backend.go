// Package backend opens the store of users that the server serves, and prepares it.
package backend

import (
	"context"
	"log/slog"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/points"
)

// A Backend is a store of users and what the server does around it.
type Backend interface {
	// Store returns the store. It does no I/O.
	Store() points.Store

	// Name is the name of the store in logs. It contains no password.
	Name() string

	// Prepare creates and seeds the table if need be. It calls progress as pgstore.Store.Seed does. It returns the number
	// of users, or -1 if counting them takes long. Its error is one line without a password.
	Prepare(ctx context.Context, progress func(done, total int64)) (users int64, err error)

	// Ping returns nil if the store can be reached.
	Ping(ctx context.Context) error

	// Close waits until nothing uses the store, and frees its resources.
	Close()
}

// Open returns the backend that cfg asks for. It connects to no database yet. A nil tele measures nothing.
func Open(cfg config.Config, tele *telemetry.Telemetry, logger *slog.Logger) (Backend, error) {
	if cfg.DatabaseURL == "" {
		return &memory{want: cfg.Users}, nil
	}
	return openPostgres(cfg, tele, logger)
}
