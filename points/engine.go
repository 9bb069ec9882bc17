package points

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An Engine answers queries about the users of a store, in one order, and updates the users at each tick. Its methods
// are safe for concurrent use. Create one with [New]: the zero value is not usable.
type Engine struct {
	store     Store
	immediate bool // the store has ImmediateReads
	cfg       Config
	updater   *updater
	schedule  schedule

	waiters   sync.Pool         // of *waiter
	batchCtxs []context.Context // of the queries of the next read, for Hooks.BatchStart

	mu            sync.Mutex
	minNumber     int
	pending       *pendingMinNumber // nil if there is none
	lastTimestamp int64             // of the latest query, in µs since 1970; 0 if there was none
	batches       uint64            // reads started
	waiting       *waitQueue        // queries for the next read
	inFlight      *waitQueue        // queries for the read in flight
	reading       bool              // a read is in flight
	serving       bool              // a goroutine runs serve
	timeoutTimer  *time.Timer       // fires at the QueryTimeout of the oldest waiter; nil if it is not set
	down          error             // the error of queries while the store is down; nil while it is up
	downSince     time.Time         // start of the read that found the store down
	lastProbe     time.Time         // end of the latest read that found the store down
}

// New returns an engine for store, which answers queries from now on, and ticks while Run runs. New starts no
// goroutine. Its error names the invalid field of cfg.
func New(store Store, cfg Config) (*Engine, error) {
	if store == nil {
		return nil, errors.New("points: New needs a store, got nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{store: store, cfg: cfg, waiting: new(waitQueue), inFlight: new(waitQueue)}
	e.waiters.New = func() any { return &waiter{done: make(chan struct{}, 1)} }
	e.immediate = store.Capabilities().ImmediateReads
	e.schedule.interval = cfg.Interval
	e.schedule.ticker = time.NewTicker(cfg.Interval)
	e.schedule.ticker.Stop()
	e.updater = newUpdater(store, cfg, e.cooldownEnd)
	var err error
	if e.minNumber, err = e.drawMinNumber(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) drawMinNumber() (int, error) {
	n := e.cfg.MinNumber()
	if n < 0 || n > MaxPoints {
		return 0, fmt.Errorf("points: Config.MinNumber must return a number in 0..%d, got %d", MaxPoints, n)
	}
	return n, nil
}
