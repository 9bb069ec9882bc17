package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/points"
)

// A Store keeps users in a table of a PostgreSQL database. It is safe for concurrent use, by several processes too.
type Store struct {
	pool *pgxpool.Pool
	cfg  Config

	name  string // of the table, for people
	table string // for SQL: quoted

	updating sync.Mutex // held by the update that runs in this process
}

var _ points.Store = (*Store)(nil)

// Config configures a [Store]. The zero value is the default.
type Config struct {
	// Schema is the schema of the table. The default is to find the table, or to create it, through search_path. It is
	// the bare name: it is quoted where it is used.
	Schema string

	// Table is the name of the table. The default is "users". It is the bare name: it is quoted where it is used.
	Table string

	// BatchSize is how many users one transaction of UpdateAll updates at most. The default is 25,000.
	BatchSize int

	// Workers is how many connections UpdateAll updates on. The default is 2.
	Workers int

	// Pause is how long each worker of UpdateAll rests between two batches, to leave the database to others. The
	// default is not to.
	Pause time.Duration

	// RetryTimeout is how long UpdateAll repeats a batch that fails for a passing reason, such as a lost connection,
	// before it gives up, and how long any step of an update may take: what has vanished without a word is not waited
	// for. The default is 15 seconds.
	RetryTimeout time.Duration

	// Logger gets a line for each retry. The default is silent.
	Logger *slog.Logger
}

// New returns the store of a table. It does no I/O: [Store.Migrate] creates the table, [Store.Check] tells whether it
// is fit. The pool stays the caller's to close; it must allow Workers + 2 connections: UpdateAll takes one for each
// worker and one for the lock that keeps other updates out, and reads must not wait for them. The error names the
// field that is wrong.
func New(pool *pgxpool.Pool, cfg Config) (*Store, error) {
	if pool == nil {
		return nil, errors.New("pgstore: New needs a pool: it is nil")
	}
	cfg.Table = cmp.Or(cfg.Table, "users")
	cfg.BatchSize = cmp.Or(cfg.BatchSize, 25_000)
	cfg.Workers = cmp.Or(cfg.Workers, 2)
	cfg.RetryTimeout = cmp.Or(cfg.RetryTimeout, 15*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	switch {
	case cfg.BatchSize < 1:
		return nil, fmt.Errorf("pgstore: Config.BatchSize cannot be less than 1: %d", cfg.BatchSize)
	case cfg.Workers < 1:
		return nil, fmt.Errorf("pgstore: Config.Workers cannot be less than 1: %d", cfg.Workers)
	case cfg.Pause < 0:
		return nil, fmt.Errorf("pgstore: Config.Pause cannot be negative: %v", cfg.Pause)
	case cfg.RetryTimeout < 0:
		return nil, fmt.Errorf("pgstore: Config.RetryTimeout cannot be negative: %v", cfg.RetryTimeout)
	}
	if conns := int(pool.Config().MaxConns); conns < cfg.Workers+2 {
		return nil, fmt.Errorf("pgstore: the pool must allow Config.Workers + 2 = %d connections: it allows %d "+
			"(set pool_max_conns=%d, or fewer Workers)", cfg.Workers+2, conns, cfg.Workers+2)
	}
	s := &Store{pool: pool, cfg: cfg}
	s.name, s.table = s.names("")
	return s, nil
}

// names returns the name of the table, or of one that belongs to it, for people and for SQL.
func (s *Store) names(suffix string) (name, quoted string) {
	ident := pgx.Identifier{s.cfg.Table + suffix}
	name = s.cfg.Table + suffix
	if s.cfg.Schema != "" {
		ident = pgx.Identifier{s.cfg.Schema, s.cfg.Table + suffix}
		name = s.cfg.Schema + "." + name
	}
	return name, ident.Sanitize()
}

// with does something with a connection of the pool. One that is broken leaves the pool at once: pgx keeps its place
// there until it has closed it in good order, for up to 15 seconds if nobody answers, and a few of these would keep all
// others waiting when an outage is over.
func (s *Store) with(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if conn.Conn().IsClosed() {
			conn.Hijack() // what closes it goes on without the pool
			return
		}
		conn.Release()
	}()
	return do(conn.Conn())
}

// Ping returns nil if the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.with(ctx, func(conn *pgx.Conn) error { return conn.Ping(ctx) }); err != nil {
		return fmt.Errorf("pgstore: the database does not answer: %w", err)
	}
	return nil
}

// Count returns the number of users. It reads all of the table, or of its primary key: some 50 ms for a million.
func (s *Store) Count(ctx context.Context) (int64, error) {
	var n int64
	if err := s.pool.QueryRow(ctx, "SELECT count(*) FROM "+s.table).Scan(&n); err != nil {
		return 0, fmt.Errorf("pgstore: counting the users of table %s: %w", s.name, err)
	}
	return n, nil
}
