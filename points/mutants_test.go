package points_test

import (
	"context"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A fault makes a mutant incorrect.
type fault string

const (
	none                 fault = "none"
	joinsReadInFlight    fault = "a query during a read gets the result of that read"
	oneTimestampPerBatch fault = "the queries of a batch share one timestamp"
	minNumberAfterUsers  fault = "the min number is looked up after the users"
	minNumberDuringRead  fault = "the min number changes during a read"
)

// A mutant is a minimal engine, as someone might write it, with one fault or none. A linearizability check that is worth
// its name must reject each faulty one.
type mutant struct {
	store    points.Store
	cfg      points.Config
	fault    fault
	inFlight chan struct{} // full while a read is in flight

	updating sync.Mutex

	mu            sync.Mutex
	minNumber     int
	lastTimestamp int64 // in µs since 1970
	next          *[]chan points.Result
}

func newMutant(store points.Store, cfg points.Config, fault fault) *mutant {
	return &mutant{store: store, cfg: cfg, fault: fault, inFlight: make(chan struct{}, 1), minNumber: cfg.MinNumber()}
}

func (m *mutant) Query(ctx context.Context) (points.Result, error) {
	result := make(chan points.Result, 1)
	m.mu.Lock()
	if m.next == nil {
		m.next = new([]chan points.Result)
		go m.serve(context.WithoutCancel(ctx), m.next)
	}
	*m.next = append(*m.next, result)
	m.mu.Unlock()
	return <-result, nil
}

// serve answers a batch from one read.
func (m *mutant) serve(ctx context.Context, batch *[]chan points.Result) {
	m.inFlight <- struct{}{}
	defer func() { <-m.inFlight }()

	m.mu.Lock()
	minimum, limit := m.minNumber, 2
	if m.fault == minNumberAfterUsers {
		minimum, limit = -1, 1000
	}
	if m.fault != joinsReadInFlight {
		m.next = nil
	}
	m.mu.Unlock()

	users, _ := m.store.UsersAbove(ctx, minimum, limit)

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == joinsReadInFlight {
		m.next = nil
	}
	if m.fault == minNumberAfterUsers {
		users = above(users, m.minNumber, 2)
	}
	previous := m.advance()
	for i, result := range *batch {
		if i > 0 && m.fault != oneTimestampPerBatch {
			previous = m.advance()
		}
		result <- points.Result{Users: users, PreviousTimestamp: previous}
	}
}

// advance makes a new timestamp and returns the one before it.
func (m *mutant) advance() time.Time {
	previous := time.Time{}
	if m.lastTimestamp != 0 {
		previous = time.UnixMicro(m.lastTimestamp).UTC()
	}
	m.lastTimestamp = max(m.lastTimestamp+1, time.Now().UnixMicro())
	return previous
}

func (m *mutant) tick(ctx context.Context) {
	m.setMinNumber(m.cfg.MinNumber())
	m.cfg.Hooks.Tick(points.TickInfo{})
	m.update(ctx)
}

func (m *mutant) update(ctx context.Context) {
	if m.updating.TryLock() {
		defer m.updating.Unlock()
		_, _ = m.store.UpdateAll(ctx, m.cfg.Updater.Key())
	}
}

func (m *mutant) setMinNumber(number int) {
	if m.fault != minNumberAfterUsers && m.fault != minNumberDuringRead {
		m.inFlight <- struct{}{}
		defer func() { <-m.inFlight }()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.minNumber = number
}
