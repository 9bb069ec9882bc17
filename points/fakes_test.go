package points_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// fake is a store that does what the test says; where it says nothing, it finds and updates no users.
type fake struct {
	mu     sync.Mutex // guards what the test says, so that it may say so at any time
	read   func(ctx context.Context, minimum, limit int) ([]points.User, error)
	update func(ctx context.Context, key uint64) (int64, error)

	reads, updates atomic.Int64 // calls so far
}

func (f *fake) onRead(read func(ctx context.Context, minimum, limit int) ([]points.User, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = read
}

func (f *fake) onUpdate(update func(ctx context.Context, key uint64) (int64, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.update = update
}

func (f *fake) UsersAbove(ctx context.Context, minimum, limit int) ([]points.User, error) {
	f.reads.Add(1)
	f.mu.Lock()
	read := f.read
	f.mu.Unlock()
	if read == nil {
		return nil, nil
	}
	return read(ctx, minimum, limit)
}

func (f *fake) Capabilities() points.Capabilities { return points.Capabilities{} }

func (f *fake) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	f.updates.Add(1)
	f.mu.Lock()
	update := f.update
	f.mu.Unlock()
	if update == nil {
		return 0, nil
	}
	return update(ctx, key)
}

// immediateFake is a fake whose reads an engine takes to be immediate.
type immediateFake struct{ *fake }

func (immediateFake) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}

// inBothModes runs test in a bubble for each way in which an engine reads: in batches, and each caller for itself.
func inBothModes(t *testing.T, test func(t *testing.T, mode func(*fake) points.Store)) {
	t.Run("batches", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, func(f *fake) points.Store { return f }) })
	})
	t.Run("immediate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, func(f *fake) points.Store { return immediateFake{f} }) })
	})
}

func newEngine(t require.TestingT, store points.Store, cfg points.Config) *points.Engine {
	engine, err := points.New(store, cfg)
	require.NoError(t, err)
	return engine
}

// An updater is an engine that is used for its updates alone.
type updater struct{ *points.Engine }

func newUpdater(t require.TestingT, store points.Store, cfg points.Config) updater {
	return updater{newEngine(t, store, cfg)}
}

func (u updater) State() points.UpdaterState { return u.Engine.State().Updater }

// pass lets a bubble's time pass, and all that happens at its end happen.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // moves a bubble's clock
	synctest.Wait()
}

// A call is a call in a goroutine of its own. Its results may be read once it has returned.
type call[T any] struct {
	returned chan struct{}
	result   T
	err      error
	took     time.Duration
}

// start calls f, and returns once it blocks or has returned.
func start[T any](f func() (T, error)) *call[T] {
	c := &call[T]{returned: make(chan struct{})}
	begin := time.Now()
	go func() {
		defer close(c.returned)
		c.result, c.err = f()
		c.took = time.Since(begin)
	}()
	synctest.Wait()
	return c
}

func (c *call[T]) hasReturned() bool {
	select {
	case <-c.returned:
		return true
	default:
		return false
	}
}

// ask starts a query.
func ask(ctx context.Context, engine *points.Engine) *call[points.Result] {
	return start(func() (points.Result, error) { return engine.Query(ctx) })
}

// askInTurn starts n queries, one after the other.
func askInTurn(ctx context.Context, engine *points.Engine, n int) []*call[points.Result] {
	calls := make([]*call[points.Result], n)
	for i := range calls {
		calls[i] = ask(ctx, engine)
	}
	return calls
}

// run starts the engine and returns it running, and what stops it.
func run(ctx context.Context, engine *points.Engine) (*call[struct{}], context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	return start(func() (struct{}, error) { return struct{}{}, engine.Run(ctx) }), cancel
}

// query returns the answer to a query that must not fail.
func query(t *testing.T, engine *points.Engine) points.Result {
	t.Helper()
	result, err := engine.Query(t.Context())
	require.NoError(t, err)
	return result
}

// A gate holds up those who pass it, until they are let through. Its zero value is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when those who wait may pass; nil while the gate is open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

// open lets everybody pass from now on.
func (g *gate) open() { g.let(nil) }

// letThrough lets those pass who wait now.
func (g *gate) letThrough() { g.let(make(chan struct{})) }

func (g *gate) let(shut chan struct{}) {
	g.mu.Lock()
	if g.shut != nil {
		close(g.shut)
	}
	g.shut = shut
	g.mu.Unlock()
	synctest.Wait()
}

// pass waits until the gate lets it through, or returns ctx's error if that ends first.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errStore is what a failing store fails with.
var errStore = errors.New("the store is away")

// noStart is a hook that panics.
func noStart(context.Context, points.UpdateInfo) context.Context { panic("no start") }
