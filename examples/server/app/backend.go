package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pointsapp/pointsapp/examples/server/telemetry"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// A backend is a store of users, and what there is to do around it.
type backend interface {
	// store returns the store. It does no I/O.
	store() points.Store

	// name tells people what it is. It has no password in it.
	name() string

	// prepare makes the store ready: its users are there. It calls progress as pgstore.Store.Seed does. It returns
	// the number of users, or -1 if they are so many that counting them takes long.
	prepare(ctx context.Context, progress func(done, total int64)) (users int64, err error)

	// ping returns nil if the store can be reached.
	ping(ctx context.Context) error

	// close waits for what uses the store, and then frees what it holds.
	close()
}

func openBackend(cfg Config, tele *telemetry.Telemetry, logger *slog.Logger) (backend, error) {
	if cfg.DatabaseURL == "" {
		return openMemory(cfg.Users)
	}
	return openPostgres(cfg, tele, logger)
}

// memory is the backend of users in memory.
type memory struct {
	*memstore.Store
}

func openMemory(users Users) (backend, error) {
	store, err := memstore.New(int(users))
	if err != nil {
		return nil, fmt.Errorf("-users (USERS): %w", err)
	}
	return memory{store}, nil
}

func (m memory) store() points.Store        { return m.Store }
func (m memory) name() string               { return "memory" }
func (m memory) ping(context.Context) error { return nil }
func (m memory) close()                     {}

func (m memory) prepare(context.Context, func(done, total int64)) (int64, error) {
	return int64(m.Len()), nil
}
