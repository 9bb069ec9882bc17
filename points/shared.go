package points

import (
	"context"
	"slices"
	"time"
)

// A SharedState keeps the state of an engine where several processes can use it: the order of the queries, the min
// number and the schedule of the ticks. All engines with the same shared state act as one engine: one order of queries,
// one tick per interval, and one update per tick. A [Store] that has a shared state returns it in [Capabilities].
//
// Its methods are safe for concurrent use, by several processes too, and return soon after ctx ends. All times are
// those of one clock, that of the shared state, in UTC and with microsecond precision. Package storetest checks that an
// implementation follows the rules below.
type SharedState interface {
	// AnswerBatch answers n consecutive queries in one atomic step, at one moment between the call and its return: it
	// gives them the next n timestamps, and reads at most limit users with more points than the min number, under the
	// rules of Store.UsersAbove. A batch with later timestamps never has older users or an older min number. n and
	// limit are at least 1.
	//
	// Timestamps are not in the future, unless there is more than one query per microsecond. No two queries get the same
	// one, not even after a crash of every process and of the database. If AnswerBatch fails, its n timestamps may have
	// been used up: the next query then returns the last of them.
	AnswerBatch(ctx context.Context, n, limit int) (SharedBatch, error)

	// Sync registers an engine, records its update, and claims the tick if one is due. A claim sets the new min number,
	// and the caller must start the tick's update. Of all calls exactly one claims a tick, and no AnswerBatch is in
	// progress when it sets the min number. The next tick is due one interval after this one was, or after the claim if
	// that time has passed already. Each engine calls Sync at least once a second while Run runs.
	//
	// If Sync fails, it may have claimed the tick and recorded the update. The engine then sends the update again. Each
	// update has one record, by its ID. Sync may change it while it is unfinished; its outcome never changes.
	Sync(ctx context.Context, request SyncRequest) (SyncResult, error)

	// Configure changes the schedule for all engines. Once it has returned, no tick is claimed by an earlier schedule.
	Configure(ctx context.Context, change ScheduleChange) (SharedStatus, error)
}

// A SharedBatch is the result of [SharedState.AnswerBatch].
type SharedBatch struct {
	Users []User // at most limit users; never nil

	// PreviousTimestamp is the timestamp of the query before the first of the batch; zero if there was none.
	PreviousTimestamp time.Time

	// LastTimestamp is that of the last query of the batch. The timestamps of a batch are consecutive microseconds.
	LastTimestamp time.Time

	// LockWait is how long the batch waited for the order lock, the lock under which batches get their timestamps and
	// ticks set the min number. It is a part of the duration of the call, for telemetry; 0 if it is not measured.
	LockWait time.Duration
}

// A SyncRequest is the argument of [SharedState.Sync].
type SyncRequest struct {
	Instance   string // name of the engine: Config.Instance
	InstanceID uint64 // random; identifies the engine, even if another one has the same name

	// Starting: Run has just begun. Interval becomes the interval of the schedule if it differs from that of the latest
	// Starting request of any engine. So a restart with an unchanged Config does not undo SetInterval.
	Starting bool

	// Interval is Config.Interval. It also becomes the interval of a schedule that has none, as after the state was
	// created again while engines run.
	Interval time.Duration

	Stopping  bool          // Run is about to end: no tick is claimed, and the engine is no longer in Instances
	TickNow   bool          // a tick is due at once if there has been neither a tick nor a successful update
	MinNumber int           // the new min number if the tick is claimed
	Update    *SharedUpdate // the oldest update of the engine with something left to record, else the running one, or nil
}

// A SyncResult is the result of [SharedState.Sync].
type SyncResult struct {
	// Claimed: the caller has claimed a tick. The new min number is set, and the caller must start the tick's update.
	Claimed bool

	// Status is the state after the call.
	Status SharedStatus
}

// A ScheduleChange is the argument of [SharedState.Configure]. Nil fields change nothing. After a change the next tick
// comes after a whole interval. Paused with its current value is no change; an Interval always is one, even with its
// current value. Interval is at least 1 ms.
type ScheduleChange struct {
	Paused   *bool
	Interval *time.Duration
}

// A SharedStatus describes a shared state at one moment. It does not contain the min number.
type SharedStatus struct {
	Time      time.Time        // of this status, by the clock of the shared state
	Interval  time.Duration    // between two ticks; 0 before the first Sync
	Paused    bool             // no ticks
	NextTick  time.Time        // zero while the ticks are paused
	Ticks     uint64           // since the shared state was created
	Skipped   uint64           // ticks whose update was skipped; see UpdateSkipped
	Instances []SharedInstance // engines whose latest Sync is at most InstanceTimeout ago, ordered by Instance and Started
	Updates   []SharedUpdate   // the latest updates that were not skipped, latest start first, at most MaxSharedUpdates
	Failures  int              // consecutive failed updates up to now

	// LastSuccess and LastFailure are the latest update that succeeded and the latest that failed; zero if there was
	// none.
	LastSuccess, LastFailure SharedUpdate
}

// Running returns the update that is running, and false if there is none in Updates.
func (s *SharedStatus) Running() (SharedUpdate, bool) {
	for _, update := range slices.Backward(s.Updates) { // a later one is about to be skipped
		if s.IsRunning(update) {
			return update, true
		}
	}
	return SharedUpdate{}, false
}

// IsRunning reports whether an update is UpdateUnfinished and its engine still runs, without a restart since the update
// began. The store may yet reject the update because another one is running: then it becomes UpdateSkipped.
func (s *SharedStatus) IsRunning(update SharedUpdate) bool {
	return update.Outcome == UpdateUnfinished && slices.ContainsFunc(s.Instances, func(engine SharedInstance) bool {
		return engine.ID == update.InstanceID && !update.Started.Before(engine.Started)
	})
}

// InstanceTimeout is the time without a Sync after which an engine counts as gone.
const InstanceTimeout = 5 * time.Second

// MaxSharedUpdates is the maximum number of updates in [SharedStatus].Updates.
const MaxSharedUpdates = 20

// A SharedInstance is an engine with the shared state.
type SharedInstance struct {
	Instance string    // name; several engines may have the same one by mistake
	ID       uint64    // SyncRequest.InstanceID
	Started  time.Time // of Run
	Seen     time.Time // of its latest Sync
}

// A SharedUpdate is an update of one of the engines with the shared state.
type SharedUpdate struct {
	ID         uint64        // random; identifies the update
	Instance   string        // of the engine: SyncRequest.Instance
	InstanceID uint64        // of the engine: SyncRequest.InstanceID
	Started    time.Time     // set by Sync: when it first got the update, minus the Duration that it got
	Duration   time.Duration // 0 while it runs
	Users      int64         // updated
	Outcome    UpdateOutcome
	Err        string // empty unless the outcome is UpdateFailed; valid UTF-8 without NUL
}

// UpdateOutcome is how an update ended.
type UpdateOutcome int

// The outcomes of an update.
const (
	UpdateUnfinished UpdateOutcome = iota // it is running, or its process has died
	UpdateSucceeded                       // every user was updated
	UpdateFailed
	UpdateSkipped   // of a tick: another one was running, or the claim took so long that the next tick may be due
	UpdateCancelled // by its caller or the end of Run; or an Engine.Update that the store rejected
)

// String returns "unfinished", "succeeded", "failed", "skipped" or "cancelled".
func (o UpdateOutcome) String() string {
	switch o {
	case UpdateSucceeded:
		return "succeeded"
	case UpdateFailed:
		return "failed"
	case UpdateSkipped:
		return "skipped"
	case UpdateCancelled:
		return "cancelled"
	default:
		return "unfinished"
	}
}

// MarshalText implements [encoding.TextMarshaler] with String.
func (o UpdateOutcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
