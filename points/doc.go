// Package points answers queries from a large table of users while all of them are updated in bulk.
//
// # Usage
//
// Create a [Store] and an [Engine] for it, and run the engine until the program ends:
//
//	store, err := memstore.New(1_000_000)
//	engine, err := points.New(store, points.Config{UpdateOnStart: true})
//	go engine.Run(ctx) // now and every minute: a new min number, and new points for every user
//
// Then query it, from any number of goroutines:
//
//	result, err := engine.Query(ctx)
//	// result.Users: at most 2 users with more points than the min number
//	// result.PreviousTimestamp: the timestamp of the query before this one
//
// # Engine
//
// An [Engine] owns the min number and the timestamp of the latest query, and puts all queries in one order. It does not
// read the store once per query: the queries that wait at the same moment form a batch, which is answered from one
// read, each query with its own timestamp. So with many queries at once, throughput is close to that of
// a handler that writes fixed bytes.
//
// At each tick the engine draws a new min number and starts an update, which gives every user new points. A user's
// points are [Draw](id, key), with one random key per update. So the result of an update can be verified user by user,
// and a part of it can be retried.
//
// # Several processes
//
// If the store has a [SharedState], as pgstore's can have, all engines with the same one act as one engine, in any
// number of processes: one order of queries, one tick per interval, and one update per tick. The state outlives the
// processes. Without one, each engine has its own order, min number and ticks, which end with it.
//
// # Guarantees
//
//   - Queries are linearizable: each returns the timestamp of the query before it, no timestamp is returned twice, and
//     the users and the min number of a result belong to one moment between its call and its return. With a SharedState
//     that holds for the queries of all its engines.
//   - At most one update runs, whatever fails. After a failed update the next tick starts another one. Repeated
//     failures open a circuit breaker: then at most every other tick starts one.
//   - An update that returns no error has updated every user exactly once.
//   - Queries, updates and shutdown have timeouts.
//
// # Stores
//
// Package memstore keeps users in memory, package pgstore in a PostgreSQL table. Package [storetest] tests any other
// store.
//
// # Compatibility
//
// From version 1.0.0 on, code that compiles keeps compiling until 2.0.0, provided that it names the fields in struct
// literals: structs may get more fields. The zero value of a new field keeps the behaviour.
//
// [storetest]: https://pkg.go.dev/github.com/pointsapp/pointsapp/points/storetest
package points
