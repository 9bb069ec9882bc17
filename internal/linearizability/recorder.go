// Package linearizability records what an engine is asked and what happens to it, and judges whether one order explains it all:
// a linearizability check of points.Engine, on any store and from any distance.
//
//	recorder := linearizability.New(users)                              // the store's users, as they are now
//	engine, err := points.New(recorder.Store(store), recorder.Config(points.Config{}))
//	// … run the engine; from many goroutines:
//	recorder.Query(func() (points.Result, error) { return engine.Query(ctx) })
//	// … and when all is quiet:
//	err = recorder.Check()
//
// The check follows each user, of whom there may be few.
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

// MaxUsers is how many users a store may hold for its history to be checked.
const MaxUsers = 64

// A Recorder records a history. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	now     int64 // a clock that ticks whenever something is recorded, so that no two things are at the same time
	limit   int
	ids     []int64
	points  [][]int    // of each of ids: at the beginning, then in each update
	drawn   *operation // the hidden number that has not taken its place yet
	running bool       // the first hidden number has been drawn
	history []operation
}

// An operation is an event that took place at some moment between call and end.
type operation struct {
	event     event
	call, end int64
}

// New returns a recorder for a store that holds exactly users.
func New(users []points.User) *Recorder {
	r := &Recorder{limit: 2, points: [][]int{nil}}
	for _, u := range users {
		r.ids = append(r.ids, u.ID)
		r.points[0] = append(r.points[0], u.Points)
	}
	return r
}

// Query records the query that ask makes, and returns its answer. A query that fails has no place in the order, and is
// not recorded. Result.Batch may be 0 if it is not known.
func (r *Recorder) Query(ask func() (points.Result, error)) (points.Result, error) {
	called := time.Now()
	r.mu.Lock()
	r.now++
	call := r.now
	r.mu.Unlock()

	result, err := ask()
	if err != nil {
		return result, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	answered := query{result: result, from: called.Round(0), to: time.Now().Round(0)}
	r.history = append(r.history, operation{&answered, call, r.now})
	return result, nil
}

// Config returns cfg for an engine whose hidden numbers are recorded: each is drawn, and has taken its place by the
// time that the tick's hook is called.
func (r *Recorder) Config(cfg points.Config) points.Config {
	r.limit = cmp.Or(cfg.Limit, r.limit)

	draw := cfg.MinNumber
	if draw == nil {
		draw = func() int { return rand.IntN(points.MaxPoints + 1) }
	}
	cfg.MinNumber = func() int {
		n := draw()
		r.Drawn(n)
		return n
	}
	hook := cfg.Hooks.Tick
	cfg.Hooks.Tick = func(info points.TickInfo) {
		r.Placed()
		if hook != nil {
			hook(info)
		}
	}
	return cfg
}

// Drawn records that n, if it is in range, is to become the hidden number. The first one does so at once.
func (r *Recorder) Drawn(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < 0 || n > points.MaxPoints {
		return
	}
	r.now++
	r.drawn = &operation{event: number(n), call: r.now}
	if !r.running {
		r.running = true
		r.placed()
	}
}

// Placed records that the number that was drawn has become the hidden number.
func (r *Recorder) Placed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	r.placed()
}

func (r *Recorder) placed() {
	if r.drawn == nil {
		return
	}
	r.drawn.end = r.now
	r.history = append(r.history, *r.drawn)
	r.drawn = nil
}

// Store returns store, its updates recorded.
func (r *Recorder) Store(store points.Store) points.Store {
	return recorded{store, r}
}

type recorded struct {
	points.Store

	recorder *Recorder
}

func (s recorded) UpdateAll(ctx context.Context, key uint64) (users int64, err error) {
	update := s.recorder.begin(key)
	defer func() { s.recorder.happened(updateEnds{update, err}) }()
	err = errors.New("it panicked") // unless it returns
	users, err = s.Store.UpdateAll(ctx, key)
	return users, err
}

func (r *Recorder) begin(key uint64) updateBegins {
	r.mu.Lock()
	drawn := make([]int, len(r.ids))
	for i, id := range r.ids {
		drawn[i] = points.Draw(id, key)
	}
	update := updateBegins(len(r.points))
	r.points = append(r.points, drawn)
	r.mu.Unlock()

	r.happened(update)
	return update
}

// happened records an event that took but a moment.
func (r *Recorder) happened(what event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	r.history = append(r.history, operation{what, r.now, r.now})
}

// operations returns the history up to now. What has not ended may take place at any later time.
func (r *Recorder) operations() []operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	history := slices.Clone(r.history)
	if r.drawn != nil {
		history = append(history, operation{r.drawn.event, r.drawn.call, math.MaxInt64})
	}
	return history
}
