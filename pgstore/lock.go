package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// errLocked says that another process, or another call, holds a lock.
var errLocked = errors.New("locked by another process")

// errLost says that a lock was lost while something was done under it.
var errLost = errors.New("its lock was lost, so another process may be at it too")

// What a lock is for: each of a table's locks has its own number.
const (
	setupLock  = 1 // Migrate, Seed
	updateLock = 2 // UpdateAll
)

// A lease is a lock that is held. A transaction of its own holds it, so it works behind a pooler that pools
// transactions, and PostgreSQL gives it back when this process dies. That transaction has no snapshot: it keeps no dead
// rows alive.
//
// The lock alone would not keep two apart: a statement whose client has gone, or whose lock was lost, may still run in
// the database, or begin to, when somebody else has the lock. So exec lets statements run only while the lock is held,
// and who takes the lock waits for those that run.
type lease struct {
	*Store
	holder string // the transaction that holds the lock: its virtual id, which the server never gives twice
	key    int64  // of the advisory lock that statements share while they run
}

// lockedInTurn does something under one of the table's locks, and waits until it gets it: without a connection, which
// who holds the lock may need.
func (s *Store) lockedInTurn(ctx context.Context, number int, do func(*lease) error) error {
	for {
		if err := s.locked(ctx, number, do); !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// locked does something under one of the table's locks, or fails with errLocked.
func (s *Store) locked(ctx context.Context, number int, do func(*lease) error) error {
	taking, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
	defer cancel()
	tx, err := s.pool.Begin(taking)
	if err != nil {
		return err
	}
	defer func() {
		// Not with ctx: the lock is given back also when that has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // does nothing after Commit
	}()
	l, err := s.lease(taking, tx, number)
	if err != nil {
		return err
	}
	// What others have left running ends first.
	if _, err := s.pool.Exec(taking, "SELECT pg_advisory_xact_lock($1)", l.key); err != nil {
		return err
	}
	if err := do(l); err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
	defer cancel()
	if err := tx.Commit(ending); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return nil
}

// lease takes a lock for a transaction. It is the table's by its oid, however the table was named; one that does not
// exist yet has but a name.
func (s *Store) lease(ctx context.Context, tx pgx.Tx, number int) (*lease, error) {
	// A timeout for idle transactions would take the lock away. But if this process vanishes without a word, PostgreSQL
	// shall not take two hours, as is TCP's default, to notice and to free the lock.
	if _, err := tx.Exec(ctx, "SELECT set_config('idle_in_transaction_session_timeout', '0', true),"+
		" set_config('tcp_keepalives_idle', '10', true), set_config('tcp_keepalives_interval', '5', true),"+
		" set_config('tcp_keepalives_count', '3', true)"); err != nil {
		return nil, err
	}
	var took bool
	l := &lease{Store: s}
	err := tx.QueryRow(ctx, `
		SELECT pg_try_advisory_xact_lock(hashtextextended(of, $2)), hashtextextended(of, -$2),
			(SELECT virtualxid FROM pg_locks WHERE locktype = 'virtualxid' AND pid = pg_backend_pid() AND granted)
		FROM coalesce(to_regclass($1)::oid::text, $1) AS of`, s.table, number).Scan(&took, &l.key, &l.holder)
	if err == nil && !took {
		err = errLocked
	}
	return l, err
}

// exec executes a statement in a transaction of its own, unless the lock has been lost, and returns how many rows it
// has changed. It costs one round trip.
func (l *lease) exec(ctx context.Context, sql string, args ...any) (rows int64, err error) {
	err = l.with(ctx, func(conn *pgx.Conn) (err error) {
		rows, err = l.execOn(ctx, conn, sql, args...)
		return err
	})
	return rows, err
}

func (l *lease) execOn(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (rows int64, err error) {
	batch := &pgx.Batch{} // one transaction
	batch.Queue("SELECT pg_advisory_xact_lock_shared($1)", l.key)
	batch.Queue("SELECT 1 / count(*) FROM pg_locks WHERE virtualxid = $1", l.holder) // fails, and so ends the batch
	batch.Queue(sql, args...)
	results := conn.SendBatch(ctx, batch)
	defer func() {
		if closeErr := results.Close(); err == nil && closeErr != nil {
			rows, err = 0, closeErr
		}
	}()
	if _, err := results.Exec(); err != nil {
		return 0, err
	}
	if _, err := results.Exec(); err != nil {
		if codeOf(err) == divisionByZero {
			err = errLost
		}
		return 0, err
	}
	tag, err := results.Exec()
	return tag.RowsAffected(), err
}
