package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
			return points.SharedBatch{}, s.sharedError(ctx, "answering a batch from", err)
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
			return points.SharedBatch{}, s.sharedError(ctx, "answering a batch from", s.forgetIfGone(t, err))
		}
		if a.last != nil {
			return a.batch(), nil
		}
	}
}

// An answer is the result of the function that answers a batch: see answerResults.
type answer struct {
	previous, last *int64 // timestamps in µs since 1970; last is the function's newest
	bound          *int64 // in µs since 1970
	wait, lockWait int64  // in µs
	source         *int
	page           *int64
	users          pgtype.FlatArray[int64] // userValues for each user
}

// userValues is the number of values of a user in an answer: the id, the points, and inserted_at and updated_at in µs
// since 1970.
const userValues = 4

func (s sharedState) answer(ctx context.Context, conn *pgx.Conn, t *table, n, limit int) (a answer, err error) {
	args := []any{
		int32(n), int32(min(limit, math.MaxInt32/userValues)), //nolint:gosec // n is small
		int64(t.hint.page.Load()), t.hint.fewMatches.Load(), t.bound.Load(),
	}
	err = s.call(ctx, conn, t, sharedFunction{
		"_answer", "previous, newest, wait, bound, source, found_page, found_users, lock_wait",
	}, args,
		&a.previous, &a.last, &a.wait, &a.bound, &a.source, &a.page, &a.users, &a.lockWait)
	if err != nil || a.source == nil {
		return a, err
	}
	t.raiseBound(a.bound)
	enough := len(a.users) == userValues*limit
	if *a.source == fromTable {
		t.hint.fewMatches.Store(!enough)
	}
	if a.page != nil && enough {
		t.hint.page.Store(uint32(*a.page)) //nolint:gosec // a block number
	}
	return a, nil
}

func (a *answer) batch() points.SharedBatch {
	b := points.SharedBatch{
		Users:             make([]points.User, 0, len(a.users)/userValues),
		PreviousTimestamp: fromMicros(a.previous), LastTimestamp: fromMicros(a.last),
		LockWait: time.Duration(a.lockWait) * time.Microsecond,
	}
	for u := range slices.Chunk(a.users, userValues) {
		b.Users = append(b.Users, points.User{
			ID: u[0], Points: int(u[1]), InsertedAt: fromMicros(&u[2]), UpdatedAt: fromMicros(&u[3]),
		})
	}
	return b
}

// raiseBound records a bound of the timestamps that is durable.
func (t *table) raiseBound(bound *int64) {
	for bound != nil {
		old := t.bound.Load()
		if *bound <= old || t.bound.CompareAndSwap(old, *bound) {
			return
		}
	}
}

// Sync implements [points.SharedState].
func (s sharedState) Sync(ctx context.Context, r points.SyncRequest) (result points.SyncResult, err error) {
	args := []any{
		r.Instance, int64(r.InstanceID), r.Starting, micros(r.Interval), //nolint:gosec // the same bits
		r.TickNow, int32(r.MinNumber), //nolint:gosec // 0..100
	}
	if u := r.Update; u == nil {
		args = append(args, (*int64)(nil), int64(0), int64(0), int32(0), "")
	} else {
		id, outcome := int64(u.ID), int32(u.Outcome) //nolint:gosec // the same bits; small
		args = append(args, &id, micros(u.Duration), u.Users, outcome, storableText(u.Err))
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
		return points.SyncResult{}, s.sharedError(ctx, "synchronizing the servers of", err)
	}
	return result, nil
}

// Configure implements [points.SharedState]. It waits for the row of the state until ctx ends: a server that ticks
// locks it until its commit is on the standbys.
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
	var err error
	for { // until ctx ends: the function has a short lock_timeout
		_, err = s.callShared(ctx, sharedFunction{"_configure", "status"}, []any{change.Paused, interval}, &status)
		if sqlState(err) != lockNotAvailable || ctx.Err() != nil {
			break
		}
	}
	if err == nil {
		var parsed points.SharedStatus
		if parsed, err = parseStatus(status); err == nil {
			return parsed, nil
		}
	}
	return points.SharedStatus{}, s.sharedError(ctx, "changing the schedule of", err)
}

// sharedError wraps an error of a call, if there is one, and adds what to do about it.
func (s sharedState) sharedError(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	switch sqlState(err) {
	case undefinedTable, undefinedFunction, invalidSchemaName:
		if _, gone := s.table(ctx); errors.Is(gone, errNoTable) { // dropped or renamed since it was looked up
			err = fmt.Errorf("%w (%w)", gone, err)
			break
		}
		err = fmt.Errorf("%w: the objects of the shared state are missing: "+callMigrate, err)
	case insufficientPrivilege:
		err = withRemedy(err)
	case noDataFound:
		err = fmt.Errorf("%w: a table of the shared state is empty: "+callMigrate, err)
	}
	return fmt.Errorf("pgstore: %s table %s: %w", doing, s.name, err)
}

// storableText returns s without what PostgreSQL does not store, and without its end if it is very long.
func storableText(s string) string {
	const limit = 1000
	s = strings.ReplaceAll(s, "\x00", "")
	return strings.ToValidUTF8(s[:min(len(s), limit)], "")
}
