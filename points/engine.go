package points

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An Engine answers queries about the users of a store in one order, and has the users updated at each tick. Its
// methods are safe for concurrent use.
type Engine struct {
	store     Store
	immediate bool // the store is Immediate
	cfg       Config
	updater   *updater
	schedule  schedule

	callers  sync.Pool         // of *caller
	starting []context.Context // of those whom the next read is for; for Hooks.BatchStart

	mu      sync.Mutex
	min     int         // the hidden number
	last    int64       // stamp of the latest query, in µs since 1970; 0 if there was none
	batches uint64      // reads begun
	waiting *line       // callers for the next read
	reading *line       // callers for the read under way
	inRead  bool        // a read is under way
	serving bool        // a goroutine serves the line
	expiry  *time.Timer // calls expire at the first caller's QueryTimeout; nil if it is not set
	down    error       // what queries fail with while the store is down; nil while it is up
	tried   time.Time   // when the latest read ended that found the store down
	drawn   *drawn      // takes min's place once the read under way has ended
}

// drawn is a hidden number for after the read under way: users and hidden number of an answer belong to one moment.
type drawn struct {
	min    int
	placed chan struct{}
}

// New returns an engine on store. It starts nothing: queries are answered from now on, and ticks come while Run runs.
// Its error names the field of cfg that is wrong.
func New(store Store, cfg Config) (*Engine, error) {
	if store == nil {
		return nil, errors.New("points: New needs a store, got nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{store: store, cfg: cfg, updater: newUpdater(store, cfg), waiting: new(line), reading: new(line)}
	e.callers.New = func() any { return &caller{answered: make(chan struct{}, 1)} }
	e.immediate = store.Capabilities().ImmediateReads
	e.schedule.interval = cfg.Interval
	e.schedule.ticker = time.NewTicker(cfg.Interval)
	e.schedule.ticker.Stop()
	var err error
	if e.min, err = e.draw(); err != nil {
		return nil, err
	}
	return e, nil
}

// draw returns a new hidden number.
func (e *Engine) draw() (int, error) {
	n := e.cfg.MinNumber()
	if n < 0 || n > MaxPoints {
		return 0, fmt.Errorf("points: Config.MinNumber must return 0..%d: it returned %d", MaxPoints, n)
	}
	return n, nil
}
