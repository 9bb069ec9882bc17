package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// withConn calls do with a connection of the pool. A broken connection leaves the pool at once. Otherwise pgx would
// keep its place in the pool until the connection is closed, for up to 15 seconds if the other end is silent, and after
// an outage a few such connections would block everything else.
func (s *Store) withConn(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		if limit := s.pool.Stat().MaxConns(); ctx.Err() != nil && s.pool.Stat().AcquiredConns() == limit {
			err = fmt.Errorf("all %d connections of the pool are in use: each Store on it needs Config.Workers + 2 = %d, "+
				"set pool_max_conns: %w", limit, s.cfg.Workers+2, err)
		}
		return err
	}
	defer func() {
		if conn.Conn().IsClosed() {
			conn.Hijack() // it is being closed in the background
			return
		}
		conn.Release()
	}()
	err = do(conn.Conn())
	switch {
	case errors.Is(err, ErrReadOnly) || sqlState(err) == readOnlyTransaction:
		// The server may have become a standby. A new connection reaches the primary if the connection string says so.
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Conn().Close(closeCtx)
	case sqlState(err) == protocolViolation && strings.Contains(err.Error(), "statement pooling"):
		return fmt.Errorf("%w: set pool_mode = transaction in PgBouncer", err)
	}
	return err
}

// withTx calls do in a transaction, and commits unless do fails.
func (s *Store) withTx(ctx context.Context, isolation pgx.TxIsoLevel, do func(pgx.Tx) error) error {
	return s.withConn(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: isolation}, do)
	})
}

// closeResults closes the results of a batch. If that fails, *err is its error, unless an earlier one is set.
func closeResults(results pgx.BatchResults, err *error) {
	if closeErr := results.Close(); *err == nil {
		*err = closeErr
	}
}

// disableTimeoutsQuery disables the timeouts that would end a long transaction. TCP keepalives make PostgreSQL notice
// within 25 seconds that this process has vanished, where TCP's default is two hours.
const disableTimeoutsQuery = disableStatementTimeoutsQuery + `
	UNION ALL SELECT set_config('timezone', 'UTC', true) -- for columns without time zone
	UNION ALL SELECT set_config('idle_in_transaction_session_timeout', '0', true)`

// disableStatementTimeoutsQuery disables the timeouts of statements, locks and transactions, but not that of an idle
// transaction. It looks them up because transaction_timeout exists only since PostgreSQL 17.
const disableStatementTimeoutsQuery = `
	SELECT set_config(name, '0', true) FROM pg_settings
		WHERE name IN ('transaction_timeout', 'statement_timeout', 'lock_timeout')
	UNION ALL SELECT set_config('tcp_keepalives_idle', '10', true)
	UNION ALL SELECT set_config('tcp_keepalives_interval', '5', true)
	UNION ALL SELECT set_config('tcp_keepalives_count', '3', true)`

// disableTimeouts executes sql, which disables timeouts of the transaction, and disables those of its statements on
// other servers.
func (t *table) disableTimeouts(ctx context.Context, tx pgx.Tx, sql string) error {
	return execSteps(ctx, tx, append([]step{{sql: sql}}, t.layout.disableTimeouts()...))
}

// limitIdle ends the session if its transaction waits for the next statement for longer than $1 ms.
const limitIdle = "SELECT set_config('idle_in_transaction_session_timeout', $1::integer::text, true)"

// rejectStandbyAndRowSecurity returns ErrReadOnly on a standby, and makes later statements of the transaction fail if
// row-level security would hide rows from them. It is a separate statement, because Citus may evaluate functions of a
// statement that reads the table on the shards.
func rejectStandbyAndRowSecurity(ctx context.Context, tx pgx.Tx) error {
	var standby bool
	err := tx.QueryRow(ctx, "SELECT set_config('row_security', 'off', true), pg_is_in_recovery()").Scan(nil, &standby)
	if err == nil && standby {
		err = ErrReadOnly
	}
	return err
}
