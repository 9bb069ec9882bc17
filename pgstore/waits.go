package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// defaultWaitReport is how often Check, Migrate and Seed log what they wait for.
const defaultWaitReport = 5 * time.Second

// waitsTimeout limits the query that finds out what a session waits for.
const waitsTimeout = 5 * time.Second

// waitsQuery returns what sessions wait for, and the sessions and prepared transactions that hold it. %s is a condition
// for the sessions. Those that wait themselves come last. The role sees the state of other roles' sessions only if it
// has pg_read_all_stats.
const waitsQuery = `
	SELECT coalesce(waiting.wait_event = 'SyncRep', false), coalesce(blocker, 0), coalesce(other.usename::text, ''),
		coalesce(other.application_name, ''), coalesce(other.state, ''), coalesce(other.xact_start::text, ''),
		coalesce((SELECT string_agg(DISTINCT prepared.gid, ', ') FROM pg_locks AS wanted
			JOIN pg_locks AS held ON held.pid IS NULL AND held.granted AND held.locktype = wanted.locktype
				AND (held.relation, held.transactionid) IS NOT DISTINCT FROM (wanted.relation, wanted.transactionid)
			JOIN pg_locks AS own ON own.pid IS NULL AND own.virtualtransaction = held.virtualtransaction
			JOIN pg_prepared_xacts AS prepared ON prepared.transaction = own.transactionid
			WHERE wanted.pid = waiting.pid AND NOT wanted.granted AND blocker = 0), '')
	FROM pg_stat_activity AS waiting LEFT JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocker ON true
		LEFT JOIN pg_stat_activity AS other ON other.pid = blocker
	WHERE waiting.pid <> pg_backend_pid() AND waiting.pid IN (%s)
		AND (blocker IS NOT NULL OR waiting.wait_event = 'SyncRep')
	ORDER BY coalesce(blocker, 0) IN (SELECT pid FROM pg_locks WHERE NOT granted)
	LIMIT 1`

// The conditions of waitsQuery. thisSession is the session with process id $1. tableSessions are the sessions that hold
// or await the advisory lock whose key has the upper half $1 and the lower half $2, and those that await a lock of the
// table with oid $3 or of one of its partitions. pg_partition_tree would await that lock, too.
const (
	thisSession   = "$1::integer"
	tableSessions = `
		SELECT pid FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (locktype = 'advisory' AND objsubid = 1 AND classid = $1::bigint::oid AND objid = $2::bigint::oid
			OR locktype = 'relation' AND NOT granted AND relation IN (
				WITH RECURSIVE tree (relid) AS (
					SELECT $3::bigint::oid UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = relid)
				SELECT relid FROM tree))`
)

// waitReason returns what one of the sessions waits for and how that ends, or "" if none waits.
func (s *Store) waitReason(ctx context.Context, condition string, args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitsTimeout)
	defer cancel()
	var standby bool
	var blocker int
	var role, application, state, since, prepared string
	err := s.withConn(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, fmt.Sprintf(waitsQuery, condition), args...).
			Scan(&standby, &blocker, &role, &application, &state, &since, &prepared)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", err
	case standby:
		return "its commit waits for a synchronous standby: start it, or change synchronous_standby_names", nil
	case prepared != "":
		return fmt.Sprintf("it waits for a lock of prepared transaction %s: COMMIT PREPARED or ROLLBACK PREPARED it",
			prepared), nil
	case blocker == 0:
		return "it waits for a lock of a prepared transaction: see pg_prepared_xacts", nil
	}
	return fmt.Sprintf("it waits for a lock of session %d (role %s, application %q, %s): end its transaction, or "+
		"call pg_terminate_backend(%d)", blocker, role, application, strings.TrimSpace(state+" since "+since), blocker), nil
}

// watchWaits calls report at intervals with what the sessions wait for, "" if they do not, until stop is called.
func (s *Store) watchWaits(
	ctx context.Context, interval time.Duration, report func(string), condition string, args ...any,
) (stop func()) {
	watchCtx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for sleep(watchCtx, interval) == nil {
			if reason, err := s.waitReason(watchCtx, condition, args...); err == nil {
				report(reason)
			}
		}
	}()
	return func() {
		cancel()
		<-stopped
	}
}

// nameWaits calls do, which executes statements on the connection. If do fails, the error names the session that these
// were seen to wait for. It looks once, after a second or half of the time that ctx leaves, and only if the pool has an
// idle connection: in an outage, a new one could hang and keep its place in the pool. Behind PgBouncer, which has other
// process ids, it finds nothing.
func (s *Store) nameWaits(ctx context.Context, conn *pgx.Conn, do func() error) error {
	delay := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		delay = min(delay, time.Until(deadline)/2)
	}
	pid := int32(conn.PgConn().PID()) //nolint:gosec // PostgreSQL's type
	waits, looked := new(waitWatch), make(chan struct{})
	timer := time.AfterFunc(delay, func() {
		defer close(looked)
		if s.pool.Stat().IdleConns() == 0 {
			return
		}
		if reason, err := s.waitReason(ctx, thisSession, pid); err == nil {
			waits.record(reason)
		}
	})
	err := do()
	if timer.Stop() || err == nil {
		return err
	}
	select {
	case <-looked:
	case <-ctx.Done():
	}
	return waits.explain(err, false)
}

// logWaits logs at intervals what the transaction waits for, and remembers it, until stop is called.
func (s *Store) logWaits(ctx context.Context, tx pgx.Tx, doing string) (w *waitWatch, stop func(), err error) {
	w = new(waitWatch)
	var pid int32
	if err := tx.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return w, func() {}, err
	}
	return w, s.watchWaits(ctx, s.waitReport, func(reason string) {
		w.record(reason)
		if reason != "" {
			s.cfg.Logger.WarnContext(ctx, doing+" takes long", "table", s.name, "reason", reason)
		}
	}, thisSession, pid), nil
}

// A waitError is the failure of a step that waited for something before it failed.
type waitError struct {
	err    error
	reason string // what it waited for
}

func (e *waitError) Error() string { return e.err.Error() + ": " + e.reason }

func (e *waitError) Unwrap() error { return e.err }

// A waitWatch remembers what the statements on a table were last seen to wait for.
type waitWatch struct {
	mu     sync.Mutex
	reason string // "" if none was seen to wait
	recent bool   // seen during the present attempt
}

// watchTable watches what the statements on the table wait for, until stop is called.
func (l *lease) watchTable(ctx context.Context) (w *waitWatch, stop func()) {
	w = new(waitWatch)
	key := uint64(l.batchLock) //nolint:gosec // the same bits
	return w, l.watchWaits(ctx, min(l.cfg.RetryTimeout/4, 500*time.Millisecond), w.record,
		tableSessions, int64(key>>32), int64(uint32(key)), int64(l.table.oid)) //nolint:gosec // the same bits
}

func (w *waitWatch) record(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reason != "" {
		w.reason, w.recent = reason, true
	}
}

func (w *waitWatch) startAttempt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recent = false
}

// explain adds to an error what the present attempt waited for or, unless recent, what any attempt did.
func (w *waitWatch) explain(err error, recent bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, explained := errors.AsType[*waitError](err); explained || err == nil || w.reason == "" || recent && !w.recent {
		return err
	}
	return &waitError{err, w.reason}
}
