// Package backend opens the store of users that the server serves, and prepares it.
package backend

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/memstore"
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
		return openMemory(cfg.Users)
	}
	return openPostgres(cfg, tele, logger)
}

// memory is the backend of users in memory.
type memory struct{ users *memstore.Store }

func openMemory(users config.Users) (Backend, error) {
	store, err := memstore.New(int(users))
	if err != nil {
		return nil, fmt.Errorf("-users (USERS): %w", err)
	}
	return memory{store}, nil
}

func (m memory) Store() points.Store        { return m.users }
func (m memory) Name() string               { return "memory" }
func (m memory) Ping(context.Context) error { return nil }
func (m memory) Close()                     {}

func (m memory) Prepare(context.Context, func(done, total int64)) (int64, error) {
	return int64(m.users.Len()), nil
}
