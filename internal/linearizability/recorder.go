package linearizability

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
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

// Query calls query, records it and returns its result. A failed query has no place in the order and is not recorded.
// Result.Batch may be 0 if it is unknown.
func (r *Recorder) Query(query func() (points.Result, error)) (points.Result, error) {
	started := time.Now()
	call := r.tick()
	result, err := query()
	if err != nil {
		return result, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	event := answeredQuery{result: result, from: started.Round(0), to: time.Now().Round(0)}
	r.history = append(r.history, operation{&event, call, r.now})
	return result, nil
}

// tick advances the logical time and returns it.
func (r *Recorder) tick() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	return r.now
}

// Config returns cfg with the min numbers recorded: each from when it is drawn until the Tick hook is called, when it
// has been set.
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
	if n < 0 || n > points.MaxPoints {
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
func (r *Recorder) Store(store points.Store) points.Store { return recordedStore{store, r} }

type recordedStore struct {
	points.Store

	recorder *Recorder
}

func (s recordedStore) UpdateAll(ctx context.Context, key uint64) (users int64, err error) {
	update := s.recorder.startUpdate(key)
	defer func() { s.recorder.record(updateEnd{update, err}) }()
	err = errors.New("panic") // unless UpdateAll returns
	users, err = s.Store.UpdateAll(ctx, key)
	return users, err
}

func (r *Recorder) startUpdate(key uint64) updateStart {
	r.mu.Lock()
	drawn := make([]points.User, len(r.model.ids))
	for i, id := range r.model.ids {
		drawn[i] = points.User{ID: id, Points: points.Draw(id, key)}
	}
	update := updateStart(len(r.model.versions))
	r.model.versions = append(r.model.versions, drawn)
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

// operations returns the history so far.
func (r *Recorder) operations() []operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	history := append([]operation(nil), r.history...)
	if r.pending != nil {
		history = append(history, operation{r.pending.event, r.pending.call, never})
	}
	return history
}
