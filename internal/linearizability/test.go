package linearizability

import (
	"context"
	"sync"
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
	ctx, stop := context.WithCancel(t.Context())
	var run, clientsDone sync.WaitGroup
	run.Go(func() {
		if err := engine.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range clients {
		query := connect(engine)
		clientsDone.Go(func() {
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
		})
	}
	clientsDone.Wait()
	stop()
	run.Wait()
	if engine.State().Ticks == 0 {
		t.Error("linearizability: there was no tick during the queries")
	}
	if err := recorder.Check(); err != nil {
		t.Error(err)
	}
}
