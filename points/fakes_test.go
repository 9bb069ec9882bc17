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

// A fake is a store with the methods that a test sets. By default it finds and updates no users.
type fake struct {
	mu     sync.Mutex // guards read and update
	read   func(ctx context.Context, minimum, limit int) ([]points.User, error)
	update func(ctx context.Context, key uint64) (int64, error)

	reads, updates atomic.Int64 // number of calls
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

// An immediateFake is a fake with ImmediateReads.
type immediateFake struct{ *fake }

func (immediateFake) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}

// inBothModes runs test in a bubble for each mode of an engine: with batches, and with ImmediateReads.
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

// pass advances the bubble's clock and waits until all goroutines are blocked.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // advances the bubble's clock
	synctest.Wait()
}

// A call is a function call in its own goroutine. Its results may be read when it has returned.
type call[T any] struct {
	returned chan struct{}
	result   T
	err      error
	took     time.Duration
}

// startCall calls f in a goroutine. It returns when f blocks or has returned.
func startCall[T any](f func() (T, error)) *call[T] {
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
func startQuery(ctx context.Context, engine *points.Engine) *call[points.Result] {
	return startCall(func() (points.Result, error) { return engine.Query(ctx) })
}

// startQueries starts n queries in sequence.
func startQueries(ctx context.Context, engine *points.Engine, n int) []*call[points.Result] {
	calls := make([]*call[points.Result], n)
	for i := range calls {
		calls[i] = startQuery(ctx, engine)
	}
	return calls
}

// run starts Engine.Run. It returns the call and a function that stops it.
func run(ctx context.Context, engine *points.Engine) (*call[struct{}], context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	return startCall(func() (struct{}, error) { return struct{}{}, engine.Run(ctx) }), cancel
}

// query returns the result of a query that must succeed.
func query(t *testing.T, engine *points.Engine) points.Result {
	t.Helper()
	result, err := engine.Query(t.Context())
	require.NoError(t, err)
	return result
}

// A gate blocks pass while it is closed. The zero value is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed to release the calls of pass; nil while the gate is open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

// open releases all calls of pass, now and later.
func (g *gate) open() { g.reset(nil) }

// release releases the calls of pass that are blocked now.
func (g *gate) release() { g.reset(make(chan struct{})) }

func (g *gate) reset(shut chan struct{}) {
	g.mu.Lock()
	if g.shut != nil {
		close(g.shut)
	}
	g.shut = shut
	g.mu.Unlock()
	synctest.Wait()
}

// pass waits while the gate is closed. It returns ctx's error if ctx ends first.
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

// errStore is the error of a failing store.
var errStore = errors.New("the store is away")

// panickingStart is an UpdateStart hook.
func panickingStart(context.Context, points.UpdateInfo) context.Context { panic("no start") }
