package points

import (
	"context"
	"time"
)

// Hooks are called when something happens, for telemetry. Any of them may be nil. They are called from the goroutine
// that does the work, which waits for them: they must be quick, and must not call the engine or the updater. Batch
// hooks come one at a time, and so do Update hooks; a Batch hook may run beside a Tick or an Update hook.
type Hooks struct {
	// BatchStart is called before each read of the store, with the contexts of the callers that it is made for, in the
	// order in which they came, valid until it returns. What it returns is the read's context: ctx, or one made from it
	// that carries something more, such as a trace's span.
	BatchStart func(ctx context.Context, callers []context.Context) context.Context

	// BatchEnd is called after each read of the store, before its callers are told.
	BatchEnd func(BatchInfo)

	// Tick is called at each tick of the engine.
	Tick func(TickInfo)

	// UpdateStart is called before the store is updated: Users, Duration and Err are not known yet. What it returns is
	// the update's context: ctx, or one made from it.
	UpdateStart func(ctx context.Context, info UpdateInfo) context.Context

	// UpdateProgress is called whenever the store tells how far it is: done users of total, which may be an estimate.
	UpdateProgress func(done, total int64)

	// UpdateEnd is called when the store has been updated, or has failed to be.
	UpdateEnd func(UpdateInfo)
}

// BatchInfo tells of one read of the store.
type BatchInfo struct {
	Batch    uint64        // the number of the read, counted from 1
	Callers  int           // callers that it was made for; 1 with an Immediate store
	Users    int           // users that it found
	Waited   time.Duration // from the first of the callers' arrival to the read's begin
	Duration time.Duration // of the read
	Err      error         // as the callers get it; nil if they were answered
}

// TickInfo tells of one tick.
type TickInfo struct {
	// Time is when the tick came, in UTC.
	Time time.Time

	// Skipped says that an update was still running, so that the tick started none.
	Skipped bool
}

// UpdateInfo tells of one update.
type UpdateInfo struct {
	Key      uint64        // each user's points are Draw(id, Key)
	Started  time.Time     // in UTC
	Users    int64         // users updated
	Duration time.Duration // from Started to its end
	Err      error         // nil if every user was updated
}
