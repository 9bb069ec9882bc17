package points

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// An Engine answers queries about the users of a store, in one order, and updates the users at each tick. Its methods
// are safe for concurrent use. Create one with [New]: the zero value is not usable.
//
// An engine keeps its own state: the order of the queries, the min number and the schedule of the ticks. If the store
// has a [SharedState], that keeps them instead, for all engines with the same one.
type Engine struct {
	store     Store
	immediate bool    // the store has ImmediateReads
	shared    *shared // nil if the engine keeps its own state
	cfg       Config
	updater   *updater
	schedule  schedule // not used with a shared state

	waiterPool sync.Pool  // of *waiter
	hookMu     sync.Mutex // held by Batch hooks if two batches can be in flight

	mu           sync.Mutex
	local        localState  // not used with a shared state
	batches      uint64      // reads started
	latest       [2]int      // queries of the latest two batches
	waiting      *waitQueue  // queries for the next read
	slots        []slot      // for the batches in flight
	reading      int         // batches in flight
	serving      int         // goroutines that run serve: as many as batches in flight, and perhaps one for the next batch
	timeoutTimer *time.Timer // fires at the QueryTimeout of the oldest waiter; nil if it is not set
	readFailed   time.Time   // end of the latest read if it has failed; zero if it has not
	downErr      error       // the error of queries while the store is down; nil while it is up
	downSince    time.Time   // start of the read that found the store down
	lastProbe    time.Time   // end of the latest read that found the store down
	probing      bool        // a probe is in flight
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
	e := &Engine{store: store, cfg: cfg, waiting: new(waitQueue)}
	e.waiterPool.New = func() any { return &waiter{done: make(chan struct{}, 1)} }
	capabilities := store.Capabilities()
	e.immediate = capabilities.ImmediateReads
	if capabilities.SharedState != nil {
		if e.immediate {
			return nil, errors.New("points: a store cannot have both ImmediateReads and a SharedState")
		}
		e.shared = newShared(capabilities.SharedState, cfg)
	}
	e.slots = newSlots(e.shared)
	e.schedule.interval = cfg.Interval
	e.schedule.ticker = time.NewTicker(cfg.Interval)
	e.schedule.ticker.Stop()
	e.updater = newUpdater(store, cfg, e.shared, e.cooldownEnd)
	var err error
	if e.local.minNumber, err = e.drawMinNumber(); err != nil {
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
