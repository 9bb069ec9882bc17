package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errLocked reports that another process, or another call, holds a lock.
var errLocked = errors.New("locked by another process")

// errLeaseLost reports that a lease was lost during an update.
var errLeaseLost = errors.New("its lock was lost, so another process may be updating the table too")

// The locks of a table are numbered. They are advisory locks on a hash of the table's oid and that number.
const (
	seedLock   = 1
	updateLock = 2
)

// A lease is the right to update a table, for one process at a time. Its transaction holds an advisory lock, so it
// works behind a pooler that pools transactions, and PostgreSQL releases the lock when this process dies. Between its
// statements that transaction has no snapshot, so it does not hold back vacuum.
//
// The lock alone would not be enough: a statement whose client is gone, or whose lock was lost, may still run in the
// database, or begin to run, while another process holds the lock. So each batch is fenced: it fails unless the lease
// that it belongs to is still held, and acquiring the lease waits for the batches that still run.
//
// A process that has stopped, or can no longer be reached, does not release the lock, and its connection may live for
// long: the kernel of a stopped process still answers keepalives. So the holder sends a statement several times per
// leaseTimeout, and PostgreSQL ends a session that is idle for longer. The same limit applies to the transactions of
// batches, for which the next holder waits.
type lease struct {
	*Store
	table      *table
	acquiredAt time.Time // by the clock of the database, which all processes share; the time of the update

	// nonce identifies the lease: its transaction holds an advisory lock on this random number. A virtual transaction id
	// cannot serve as a nonce: these ids start over when the server restarts, or reinitializes its shared memory.
	nonce int64

	// batchLock is the key of the advisory lock that running batches share.
	batchLock int64
}

// defaultLeaseTimeout is how long a holder of a lease that has stopped or vanished delays the next one.
const defaultLeaseTimeout = 3 * time.Second

// withLease calls do with the lease of the table, or fails with errLocked if it is held. The context of do ends when
// the lease is lost.
func (s *Store) withLease(ctx context.Context, t *table, do func(context.Context, *lease) error) error {
	acquireCtx, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
	defer cancel()
	return s.withConn(acquireCtx, func(conn *pgx.Conn) error {
		tx, err := conn.BeginTx(acquireCtx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
		if err != nil {
			return err
		}
		defer func() {
			// The lock is released even if ctx has ended.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = tx.Rollback(ctx) // does nothing after Commit
		}()
		l, err := s.acquireLease(acquireCtx, tx, t)
		if err != nil {
			return err
		}
		err = l.keep(ctx, tx, func(ctx context.Context, l *lease) error {
			if err := l.awaitBatches(ctx); err != nil {
				return err
			}
			return do(ctx, l)
		})
		if err != nil {
			return err
		}
		commitCtx, cancel := context.WithTimeout(ctx, s.cfg.RetryTimeout)
		defer cancel()
		if err := tx.Commit(commitCtx); err != nil {
			return fmt.Errorf("%w: %w", errLeaseLost, err)
		}
		return nil
	})
}

// keep calls do, and keeps the lease's transaction from being idle until do returns.
func (l *lease) keep(ctx context.Context, tx pgx.Tx, do func(context.Context, *lease) error) error {
	doCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := func() error {
		done, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			if err := l.sendKeepalives(ctx, tx, done); err != nil {
				cancel(fmt.Errorf("%w: %w", errLeaseLost, err))
			}
		}()
		defer func() {
			close(done)
			<-stopped // the transaction is for one goroutine at a time
		}()
		return do(doCtx, l)
	}()
	if cause := context.Cause(doCtx); err != nil && errors.Is(cause, errLeaseLost) {
		return cause
	}
	if errors.Is(err, errLeaseLost) { // a batch has found it lost: PostgreSQL sends the reason on the lease's connection
		if reason := l.sendKeepalive(ctx, tx, time.Second); reason != nil && !pgconn.Timeout(reason) {
			return fmt.Errorf("%w: %w", err, reason)
		}
	}
	return err
}

// sendKeepalives sends a statement several times per leaseTimeout until done is closed or a statement fails.
func (l *lease) sendKeepalives(ctx context.Context, tx pgx.Tx, done <-chan struct{}) error {
	tick := time.NewTicker(l.leaseTimeout / 6)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
		if err := l.sendKeepalive(ctx, tx, l.cfg.RetryTimeout); err != nil {
			return err
		}
	}
}

// sendKeepalive executes a statement on the lease's connection. It ignores the end of ctx: in the middle of a
// statement, pgx would close the connection, and no rollback would release the lock.
func (l *lease) sendKeepalive(ctx context.Context, tx pgx.Tx, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	_, err := tx.Exec(ctx, withoutSnapshot)
	return err
}

// acquireLease makes tx hold the lease of the table.
func (s *Store) acquireLease(ctx context.Context, tx pgx.Tx, t *table) (*lease, error) {
	if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil { // a standby has its own advisory locks
		return nil, err
	}
	if _, err := tx.Exec(ctx, disableStatementTimeoutsQuery); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(ctx, limitIdle, s.leaseTimeout.Milliseconds()); err != nil {
		return nil, err
	}
	l := &lease{Store: s, table: t, nonce: randomInt64()}
	acquired, err := tryLock(ctx, tx, t, updateLock)
	if err == nil && !acquired {
		err = errLocked
	}
	if err != nil {
		return nil, err
	}
	var at int64
	err = tx.QueryRow(ctx, "SELECT hashtextextended($1::oid::text, $2),"+
		" (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM pg_advisory_xact_lock(CAST($3 AS bigint))",
		t.oid, -updateLock, l.nonce).Scan(&l.batchLock, &at)
	l.acquiredAt = fromMicros(&at)
	if err == nil {
		// PostgreSQL keeps the snapshot of a statement with parameters until the next statement.
		_, err = tx.Exec(ctx, withoutSnapshot)
	}
	return l, err
}

// withoutSnapshot is a statement after which a transaction has no snapshot, as it has no parameters.
const withoutSnapshot = "SELECT"

// tryLock tries to acquire one of the table's locks for the transaction.
func tryLock(ctx context.Context, tx pgx.Tx, t *table, number int) (acquired bool, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtextextended($1::oid::text, $2))", t.oid, number).
		Scan(&acquired)
	return acquired, err
}

// awaitBatches waits until no batch of an earlier lease is running.
func (l *lease) awaitBatches(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.RetryTimeout)
	defer cancel()
	_, err := retry(ctx, l, l.cfg.RetryTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, l.withConn(ctx, func(conn *pgx.Conn) error {
			if err := conn.Ping(ctx); err != nil {
				if ctx.Err() != nil {
					err = fmt.Errorf("the database does not answer on a second connection: a pooler must allow Config.Workers + 2 "+
						"= %d connections to it (default_pool_size of PgBouncer): %w", l.cfg.Workers+2, err)
				}
				return err
			}
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, disableStatementTimeoutsQuery); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(CAST($1 AS bigint)),"+failOnStandby, l.batchLock)
				return standbyError(err)
			})
		})
	})
	return err
}

// fenceQuery fails with a division by zero unless the lease is held. Its arguments are fenceArgs.
const fenceQuery = "SELECT 1 / count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted" +
	" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())" +
	" AND classid = $1::bigint::oid AND objid = $2::bigint::oid AND objsubid = 1"

// fenceArgs returns the nonce as pg_locks shows it: its upper and its lower half.
func (l *lease) fenceArgs() []any {
	return []any{int64(uint64(l.nonce) >> 32), int64(uint32(l.nonce))} //nolint:gosec // the same bits
}

// fenceError returns errLeaseLost if err is fenceQuery's failure, else err.
func fenceError(err error) error {
	if sqlState(err) == divisionByZero {
		return errLeaseLost
	}
	return err
}

func randomInt64() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                         // never fails
	return int64(binary.NativeEndian.Uint64(b[:])) //nolint:gosec // the same bits
}
