package points_test

import (
	"context"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A fault is what makes a lookalike less than an engine.
type fault string

const (
	none              fault = "none"
	joinsReadUnderWay fault = "who comes during a read is answered from it"
	oneStampForABatch fault = "those who wait are told the same stamp"
	numberAfterUsers  fault = "the hidden number is looked up after the users"
	numberDoesNotWait fault = "the hidden number changes during a read"
)

// A lookalike is an engine on one page, as somebody might well write it, with one fault or none: what must not pass
// the check that the engine passes, and shows that the check is worth its name.
type lookalike struct {
	store points.Store
	cfg   points.Config
	fault fault
	turn  chan struct{} // full while a read is under way

	updating sync.Mutex

	mu     sync.Mutex
	number int
	last   int64 // stamp, in µs since 1970
	next   *[]chan points.Result
}

func newLookalike(store points.Store, cfg points.Config, fault fault) *lookalike {
	return &lookalike{store: store, cfg: cfg, fault: fault, turn: make(chan struct{}, 1), number: cfg.MinNumber()}
}

func (l *lookalike) Query(ctx context.Context) (points.Result, error) {
	answer := make(chan points.Result, 1)
	l.mu.Lock()
	if l.next == nil {
		l.next = new([]chan points.Result)
		go l.serve(context.WithoutCancel(ctx), l.next)
	}
	*l.next = append(*l.next, answer)
	l.mu.Unlock()
	return <-answer, nil
}

// serve answers the callers from one read.
func (l *lookalike) serve(ctx context.Context, callers *[]chan points.Result) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()

	l.mu.Lock()
	minimum, limit := l.number, 2
	if l.fault == numberAfterUsers {
		minimum, limit = -1, 1000
	}
	if l.fault != joinsReadUnderWay {
		l.next = nil
	}
	l.mu.Unlock()

	users, _ := l.store.UsersAbove(ctx, minimum, limit)

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault == joinsReadUnderWay {
		l.next = nil
	}
	if l.fault == numberAfterUsers {
		users = above(users, l.number, 2)
	}
	previous := l.stamp()
	for i, answer := range *callers {
		if i > 0 && l.fault != oneStampForABatch {
			previous = l.stamp()
		}
		answer <- points.Result{Users: users, Previous: previous}
	}
}

// stamp returns the stamp before the one that it makes.
func (l *lookalike) stamp() time.Time {
	before := time.Time{}
	if l.last != 0 {
		before = time.UnixMicro(l.last).UTC()
	}
	l.last = max(l.last+1, time.Now().UnixMicro())
	return before
}

// tick is an engine's tick.
func (l *lookalike) tick(ctx context.Context) {
	l.place(l.cfg.MinNumber())
	l.cfg.Hooks.Tick(points.TickInfo{})
	l.update(ctx)
}

// update is an engine's Update.
func (l *lookalike) update(ctx context.Context) {
	if l.updating.TryLock() {
		defer l.updating.Unlock()
		_, _ = l.store.UpdateAll(ctx, l.cfg.Updater.Key())
	}
}

func (l *lookalike) place(number int) {
	if l.fault != numberAfterUsers && l.fault != numberDoesNotWait {
		l.turn <- struct{}{}
		defer func() { <-l.turn }()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number = number
}
