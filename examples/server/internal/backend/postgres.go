package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// connectTimeout is the connect_timeout of a connection string that has none. If an outage ends while connections hang
// in connecting, queries are answered again only after this time.
const connectTimeout = 2 * time.Second

// connections is the pool_max_conns of a connection string that has none: one for each of an update's two workers, one
// for its lock, two for reads, one for the ticks, one for /readyz, and some more in case those hang.
const connections = 10

// pingTimeout is the pool_ping_timeout of a connection string that has none: the time in which a connection that has
// been idle must answer a ping. It is shorter than the deadline of a probe of a store that is down.
const pingTimeout = 200 * time.Millisecond

// postgres is the backend of users in a PostgreSQL table.
type postgres struct {
	users  *pgstore.Store
	pool   *pgxpool.Pool
	url    config.DatabaseURL
	want   int64 // users to seed an empty table with
	logger *slog.Logger
}

func openPostgres(cfg config.Config, tele *telemetry.Telemetry, logger *slog.Logger) (Backend, error) {
	poolConfig, err := cfg.DatabaseURL.PoolConfig()
	if err != nil {
		return nil, err
	}
	if poolConfig.ConnConfig.ConnectTimeout == 0 {
		poolConfig.ConnConfig.ConnectTimeout = connectTimeout
	}
	if _, ok := poolConfig.ConnConfig.RuntimeParams["application_name"]; !ok {
		poolConfig.ConnConfig.RuntimeParams["application_name"] = "points-server"
	}
	if !strings.Contains(string(cfg.DatabaseURL), "pool_max_conns") {
		poolConfig.MaxConns = connections
	}
	if poolConfig.PingTimeout == 0 {
		poolConfig.PingTimeout = pingTimeout
	}
	if tele != nil {
		tele.TracePool(poolConfig)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), poolConfig) // connects when it is first used
	if err != nil {
		return nil, err
	}
	if tele != nil {
		tele.MeasurePool(pool)
	}
	users, err := pgstore.New(pool, pgstore.Config{
		Schema: string(cfg.Schema), Table: string(cfg.Table), Shared: cfg.Shared, Logger: logger,
	})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("%w, %s", err, see)
	}
	return &postgres{users, pool, cfg.DatabaseURL, int64(cfg.Users), logger}, nil
}

func (p *postgres) Store() points.Store            { return p.users }
func (p *postgres) Name() string                   { return p.url.String() }
func (p *postgres) Ping(ctx context.Context) error { return p.users.Ping(ctx) }
func (p *postgres) Close()                         { p.pool.Close() }

func (p *postgres) Prepare(ctx context.Context, progress func(done, total int64)) (int64, error) {
	users, err := p.seed(ctx, progress)
	switch {
	case err == nil:
		return users, nil
	case ctx.Err() != nil: // not every error after that wraps it
		return users, fmt.Errorf("preparing the table: %w", ctx.Err())
	default:
		return users, explain(err, p.pool.Config().ConnConfig)
	}
}

func (p *postgres) seed(ctx context.Context, progress func(done, total int64)) (int64, error) {
	if err := p.migrate(ctx); err != nil {
		return 0, err
	}
	if err := p.users.Seed(points.WithProgress(ctx, progress), p.want); err != nil {
		return 0, seedError{err}
	}
	const countTimeout = 5 * time.Second
	countCtx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	n, err := p.users.Count(countCtx)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); countCtx.Err() != nil || ok && pgErr.Code == queryCanceled {
		return -1, ctx.Err() // it takes long, or longer than statement_timeout
	}
	return n, err
}

// A seedError is an error of Seed.
type seedError struct{ error }

// Unwrap returns the wrapped error.
func (e seedError) Unwrap() error { return e.error }

// An unfitError says why the table cannot be used as it is.
type unfitError struct{ error }

// migrate migrates the table. A role without the right to do so can serve a table that is usable as it is.
func (p *postgres) migrate(ctx context.Context) error {
	err := p.users.Migrate(ctx)
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.Code != insufficientPrivilege {
		return err
	}
	if unfit := p.users.Check(ctx); unfit != nil {
		return fmt.Errorf("%w (%w)", err, unfitError{unfit})
	}
	p.logger.Warn("using the table as it is: the role has no right to migrate it", "error", OneLine(err))
	return nil
}
