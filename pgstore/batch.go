package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// errReplaced reports that a statement affected another table, although it used this table's name, or that a load
// balancer has sent the statements of one transaction to different servers.
var errReplaced = errors.New("the table was renamed or replaced meanwhile, or a rule redirects its updates, " +
	"or a load balancer sends some statements to standbys")

// errSkipped reports that a trigger, a rule or a policy made the database skip users.
var errSkipped = errors.New("the database skips users")

// drawSQL is points.Draw in SQL: the points of a user in the update with key $1. CAST, because the simple protocol
// replaces $1 by a number, and -9223372036854775808::bigint is out of range. It is qualified, because search_path may
// have another schema before pg_catalog.
const drawSQL = "(pg_catalog.hashint8extended(id::bigint, CAST($1 AS bigint))" +
	" OPERATOR(pg_catalog.&) 9223372036854775807) OPERATOR(pg_catalog.%) 101"

// updateStatement returns the statement that gives the users with ids $3..$4 new points, at the time $2.
func (t *table) updateStatement() string {
	return "UPDATE " + t.qualified + " SET points = " + drawSQL + ", updated_at = $2" +
		" WHERE id >= CAST($3 AS bigint) AND id <= CAST($4 AS bigint)"
}

// beginQuery begins a batch's transaction: it shares the lock with key $1, rejects row-level security, ends the session
// if the transaction is idle for more than $2 ms, makes timestamps without time zone UTC, and fails on a standby.
const beginQuery = "SELECT pg_advisory_xact_lock_shared($1::bigint), set_config('row_security', 'off', true)," +
	" set_config('idle_in_transaction_session_timeout', $2::integer::text, true), set_config('timezone', 'UTC', true)," +
	failOnStandby

// failOnStandby is an SQL expression that fails with a division by zero on a standby.
const failOnStandby = " 1 / (NOT pg_is_in_recovery())::integer"

// updateRange gives the users with ids low..high new points, in a transaction, and returns their number.
func (u *update) updateRange(ctx context.Context, low, high int64) (n int64, err error) {
	err = u.withConn(ctx, func(conn *pgx.Conn) (err error) {
		n, err = u.sendBatch(ctx, conn, low, high)
		return err
	})
	width := uint64(high) - uint64(low) //nolint:gosec // minus 1; it may be above MaxInt64
	if err != nil || !u.verify && n > 0 && uint64(n)-1 >= width {
		return n, err
	}
	more, err := u.updateStaleRange(ctx, low, high, u.verify)
	return n + more, err
}

// sendBatch executes the update of a range as a pipeline: one transaction, and one round trip.
func (u *update) sendBatch(ctx context.Context, conn *pgx.Conn, low, high int64) (rows int64, err error) {
	steps := u.beginBatch()
	counted := len(steps)
	steps = append(steps, step{
		sql:  u.table.updateStatement(),
		args: []any{u.key, u.acquiredAt, low, high},
	}, step{identityQuery, []any{int64(u.table.oid), updateLockMode}, identityError})
	steps = append(steps, u.table.layout.endBatch(u.table)...)
	return sendSteps(ctx, conn, steps, counted)
}

// beginBatch returns the steps with which a transaction that updates users begins.
func (u *update) beginBatch() []step {
	return append(u.table.layout.beginBatch(),
		step{beginQuery, []any{u.batchLock, u.leaseTimeout.Milliseconds()}, standbyError},
		step{fenceQuery, u.fenceArgs(), fenceError})
}

// standbyError returns ErrReadOnly if err is failOnStandby's failure, else err.
func standbyError(err error) error {
	if sqlState(err) == divisionByZero {
		return ErrReadOnly
	}
	return err
}

// identityQuery fails with a division by zero unless the transaction has locked the table with this oid in this mode.
// Another table may have got the qualified name, but a statement locks the table that it really uses.
const identityQuery = "SELECT 1 / count(*) FROM pg_locks WHERE locktype = 'relation' AND relation = $1::bigint::oid" +
	" AND pid = pg_backend_pid() AND mode = $2"

// The lock modes of statements, as pg_locks shows them.
const (
	selectLockMode = "AccessShareLock"
	updateLockMode = "RowExclusiveLock"
)

// checkIdentity returns errReplaced unless a statement of the transaction has used the table in this lock mode.
func (t *table) checkIdentity(ctx context.Context, tx pgx.Tx, mode string) error {
	_, err := tx.Exec(ctx, identityQuery, int64(t.oid), mode)
	return identityError(err)
}

// identityError returns errReplaced if err is identityQuery's failure, else err.
func identityError(err error) error {
	if sqlState(err) == divisionByZero {
		return errReplaced
	}
	return err
}

// whereStale returns a WHERE clause, with its arguments, for the stale users with ids low..high: those without their
// new points. Without verify it excludes users whose updated_at is the time of the update. With verify it does not: a
// trigger could set updated_at and keep the points.
func (u *update) whereStale(low, high int64, verify bool) (condition string, args []any) {
	condition = " WHERE id >= CAST($2 AS bigint) AND id <= CAST($3 AS bigint) AND points IS DISTINCT FROM " + drawSQL
	if verify {
		return condition, []any{u.key, low, high}
	}
	return condition + " AND updated_at <> $4", []any{u.key, low, high, u.acquiredAt}
}

// updateStaleStatement returns the statement that gives the users of a clause of whereStale their points, at the time
// $4.
func (t *table) updateStaleStatement(where string) string {
	return "UPDATE " + t.qualified + " SET points = " + drawSQL + ", updated_at = $4" + where
}

// updateStaleRange looks for stale users with ids low..high. If they were inserted into gaps between the ids, or their
// ids changed, they get their points. If the database made the update skip them, that is an error. Without verify,
// users whose updated_at is the time of the update count as updated.
func (u *update) updateStaleRange(ctx context.Context, low, high int64, verify bool) (n int64, err error) {
	where, args := u.whereStale(low, high, verify)
	count := "SELECT count(*) FROM " + u.table.qualified + where
	var left int64
	err = u.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, count, args...).Scan(&left); err != nil {
			return err
		}
		return u.table.checkIdentity(ctx, tx, selectLockMode)
	})
	if err != nil || left == 0 {
		return 0, err
	}
	// Both statements have one snapshot: a user left after the update existed before it, and was skipped.
	err = u.withTx(ctx, pgx.RepeatableRead, func(tx pgx.Tx) error {
		if err := execSteps(ctx, tx, u.beginBatch()); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, u.table.updateStaleStatement(where), u.key, low, high, u.acquiredAt)
		if err != nil {
			return err
		}
		if err := u.table.checkIdentity(ctx, tx, updateLockMode); err != nil {
			return err
		}
		// The count must see the effects of deferred triggers, too.
		if _, err := tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return err
		}
		n = tag.RowsAffected()
		if err := tx.QueryRow(ctx, count, args...).Scan(&left); err != nil {
			return err
		}
		if left > 0 {
			return fmt.Errorf("%w: %d were not updated%s", errSkipped, left, u.skipCauses(ctx, tx))
		}
		return execSteps(ctx, tx, u.table.layout.endBatch(u.table))
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
