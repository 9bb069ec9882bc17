// Package linearizability checks that the queries of a points.Engine are linearizable: it records a history of queries,
// min numbers and updates, and decides whether one order explains all results. It works with any store, and also
// through HTTP.
//
//	recorder := linearizability.New(users) // the users of the store
//	engine, err := points.New(recorder.Store(store), recorder.Config(points.Config{}))
//	// ... run the engine; from many goroutines:
//	recorder.Query(func() (points.Result, error) { return engine.Query(ctx) })
//	// ... when all calls have returned:
//	err = recorder.Check()
//
// [Test] does all of this. A [ClientHistory] is recorded from outside of the engines instead, which may be several
// processes with one shared state.
//
// The check follows each user, so it needs a store of few users.
package linearizability
