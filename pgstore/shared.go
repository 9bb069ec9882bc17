package pgstore

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A sharedState is the shared state of a store. Each method is one call of a function in the database, which is one
// message: no lock is held while the database waits for this process.
type sharedState struct{ *Store }

var _ points.SharedState = sharedState{}

// AnswerBatch implements [points.SharedState]. If the timestamps are in the future, as after a crash of the database,
// it waits until they are not.
func (s sharedState) AnswerBatch(ctx context.Context, n, limit int) (points.SharedBatch, error) {
	for {
		t, err := s.table(ctx)
		if err != nil {
			return points.SharedBatch{}, s.sharedError("answering a batch from", err)
		}
		var a answer
		err = s.withConn(ctx, func(conn *pgx.Conn) (err error) {
			a, err = s.answer(ctx, conn, t, n, limit)
			return err
		})
		if err == nil && a.wait > 0 {
			err = sleep(ctx, time.Duration(a.wait)*time.Microsecond)
		}
		if err != nil {
			return points.SharedBatch{}, s.sharedError("answering a batch from", s.forgetIfGone(t, err))
		}
		if a.newest != nil {
			return a.batch(), nil
		}
	}
}

// An answer is the result of the function that answers a batch.
type answer struct {
	previous, newest, bound *int64
	wait, lockWait          int64
	source                  *int
	page                    *int64
	ids                     []int64
	points                  []int32
	inserted, updated       []int64
}

func (s sharedState) answer(ctx context.Context, conn *pgx.Conn, t *table, n, limit int) (a answer, err error) {
	args := []any{
		int32(n), int32(limit), //nolint:gosec // small
		int64(t.hint.page.Load()), t.hint.fewMatches.Load(), t.durable.Load(),
	}
	err = s.call(ctx, conn, t, sharedFunction{
		"_answer", "previous, newest, wait, bound, source, found_page, ids, user_points, inserted, updated, lock_wait",
	}, args,
		&a.previous, &a.newest, &a.wait, &a.bound, &a.source, &a.page, &a.ids, &a.points, &a.inserted, &a.updated,
		&a.lockWait)
	if err != nil || a.source == nil {
		return a, err
	}
	t.raiseBound(a.bound)
	if *a.source == 3 {
		t.hint.fewMatches.Store(len(a.ids) < limit)
	}
	if a.page != nil && len(a.ids) == limit {
		t.hint.page.Store(uint32(*a.page)) //nolint:gosec // a block number
	}
	return a, nil
}

func (a *answer) batch() points.SharedBatch {
	b := points.SharedBatch{
		Users:             make([]points.User, len(a.ids)),
		PreviousTimestamp: fromMicros(a.previous), LastTimestamp: fromMicros(a.newest),
		LockWait: time.Duration(a.lockWait) * time.Microsecond,
	}
	for i := range b.Users {
		b.Users[i] = points.User{
			ID: a.ids[i], Points: int(a.points[i]),
			InsertedAt: fromMicros(&a.inserted[i]), UpdatedAt: fromMicros(&a.updated[i]),
		}
	}
	return b
}

// raiseBound records a bound of the timestamps that is durable.
func (t *table) raiseBound(bound *int64) {
	for bound != nil {
		old := t.durable.Load()
		if *bound <= old || t.durable.CompareAndSwap(old, *bound) {
			return
		}
	}
}

// Sync implements [points.SharedState].
func (s sharedState) Sync(ctx context.Context, r points.SyncRequest) (result points.SyncResult, err error) {
	args := []any{r.Instance, r.Starting, micros(r.Interval), r.TickNow, int32(r.MinNumber)} //nolint:gosec // 0..100
	if u := r.Update; u == nil {
		args = append(args, (*int64)(nil), "", int64(0), int64(0), int32(0), "")
	} else {
		id, outcome := int64(u.ID), int32(u.Outcome) //nolint:gosec // the same bits; small
		args = append(args, &id, u.Instance, micros(u.Duration), u.Users, outcome, storableText(u.Err))
	}
	args = append(args, r.Stopping)
	var bound *int64
	var status string
	t, err := s.callShared(ctx, sharedFunction{"_sync", "claimed, bound, status"}, args, &result.Claimed, &bound, &status)
	if err == nil {
		t.raiseBound(bound)
		result.Status, err = parseStatus(status)
	}
	if err != nil {
		return points.SyncResult{}, s.sharedError("synchronizing the servers of", err)
	}
	return result, nil
}

// Configure implements [points.SharedState].
func (s sharedState) Configure(ctx context.Context, change points.ScheduleChange) (points.SharedStatus, error) {
	var interval *int64
	if change.Interval != nil {
		if *change.Interval < time.Microsecond {
			return points.SharedStatus{}, fmt.Errorf("pgstore: the interval must be at least 1µs, got %v", *change.Interval)
		}
		us := micros(*change.Interval)
		interval = &us
	}
	var status string
	_, err := s.callShared(ctx, sharedFunction{"_configure", "status"}, []any{change.Paused, interval}, &status)
	if err == nil {
		var parsed points.SharedStatus
		if parsed, err = parseStatus(status); err == nil {
			return parsed, nil
		}
	}
	return points.SharedStatus{}, s.sharedError("changing the schedule of", err)
}

func (s sharedState) sharedError(doing string, err error) error {
	switch sqlState(err) {
	case undefinedTable, undefinedFunction, invalidSchemaName:
		err = fmt.Errorf("%w: create the objects of the shared state with Migrate", err)
	}
	return fmt.Errorf("pgstore: %s table %s: %w", doing, s.name, err)
}

// A sharedFunction is a function of the shared state.
type sharedFunction struct{ suffix, results string }

// callShared calls a function of the shared state of the table.
func (s sharedState) callShared(ctx context.Context, f sharedFunction, args []any, results ...any) (*table, error) {
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	return t, s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) error {
		return s.call(ctx, conn, t, f, args, results...)
	}))
}

// call calls a function of the shared state in a transaction of its own, and scans its one row.
func (s sharedState) call(
	ctx context.Context, conn *pgx.Conn, t *table, f sharedFunction, args []any, results ...any,
) error {
	if !s.explicitIsolation.Load() {
		query := f.query(t, args, func(i int) string { return "$" + strconv.Itoa(i+1) })
		err := conn.QueryRow(ctx, query, args...).Scan(results...)
		if sqlState(err) != wrongIsolation {
			return err
		}
		s.explicitIsolation.Store(true) // default_transaction_isolation is not READ COMMITTED
	}
	query := f.query(t, args, func(i int) string { return literal(args[i]) })
	return callInReadCommitted(ctx, conn, query, results)
}

// query returns the call of a function. The casts give the arguments the types of the parameters in every query mode of
// pgx.
func (f sharedFunction) query(t *table, args []any, value func(i int) string) string {
	values := make([]string, len(args))
	for i, arg := range args {
		values[i] = value(i) + "::" + sqlType(arg)
	}
	return "SELECT " + f.results + " FROM " + t.object(f.suffix) + "(" + strings.Join(values, ", ") + ")"
}

// callInReadCommitted executes a query in a transaction of its own, as one message of the simple protocol.
func callInReadCommitted(ctx context.Context, conn *pgx.Conn, query string, results []any) error {
	all, err := conn.PgConn().Exec(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED; "+query+"; COMMIT").ReadAll()
	if err != nil {
		if !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' { // COMMIT was not reached
			_, rollbackErr := conn.Exec(ctx, "ROLLBACK")
			err = errors.Join(err, rollbackErr)
		}
		return err
	}
	if len(all) != 3 || len(all[1].Rows) != 1 || len(all[1].Rows[0]) != len(results) {
		return fmt.Errorf("the function returned no row: %s", query)
	}
	for i, field := range all[1].FieldDescriptions {
		if err := conn.TypeMap().Scan(field.DataTypeOID, field.Format, all[1].Rows[0][i], results[i]); err != nil {
			return err
		}
	}
	return nil
}

// sqlType returns the type of an argument in SQL.
func sqlType(arg any) string {
	switch arg.(type) {
	case int32:
		return "integer"
	case int64, *int64:
		return "bigint"
	case bool, *bool:
		return "boolean"
	default:
		return "text"
	}
}

// literal returns an argument as a constant of SQL. Text is in hexadecimal, which needs no quoting in any encoding.
func literal(arg any) string {
	switch v := arg.(type) {
	case *int64:
		if v == nil {
			return "NULL"
		}
		return "(" + strconv.FormatInt(*v, 10) + ")"
	case *bool:
		if v == nil {
			return "NULL"
		}
		return strconv.FormatBool(*v)
	case string:
		return "convert_from(decode('" + hex.EncodeToString([]byte(v)) + "', 'hex'), 'UTF8')"
	default:
		return fmt.Sprintf("(%v)", v)
	}
}

// storableText returns s without what PostgreSQL does not store, and without its end if it is very long.
func storableText(s string) string {
	const limit = 1000
	s = strings.ReplaceAll(s, "\x00", "")
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}

// A sharedStatus is a points.SharedStatus as the functions return it. Times and durations are in microseconds.
type sharedStatus struct {
	Time      int64  `json:"time"`
	Interval  int64  `json:"interval"`
	Paused    bool   `json:"paused"`
	NextTick  *int64 `json:"next_tick"`
	Ticks     uint64 `json:"ticks"`
	Skipped   uint64 `json:"skipped"`
	Failures  int    `json:"failures"`
	Instances []struct {
		Instance string `json:"instance"`
		Started  int64  `json:"started"`
		Seen     int64  `json:"seen"`
	} `json:"instances"`
	Updates     []sharedUpdate `json:"updates"`
	LastSuccess *sharedUpdate  `json:"last_success"`
	LastFailure *sharedUpdate  `json:"last_failure"`
}

type sharedUpdate struct {
	ID       int64  `json:"id"`
	Instance string `json:"instance"`
	Started  int64  `json:"started"`
	Duration int64  `json:"duration"`
	Users    int64  `json:"users"`
	Outcome  int    `json:"outcome"`
	Error    string `json:"error"`
}

func parseStatus(text string) (points.SharedStatus, error) {
	var s sharedStatus
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return points.SharedStatus{}, err
	}
	status := points.SharedStatus{
		Time: fromMicros(&s.Time), Interval: time.Duration(s.Interval) * time.Microsecond,
		Paused: s.Paused, NextTick: fromMicros(s.NextTick),
		Ticks: s.Ticks, Skipped: s.Skipped, Failures: s.Failures,
		Instances:   make([]points.SharedInstance, len(s.Instances)),
		Updates:     make([]points.SharedUpdate, len(s.Updates)),
		LastSuccess: s.LastSuccess.update(), LastFailure: s.LastFailure.update(),
	}
	for i, server := range s.Instances {
		status.Instances[i] = points.SharedInstance{
			Instance: server.Instance, Started: fromMicros(&server.Started), Seen: fromMicros(&server.Seen),
		}
	}
	for i := range s.Updates {
		status.Updates[i] = s.Updates[i].update()
	}
	return status, nil
}

func (u *sharedUpdate) update() points.SharedUpdate {
	if u == nil {
		return points.SharedUpdate{}
	}
	return points.SharedUpdate{
		ID: uint64(u.ID), Instance: u.Instance, Started: fromMicros(&u.Started), //nolint:gosec // the same bits
		Duration: time.Duration(u.Duration) * time.Microsecond, Users: u.Users,
		Outcome: points.UpdateOutcome(u.Outcome), Err: u.Error,
	}
}

// fromMicros returns the time that is this many microseconds after 1970, or the zero time for nil.
func fromMicros(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return time.UnixMicro(*us).UTC()
}

// micros returns a duration in microseconds, rounded up: an interval and the duration of an update that has ended are
// not 0.
func micros(d time.Duration) int64 { return int64((d + time.Microsecond - 1) / time.Microsecond) }

// sleep waits for the duration, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
