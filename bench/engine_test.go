package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/singleflight"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// A pausingStore takes as long as a read from a database on the same machine.
type pausingStore struct {
	pause time.Duration
	users []points.User
}

func (s pausingStore) UsersAbove(context.Context, int, int) ([]points.User, error) {
	for began := time.Now(); time.Since(began) < s.pause; {
	}
	return s.users, nil
}

func (pausingStore) UpdateAll(context.Context, uint64) (int64, error) { return 0, nil }

func (pausingStore) Capabilities() points.Capabilities { return points.Capabilities{} }

// BenchmarkEngine compares ways to answer queries in one order, by number of callers, on a store whose reads take 50 µs
// of CPU:
//
//   - engine: points.Engine, where a goroutine reads for all waiters at once;
//   - mailbox: one goroutine receives queries from a channel, as a GenServer does, and drains it before each read;
//   - leader: the first waiter reads for all waiters, as in a database's group commit;
//   - lock: one read per query, under a lock;
//   - join: singleflight, which joins an in-flight read. It is not linearizable; it is here for comparison.
//
// Only the engine also provides cancellation, timeouts and timestamps.
func BenchmarkEngine(b *testing.B) {
	store := pausingStore{50 * time.Microsecond, make([]points.User, 2)}
	for _, callers := range []int{1, 10, 100, 1000} {
		for _, way := range []struct {
			name  string
			query func(context.Context) error
		}{
			{"engine", engineQuery(b, store)},
			{"mailbox", mailboxQuery(b, store)},
			{"leader", leaderQuery(store)},
			{"lock", lockQuery(store)},
			{"join", joinQuery(store)},
		} {
			b.Run(fmt.Sprintf("callers=%d/%s", callers, way.name), func(b *testing.B) { spread(b, callers, way.query) })
		}
	}
}

// BenchmarkEngineInMemory measures the engine on memstore, where each query reads for itself under a lock.
func BenchmarkEngineInMemory(b *testing.B) {
	store, err := memstore.New(users)
	require.NoError(b, err)
	_, err = store.UpdateAll(b.Context(), 1)
	require.NoError(b, err)
	for _, callers := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("callers=%d/lock", callers), func(b *testing.B) { spread(b, callers, engineQuery(b, store)) })
		b.Run(fmt.Sprintf("callers=%d/batches", callers), func(b *testing.B) {
			spread(b, callers, engineQuery(b, batchedStore{store}))
		})
	}
}

// A batchedStore hides the ImmediateReads of a store, so that the engine batches its reads.
type batchedStore struct{ points.Store }

func (batchedStore) Capabilities() points.Capabilities { return points.Capabilities{} }

// spread divides b.N queries among callers.
func spread(b *testing.B, callers int, query func(context.Context) error) {
	b.ReportAllocs()
	// Cancellable, as the context of an HTTP request is.
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := query(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func engineQuery(b *testing.B, store points.Store) func(context.Context) error {
	engine, err := points.New(store, points.Config{MinNumber: func() int { return 50 }})
	require.NoError(b, err)
	return func(ctx context.Context) error {
		_, err := engine.Query(ctx)
		return err
	}
}

func mailboxQuery(b *testing.B, store points.Store) func(context.Context) error {
	mailbox := make(chan chan error, 1000)
	stop := make(chan struct{})
	b.Cleanup(func() { close(stop) })
	go func() {
		var callers []chan error
		for {
			select {
			case <-stop:
				return
			case caller := <-mailbox:
				callers = append(callers[:0], caller)
			}
			runtime.Gosched()
			for len(mailbox) > 0 {
				callers = append(callers, <-mailbox)
			}
			_, err := store.UsersAbove(context.Background(), 50, 2)
			for _, caller := range callers {
				caller <- err
			}
		}
	}()
	pool := sync.Pool{New: func() any { return make(chan error, 1) }}
	return func(ctx context.Context) error {
		answer := pool.Get().(chan error)
		mailbox <- answer
		select {
		case err := <-answer:
			pool.Put(answer)
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func leaderQuery(store points.Store) func(context.Context) error {
	type batch struct {
		lead chan struct{} // receives one value: the token of the reader
		done chan struct{}
		err  error
	}
	open := func() *batch { return &batch{lead: make(chan struct{}, 1), done: make(chan struct{})} }
	var mu sync.Mutex
	next, reading := open(), false
	return func(ctx context.Context) error {
		mu.Lock()
		mine := next
		if !reading {
			reading = true
			mine.lead <- struct{}{}
		}
		mu.Unlock()
		select {
		case <-mine.done:
			return mine.err
		case <-ctx.Done():
			return ctx.Err()
		case <-mine.lead:
		}
		runtime.Gosched()
		mu.Lock()
		next = open()
		mu.Unlock()
		_, mine.err = store.UsersAbove(ctx, 50, 2)
		mu.Lock()
		next.lead <- struct{}{} // to the first waiter, now or later
		mu.Unlock()
		close(mine.done)
		return mine.err
	}
}

func lockQuery(store points.Store) func(context.Context) error {
	var mu sync.Mutex
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := store.UsersAbove(ctx, 50, 2)
		return err
	}
}

func joinQuery(store points.Store) func(context.Context) error {
	var reads singleflight.Group
	return func(ctx context.Context) error {
		_, err, _ := reads.Do("", func() (any, error) { return store.UsersAbove(ctx, 50, 2) })
		return err
	}
}
