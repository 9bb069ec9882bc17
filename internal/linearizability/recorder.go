package linearizability

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// MaxUsers is the maximum number of users of a store whose history can be checked.
const MaxUsers = 64

// A Recorder records a history. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	now     int64 // logical time: advances with each event, so that no two are simultaneous
	model   model
	pending *operation // the min number that is drawn but not set; nil if there is none
	running bool       // the first min number has been drawn
	history []operation

	shared   bool        // the store has a shared state
	failed   []time.Time // calls of queries that failed with a shared state
	updating sync.Mutex  // held by an update of a store with a shared state
}

// An operation is an event that took effect at some moment from call to end.
type operation struct {
	event     event
	call, end int64
}

// never is the end of an operation that may take effect at any later time, or never.
const never = math.MaxInt64

// New returns a recorder for a store that holds exactly users.
func New(users []points.User) *Recorder {
	r := &Recorder{model: newModel(users)}
	for i := range users {
		r.model.versions[0][i].UpdatedAt = time.Time{} // that of the other versions is unknown
	}
	return r
}

// Query calls query, records it and returns its result. A failed query has no place in the order and is not recorded;
// with a shared state it may have one. Result.Batch may be 0 if it is unknown.
func (r *Recorder) Query(query func() (points.Result, error)) (points.Result, error) {
	started := time.Now()
	call := r.tick()
	result, err := query()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.shared {
			r.failed = append(r.failed, started.Round(0))
		}
		return result, err
	}
	r.now++
	event := answeredQuery{result: result, from: started.Round(0), to: time.Now().Round(0)}
	if r.shared { // two batches of an engine can be in flight, and those of several engines have nothing in common
		event.result.Batch = 0
	}
	r.history = append(r.history, operation{&event, call, r.now})
	return result, nil
}

// Crashed records that the database of a shared state is about to crash. The next query may then return the bound, a
// timestamp that no query got and that may be earlier than the crash.
func (r *Recorder) Crashed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, time.Time{})
}

// tick advances the logical time and returns it.
func (r *Recorder) tick() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	return r.now
}

// Config returns cfg with the min numbers recorded: each from when it is drawn until the Tick hook is called, when it
// has been set. With a shared state, Store records them.
func (r *Recorder) Config(cfg points.Config) points.Config {
	r.model.limit = cmp.Or(cfg.Limit, r.model.limit)

	draw := cfg.MinNumber
	if draw == nil {
		draw = func() int { return rand.IntN(points.MaxPoints + 1) }
	}
	cfg.MinNumber = func() int {
		n := draw()
		r.drawMinNumber(n)
		return n
	}
	cfg.Hooks = points.JoinHooks(points.Hooks{Tick: func(points.TickInfo) { r.setMinNumber() }}, cfg.Hooks)
	return cfg
}

// drawMinNumber records that n, if it is in range, is about to become the min number. The first one is set at once.
func (r *Recorder) drawMinNumber(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shared || n < 0 || n > points.MaxPoints {
		return
	}
	r.now++
	if r.pending != nil {
		// Run ended before the tick did: the engine may have set that number, may still set it, or may drop it.
		r.pending.end = never
		r.history = append(r.history, *r.pending)
	}
	r.pending = &operation{event: minNumber(n), call: r.now}
	if !r.running {
		r.running = true
		r.endPending()
	}
}

// setMinNumber records that the drawn number is the min number now.
func (r *Recorder) setMinNumber() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	r.endPending()
}

func (r *Recorder) endPending() {
	if r.pending == nil {
		return
	}
	r.pending.end = r.now
	r.history = append(r.history, *r.pending)
	r.pending = nil
}

// Store returns store with its updates recorded.
//
// If the store has a shared state, the claims of its ticks are recorded, too, and the store may be one of several on
// the same state. A tick must be claimed through it before the first query, as the first min number is not known
// otherwise. While an update is running through one of the stores, another one fails with points.ErrUpdateRunning.
func (r *Recorder) Store(store points.Store) points.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shared = store.Capabilities().SharedState != nil
	return recordedStore{store, r, r.shared}
}

type recordedStore struct {
	points.Store

	recorder *Recorder
	shared   bool
}

func (s recordedStore) Capabilities() points.Capabilities {
	capabilities := s.Store.Capabilities()
	if s.shared {
		capabilities.SharedState = recordedState{capabilities.SharedState, s.recorder}
	}
	return capabilities
}

type recordedState struct {
	points.SharedState

	recorder *Recorder
}

// Sync records the min number of a tick that it claims. If it fails, it may have claimed one.
func (s recordedState) Sync(ctx context.Context, request points.SyncRequest) (points.SyncResult, error) {
	call := s.recorder.tick()
	result, err := s.SharedState.Sync(ctx, request)
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.now++
	claim := operation{minNumber(request.MinNumber), call, s.recorder.now}
	if err != nil {
		claim.end = never
	}
	if err != nil || result.Claimed {
		s.recorder.history = append(s.recorder.history, claim)
	}
	return result, err
}

func (s recordedStore) UpdateAll(ctx context.Context, key uint64) (users int64, err error) {
	if s.shared {
		if !s.recorder.updating.TryLock() {
			return 0, points.ErrUpdateRunning
		}
		defer s.recorder.updating.Unlock()
	}
	update := s.recorder.startUpdate(key)
	defer func() { s.recorder.record(updateEnd{update, err}) }()
	err = errors.New("panic") // unless UpdateAll returns
	users, err = s.Store.UpdateAll(ctx, key)
	return users, err
}

func (r *Recorder) startUpdate(key uint64) updateStart {
	r.mu.Lock()
	version := make([]points.User, len(r.model.ids))
	for i, id := range r.model.ids {
		version[i] = points.User{ID: id, Points: points.Draw(id, key)}
	}
	update := updateStart(len(r.model.versions))
	r.model.versions = append(r.model.versions, version)
	r.mu.Unlock()

	r.record(update)
	return update
}

// record records an event that took effect just now.
func (r *Recorder) record(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	r.history = append(r.history, operation{e, r.now, r.now})
}

// operations returns the history so far, and the calls of the queries whose outcome is unknown, in order.
func (r *Recorder) operations() (history []operation, failed []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	history = append(history, r.history...)
	if r.pending != nil {
		history = append(history, operation{r.pending.event, r.pending.call, never})
	}
	failed = append(failed, r.failed...)
	slices.SortFunc(failed, time.Time.Compare)
	return history, failed
}
