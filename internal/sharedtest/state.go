package sharedtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// boundAhead is how far a timestamp above the bound raises it.
const boundAhead = 100 * time.Millisecond

// AnswerBatch implements points.SharedState.
func (s *store) AnswerBatch(ctx context.Context, n, limit int) (points.SharedBatch, error) {
	for {
		batch, wait, err := s.answerBatch(ctx, n, limit)
		if err != nil || wait == 0 {
			return batch, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return points.SharedBatch{}, ctx.Err()
		}
	}
}

// answerBatch returns how long to wait if the clock has not passed the bound since a crash.
func (s *store) answerBatch(ctx context.Context, n, limit int) (
	batch points.SharedBatch, wait time.Duration, err error,
) {
	d := s.database
	d.mu.Lock()
	snapshot, min := slices.Clone(d.users), d.minNumber
	d.mu.Unlock()
	if err := d.lock(ctx); err != nil {
		return batch, 0, err
	}
	defer d.unlock()

	d.mu.Lock()
	if d.Fault != RepeatableRead {
		min = d.minNumber
	}
	clock := &d.clock
	if d.Fault == StateInProcess {
		clock = &s.own
	}
	previous, last, wait := clock.next(int64(n), d.Fault)
	d.mu.Unlock()
	if wait > 0 {
		return batch, wait, nil
	}

	d.at(ctx, BeforeUsers)
	if err := ctx.Err(); err != nil && d.Fault != IgnoresContext {
		return batch, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Fault != SnapshotIsOlder && d.Fault != RepeatableRead {
		snapshot = d.users
	}
	batch = points.SharedBatch{Users: usersAbove(snapshot, min, limit), LastTimestamp: time.UnixMicro(last).UTC()}
	if previous != 0 {
		batch.PreviousTimestamp = time.UnixMicro(previous).UTC()
	}
	return batch, 0, nil
}

// next gives the next n timestamps. It returns the last of them and the one before them, or how long to wait for them.
func (c *clock) next(n int64, fault Fault) (previous, last int64, wait time.Duration) {
	now := time.Now().UnixMicro()
	if c.reset {
		if fault != NoBound {
			if now <= c.bound {
				return 0, 0, time.Duration(c.bound-now+1) * time.Microsecond
			}
			c.last = c.bound
		}
		c.reset = false
	}
	previous = c.last
	last = max(c.last+n, now)
	switch fault { //nolint:exhaustive // the others are elsewhere
	case NotConsecutive:
		last = max(c.last+1, now)
	case InTheFuture:
		last += time.Hour.Microseconds()
	}
	c.last = last
	if c.last > c.bound {
		c.bound = c.last + boundAhead.Microseconds()
	}
	return previous, last, 0
}

// Sync implements points.SharedState.
func (s *store) Sync(ctx context.Context, request points.SyncRequest) (result points.SyncResult, err error) {
	d := s.database
	d.mu.Lock()
	dueBefore := d.isDue(request)
	d.mu.Unlock()
	if d.Fault == MinDuringBatch {
		if err := ctx.Err(); err != nil {
			return result, err
		}
	} else {
		if err := d.lock(ctx); err != nil {
			return result, err
		}
		defer d.unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.register(request)
	if request.Update != nil {
		d.record(*request.Update)
	}
	result.Claimed = d.isDue(request)
	if d.Fault == ClaimedTwice {
		result.Claimed = dueBefore
	}
	if result.Claimed {
		d.minNumber, d.claimed = request.MinNumber, true
		d.schedule.tick(d.Fault)
	}
	result.Status = d.currentStatus()
	return result, nil
}

// register registers an engine and its interval.
func (d *Database) register(request points.SyncRequest) {
	if request.Stopping {
		delete(d.instances, d.identity(request))
		return
	}
	instance, known := d.instances[d.identity(request)]
	if request.Starting || !known {
		instance.Started = now()
	}
	instance.Instance, instance.ID, instance.Seen = request.Instance, request.InstanceID, now()
	d.instances[d.identity(request)] = instance
	if d.schedule.interval == 0 && d.Fault != StartSetsInterval ||
		request.Starting && (request.Interval != d.schedule.configured || d.Fault == ForgetsInterval) {
		d.schedule.configured = request.Interval
		d.schedule.setInterval(request.Interval)
	}
}

// identity returns the key that distinguishes engines.
func (d *Database) identity(request points.SyncRequest) any {
	if d.Fault == NameIsIdentity {
		return request.Instance
	}
	return request.InstanceID
}

func (s *schedule) setInterval(interval time.Duration) {
	s.interval = interval
	s.next = now().Add(interval)
}

func (d *Database) isDue(request points.SyncRequest) bool {
	s := &d.schedule
	switch {
	case s.interval == 0,
		s.paused && d.Fault != TicksWhilePaused,
		request.Stopping && d.Fault != StoppingClaims,
		d.Fault == WaitsForUpdate && d.claimed:
		return false
	case request.TickNow && (s.ticks == 0 && d.status.LastSuccess.ID == 0 || d.Fault == TickNowAlways):
		return true
	}
	return !now().Before(s.next)
}

func (s *schedule) tick(fault Fault) {
	s.ticks++
	now := now()
	due := s.next
	if due.After(now) && fault != DelaysSecond { // TickNow
		due = now
	}
	if s.next = due.Add(s.interval); !s.next.After(now) {
		s.next = now.Add(s.interval)
	}
}

// record records an update.
func (d *Database) record(update points.SharedUpdate) {
	update.Started = now().Add(-update.Duration)
	i := slices.IndexFunc(d.updates, func(u points.SharedUpdate) bool { return u.ID == update.ID })
	switch {
	case i < 0:
		d.updates = slices.Insert(d.updates, 0, update)
	case d.updates[i].Outcome == points.UpdateUnfinished, d.Fault == ChangesOutcome:
		update.Started = d.updates[i].Started
		d.updates[i] = update
	default:
		if d.Fault == CountsTwice && update.Outcome == points.UpdateFailed {
			d.status.Failures++
		}
		return
	}
	d.claimed = false
	switch update.Outcome {
	case points.UpdateSucceeded:
		d.status.Failures, d.status.LastSuccess = 0, update
	case points.UpdateFailed:
		d.status.Failures, d.status.LastFailure = d.status.Failures+1, update
	case points.UpdateSkipped:
		d.status.Skipped++
	case points.UpdateUnfinished, points.UpdateCancelled:
	}
	if d.Fault == ForgetsSuccess {
		d.status.LastSuccess = points.SharedUpdate{}
		for _, u := range d.latestUpdates() {
			if u.Outcome == points.UpdateSucceeded && d.status.LastSuccess.ID == 0 {
				d.status.LastSuccess = u
			}
		}
	}
}

// Configure implements points.SharedState.
func (s *store) Configure(ctx context.Context, change points.ScheduleChange) (points.SharedStatus, error) {
	d := s.database
	if err := d.lock(ctx); err != nil {
		return points.SharedStatus{}, err
	}
	defer d.unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if change.Interval != nil {
		d.schedule.setInterval(*change.Interval)
	}
	if change.Paused != nil && *change.Paused != d.schedule.paused {
		d.schedule.paused = *change.Paused
		if d.Fault != ResumesAtOnce {
			d.schedule.next = now().Add(d.schedule.interval)
		}
	}
	return d.currentStatus(), nil
}

func (d *Database) currentStatus() points.SharedStatus {
	status := d.status
	status.Time = now()
	status.Interval, status.Paused, status.Ticks = d.schedule.interval, d.schedule.paused, d.schedule.ticks
	if !status.Paused {
		status.NextTick = d.schedule.next
	}
	status.Updates = d.latestUpdates()
	for _, instance := range slices.SortedFunc(maps.Values(d.instances), func(a, b points.SharedInstance) int {
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), a.Started.Compare(b.Started))
	}) {
		if status.Time.Sub(instance.Seen) <= points.InstanceTimeout || d.Fault == KeepsInstances {
			status.Instances = append(status.Instances, instance)
		}
	}
	return status
}

// latestUpdates returns the updates for a status.
func (d *Database) latestUpdates() (latest []points.SharedUpdate) {
	for _, u := range d.updates {
		if len(latest) < points.MaxSharedUpdates && (u.Outcome != points.UpdateSkipped || d.Fault == ListsSkipped) {
			latest = append(latest, u)
		}
	}
	return latest
}
