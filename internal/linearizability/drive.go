package linearizability

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// Drive has 8 clients query an engine on store, each by a way of its own from connect, while ticks and updates come as
// fast as they can; then it judges the history. The store must hold users, and nothing else.
func Drive(
	t testing.TB, store points.Store, users []points.User,
	connect func(*points.Engine) func(context.Context) (points.Result, error),
) {
	t.Helper()
	const clients, queries = 8, 60 // at least
	recorder := New(users)
	engine, err := points.New(recorder.Store(store), recorder.Config(points.Config{Interval: time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running, asking sync.WaitGroup
	running.Go(func() {
		if err := engine.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range clients {
		ask := connect(engine)
		asking.Go(func() {
			pause := 100 * time.Microsecond // a store in memory would answer all of them before the first tick
			for n := 0; n < queries || engine.State().Updater.LastSuccess.Users == 0 && !t.Failed(); n++ {
				if n == queries {
					pause = 10 * time.Millisecond // the machine is busy: an update has yet to succeed
				}
				if _, err := recorder.Query(func() (points.Result, error) { return ask(t.Context()) }); err != nil {
					t.Error(err)
				}
				<-time.After(pause)
			}
		})
	}
	asking.Wait()
	stop()
	running.Wait()
	if engine.State().Ticks == 0 {
		t.Error("history: no tick came beside the queries")
	}
	if err := recorder.Check(); err != nil {
		t.Error(err)
	}
}
