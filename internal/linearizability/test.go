package linearizability

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// Test runs an engine on store with ticks and updates as fast as possible, queries it with 8 concurrent clients, and
// checks the history. connect returns the query function of one client. The store must hold exactly users.
func Test(
	t testing.TB, store points.Store, users []points.User,
	connect func(*points.Engine) func(context.Context) (points.Result, error),
) {
	t.Helper()
	const clients, queries = 8, 60 // each at least
	recorder := New(users)
	engine, err := points.New(recorder.Store(store), recorder.Config(points.Config{Interval: time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	queryAll := func(query func(context.Context) (points.Result, error)) {
		pause := 100 * time.Microsecond // without it, a store in memory answers all queries before the first tick
		for n := 0; n < queries || engine.State().Updater.LastSuccess.Users == 0 && !t.Failed(); n++ {
			if n == queries {
				pause = 10 * time.Millisecond // the machine is busy: no update has succeeded yet
			}
			if _, err := recorder.Query(func() (points.Result, error) { return query(t.Context()) }); err != nil {
				t.Error(err)
			}
			<-time.After(pause)
		}
	}
	connected := make([]func(), clients)
	for i := range connected {
		query := connect(engine)
		connected[i] = func() { queryAll(query) }
	}
	runWithClients(t, engine, connected)
	if engine.State().Ticks == 0 {
		t.Error("linearizability: there was no tick during the queries")
	}
	if err := recorder.Check(); err != nil {
		t.Error(err)
	}
}

// TestShared runs three engines, with one shared state, on stores opened by open. 9 concurrent clients query them, and
// each engine is restarted three times. It checks their common history. The stores must hold exactly users, and their
// shared state must be new.
func TestShared(t testing.TB, open func() points.Store, users []points.User) {
	t.Helper()
	const interval, engines, runs, clients, queries = 2 * time.Millisecond, 3, 3, 3, 20
	recorder := New(users)
	first := recorder.Store(open()).Capabilities().SharedState
	if result, err := first.Sync(t.Context(), points.SyncRequest{
		Instance: "test", Starting: true, TickNow: true, Interval: interval, MinNumber: initialMinNumber,
	}); err != nil || !result.Claimed {
		t.Fatalf("linearizability: the first tick was not claimed: %v", err)
	}
	var running sync.WaitGroup
	var ticks, updates atomic.Uint64
	for range engines {
		engine, err := points.New(recorder.Store(open()), recorder.Config(points.Config{Interval: interval}))
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			each := slices.Repeat([]func(){func() { queryEach(t, recorder, engine, queries) }}, clients)
			for range runs {
				runWithClients(t, engine, each)
			}
			runWithClients(t, engine, []func(){func() { awaitUpdate(t, engine) }})
			ticks.Add(engine.State().Ticks)
			updates.Add(uint64(max(0, engine.State().Updater.LastSuccess.Users)))
		})
	}
	running.Wait()
	if ticks.Load() == 0 || updates.Load() == 0 {
		t.Errorf("linearizability: there were %d ticks, and %d users were updated", ticks.Load(), updates.Load())
	}
	if err := recorder.Check(); err != nil {
		t.Error(err)
	}
}

// awaitUpdate waits until an update has succeeded on any engine: on a busy machine, all may have been cancelled.
func awaitUpdate(t testing.TB, engine *points.Engine) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for engine.State().Shared.LastSuccess.Users == 0 && ctx.Err() == nil {
		<-time.After(time.Millisecond)
	}
}

const initialMinNumber = 50

// runWithClients runs an engine until all clients, which run concurrently, have returned.
func runWithClients(t testing.TB, engine *points.Engine, clients []func()) {
	ctx, stop := context.WithCancel(t.Context())
	var run, clientsDone sync.WaitGroup
	run.Go(func() {
		if err := engine.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, client := range clients {
		clientsDone.Go(client)
	}
	clientsDone.Wait()
	stop()
	run.Wait()
}

// queryEach makes some queries with short pauses.
func queryEach(t testing.TB, recorder *Recorder, engine *points.Engine, queries int) {
	for range queries {
		if _, err := recorder.Query(func() (points.Result, error) { return engine.Query(t.Context()) }); err != nil {
			t.Error(err)
		}
		<-time.After(rand.N(500 * time.Microsecond))
	}
}
