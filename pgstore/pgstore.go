package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pointsapp/pointsapp/points"
)

// A Store keeps users in a table of a PostgreSQL database. It is safe for concurrent use, by several processes too.
type Store struct {
	pool *pgxpool.Pool
	cfg  Config

	name       string // of the table, for messages
	quotedName string // the same, quoted for SQL; without Config.Schema, search_path decides which table it means

	resolved atomic.Pointer[table] // the table with that name; nil if the name must be looked up
	updating sync.Mutex            // held while this process updates

	leaseTimeout time.Duration // defaultLeaseTimeout, less in tests
	waitReport   time.Duration // how often waits are logged; defaultWaitReport, less in tests

	// explicitIsolation: connections have another isolation level by default, so calls of the functions of the shared
	// state must set it.
	explicitIsolation atomic.Bool
}

var _ points.Store = (*Store)(nil)

// Defaults of [Config].
const (
	DefaultTable        = "users"
	DefaultBatchSize    = 25_000
	DefaultWorkers      = 2
	DefaultRetryTimeout = 15 * time.Second
)

// PostgreSQL truncates identifiers to 63 bytes without an error, so a longer one may name another object. A table's
// name leaves 12 bytes for suffixes: its sequence and indexes are named after it.
const (
	maxSchemaBytes = 63
	maxTableBytes  = maxSchemaBytes - 12
)

// Config configures a [Store]. The zero value of each field means its default. [New] rejects negative values.
type Config struct {
	// Schema is the schema of the table, unquoted, at most 63 bytes. By default search_path decides, when the table is
	// first used.
	Schema string

	// Table is the name of the table, unquoted, at most 51 bytes. The default is DefaultTable.
	Table string

	// Shared makes all processes with this table act as one engine: one order of queries, one tick per interval and one
	// update per tick. Migrate then also creates the objects of the shared state, and Check checks them; see the package
	// documentation. All processes with the table must set it. The default is one engine per process.
	Shared bool

	// BatchSize is the maximum number of users that one transaction of UpdateAll updates. The default is
	// DefaultBatchSize.
	BatchSize int

	// Workers is the number of connections that UpdateAll updates on. The default is DefaultWorkers.
	Workers int

	// BatchDelay is the time that each worker of UpdateAll waits between two batches, to reduce the database's load. The
	// default is 0.
	BatchDelay time.Duration

	// RetryTimeout is how long UpdateAll retries a batch that fails with a temporary error, such as a lost connection.
	// It is also the timeout of each statement of an update, because the other end of a connection may have vanished.
	// The default is DefaultRetryTimeout.
	RetryTimeout time.Duration

	// Logger logs warnings of Check and Migrate, retries, what Check, Migrate and Seed wait for, and failures of
	// Seed's VACUUM. The default discards everything.
	Logger *slog.Logger
}

// New returns the store of a table. It does no I/O: [Store.Migrate] creates the table, and [Store.Check] checks it. The
// caller closes the pool. The pool must allow Workers + 2 connections: UpdateAll takes one for each worker and one for
// the lock that excludes other updates, and reads must not wait for them. That suffices for a shared state, whose calls
// take turns on the remaining connection during an update; Workers + 4 let two batches and a Sync run at once. An error
// names the invalid field.
func New(pool *pgxpool.Pool, cfg Config) (*Store, error) {
	if pool == nil {
		return nil, errors.New("pgstore: New needs a pool, got nil")
	}
	cfg.Table = cmp.Or(cfg.Table, DefaultTable)
	cfg.BatchSize = cmp.Or(cfg.BatchSize, DefaultBatchSize)
	cfg.Workers = cmp.Or(cfg.Workers, DefaultWorkers)
	cfg.RetryTimeout = cmp.Or(cfg.RetryTimeout, DefaultRetryTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	if conns := int(pool.Config().MaxConns); conns < cfg.Workers+2 {
		return nil, fmt.Errorf("pgstore: the pool must allow at least Config.Workers + 2 = %d connections, got %d: "+
			"set pool_max_conns=%d or fewer Workers", cfg.Workers+2, conns, cfg.Workers+2)
	}
	s := &Store{pool: pool, cfg: cfg, leaseTimeout: defaultLeaseTimeout, waitReport: defaultWaitReport}
	s.name, s.quotedName = cfg.qualifiedName()
	return s, nil
}

func (c *Config) validate() error {
	for _, identifier := range []struct {
		field, value string
		limit        int
	}{{"Config.Schema", c.Schema, maxSchemaBytes}, {"Config.Table", c.Table, maxTableBytes}} {
		if n := len(identifier.value); n > identifier.limit {
			return fmt.Errorf("%s must be at most %d bytes, got %d", identifier.field, identifier.limit, n)
		}
		if strings.ContainsRune(identifier.value, 0) {
			return fmt.Errorf("%s must not contain a zero byte, got %q", identifier.field, identifier.value)
		}
	}
	switch {
	case c.BatchSize < 1:
		return fmt.Errorf("Config.BatchSize must be at least 1, got %d", c.BatchSize)
	case c.Workers < 1:
		return fmt.Errorf("Config.Workers must be at least 1, got %d", c.Workers)
	case c.BatchDelay < 0:
		return fmt.Errorf("Config.BatchDelay must not be negative, got %v", c.BatchDelay)
	case c.RetryTimeout < 0:
		return fmt.Errorf("Config.RetryTimeout must not be negative, got %v", c.RetryTimeout)
	}
	return nil
}

// qualifiedName returns the name of the table, with the schema if there is one, for messages and quoted for SQL.
func (c *Config) qualifiedName() (name, quoted string) {
	if c.Schema == "" {
		return c.Table, pgx.Identifier{c.Table}.Sanitize()
	}
	return c.Schema + "." + c.Table, pgx.Identifier{c.Schema, c.Table}.Sanitize()
}

// Capabilities implements [points.Store]: it returns the shared state if Config.Shared is set.
func (s *Store) Capabilities() points.Capabilities {
	if !s.cfg.Shared {
		return points.Capabilities{}
	}
	return points.Capabilities{SharedState: sharedState{s}}
}

// Ping returns nil if it can read the users. If Config.Shared is set, it must also be able to read the shared state,
// and the database must not be read-only. On a standby it fails with [ErrReadOnly], wrapped, in either case. It changes
// nothing, and costs about as much as a query.
func (s *Store) Ping(ctx context.Context) error {
	t, err := s.table(ctx)
	if err == nil {
		err = s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) error {
			if s.cfg.Shared {
				if err := checkWritable(ctx, conn, t); err != nil {
					return err
				}
				_, err := sharedState{s}.answer(ctx, conn, t, 0, 1)
				return err
			}
			_, err := t.read(ctx, conn, -1, 1)
			return err
		}))
	}
	if s.cfg.Shared {
		return sharedState{s}.sharedError(ctx, "pinging", err)
	}
	if err != nil {
		return fmt.Errorf("pgstore: pinging table %s: %w", s.name, err)
	}
	return nil
}

// Count returns the number of users. It fails on a standby, and if row-level security hides users. It reads the whole
// table, or its primary key: some 50 ms for a million.
func (s *Store) Count(ctx context.Context) (int64, error) {
	n, err := s.count(ctx)
	if err != nil {
		return 0, fmt.Errorf("pgstore: counting the users of table %s: %w", s.name, err)
	}
	return n, nil
}

func (s *Store) count(ctx context.Context) (n int64, err error) {
	t, err := s.table(ctx)
	if err != nil {
		return 0, err
	}
	err = s.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT count(*) FROM "+t.qualified).Scan(&n)
	})
	return n, s.forgetIfGone(t, err)
}
