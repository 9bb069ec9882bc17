package points

import (
	"context"
	"time"
)

// Hooks are callbacks of an [Engine], for telemetry. Any of them may be nil. The batch, tick or update waits for its
// hooks: they must be quick, and must not call the engine. Batch hooks are called one at a time, and so are Update
// hooks; a Batch hook may run concurrently with a Tick or an Update hook. With a [SharedState] two batches may be in
// flight: one may start before the other ends, and end first.
//
// The engine does not recover panics of hooks, nor of Config.MinNumber and UpdaterConfig.Key. A caller can recover the
// panic of a hook that runs in its goroutine: of Update hooks in [Engine.Update], of Tick in [Engine.Run], and of Batch
// hooks in [Engine.Query] if the store has ImmediateReads. Any other panic of a hook ends the program. After a panic
// that was recovered, the engine remains usable, and the query that panicked has no timestamp. A panic of
// UpdateProgress is a panic of the store: the update fails.
type Hooks struct {
	// BatchStart is called before each read of the store. queryCtxs are the contexts of the queries that the read
	// answers, in order of arrival; the slice is valid until BatchStart returns. BatchStart returns the context for the
	// read: ctx, or one derived from it, for example with a span.
	BatchStart func(ctx context.Context, queryCtxs []context.Context) context.Context

	// BatchEnd is called after each read of the store, before its queries return.
	BatchEnd func(info BatchInfo)

	// Tick is called at each tick, after the tick has started its update or skipped it. With a SharedState that is each
	// tick that this engine claims.
	Tick func(info TickInfo)

	// UpdateStart is called before each update. Only Key and Started of info are set. It returns the context for the
	// update: ctx, or one derived from it.
	UpdateStart func(ctx context.Context, info UpdateInfo) context.Context

	// UpdateProgress is called when the store reports its progress: done users of total, which may be an estimate.
	UpdateProgress func(done, total int64)

	// UpdateEnd is called after each update, successful or not. If info.Err wraps ErrUpdateRunning, the store skipped the
	// update because another engine or process was updating the same users; that is not a failure.
	UpdateEnd func(info UpdateInfo)
}

// BatchInfo describes one read of the store.
type BatchInfo struct {
	// Context is the one that Hooks.BatchStart returned for this read; nil if there is no BatchStart.
	Context context.Context //nolint:containedctx // batches can overlap: it joins the two hooks

	Batch    uint64        // number of the read, counted from 1
	Queries  int           // queries that it answers; 1 for a store with ImmediateReads
	Users    int           // users that it found
	Waited   time.Duration // from the arrival of the first query to the start of the read
	Duration time.Duration // of the read
	LockWait time.Duration // with a SharedState: part of Duration, see SharedBatch; 0 if Err is not nil
	Err      error         // as the queries return it; nil on success
}

// TickInfo describes one tick.
type TickInfo struct {
	// Time is when the tick was due, in UTC. With a SharedState it is when this engine claimed the tick, by the clock of
	// this process.
	Time time.Time

	// Skipped: the tick started no update, because this engine was running one or, with a SharedState, because the claim
	// took so long that the next tick may be due. It is false if the tick started no update because the circuit breaker
	// was open, or because Pause was called while the tick waited for a read. A store can skip an update, too: see
	// Hooks.UpdateEnd.
	Skipped bool
}

// UpdateInfo describes one update.
type UpdateInfo struct {
	ID       uint64        // of its SharedUpdate; 0 without a SharedState
	Key      uint64        // each user's points are Draw(id, Key)
	Started  time.Time     // in UTC
	Users    int64         // users updated; may be too low if Err is not nil
	Duration time.Duration // from Started to the end
	Err      error         // nil if every user was updated
}

// JoinHooks combines hooks: each hook of the result calls those of all, in order. Each BatchStart and UpdateStart gets
// the context that the previous one returned.
func JoinHooks(all ...Hooks) Hooks {
	var joined Hooks
	for _, h := range all {
		joined.BatchStart = chain(joined.BatchStart, h.BatchStart)
		joined.BatchEnd = both(joined.BatchEnd, h.BatchEnd)
		joined.Tick = both(joined.Tick, h.Tick)
		joined.UpdateStart = chain(joined.UpdateStart, h.UpdateStart)
		joined.UpdateProgress = bothProgress(joined.UpdateProgress, h.UpdateProgress)
		joined.UpdateEnd = both(joined.UpdateEnd, h.UpdateEnd)
	}
	return joined
}

func both[T any](first, second func(T)) func(T) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(info T) {
		first(info)
		second(info)
	}
}

func bothProgress(first, second func(done, total int64)) func(done, total int64) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(done, total int64) {
		first(done, total)
		second(done, total)
	}
}

func chain[T any](first, second func(context.Context, T) context.Context) func(context.Context, T) context.Context {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, info T) context.Context { return second(first(ctx, info), info) }
}
