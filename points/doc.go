// Package points answers queries about the users of a [Store] in one order, while all of them are updated in bulk.
//
//	engine, err := points.New(store, points.Config{})
//	go engine.Run(ctx)                // from now on, every minute: a new hidden number, new points for every user
//	result, err := engine.Query(ctx)  // at most 2 users above the hidden number; when the query before was stamped
//
// An [Engine] is what a GenServer is in Elixir: it owns a state, the hidden number and the time of the latest query,
// and all queries pass through it one after the other. It is not one read of the store for each of them, though: the
// callers that wait at one moment are a batch, answered from one read, each with its own stamp. So an engine gives one
// ordered, consistent stream of answers at nearly the speed of a handler that does nothing.
//
// An [Updater] gives all users new points, one update at a time, in the background. A user's points are
// [Draw](id, key), with one random key for each update: what a store makes of an update can be checked, user by user.
//
// What always holds:
//
//   - Queries have one order: the k-th is told the stamp of the one before, no two are told the same stamp, and the
//     users and the hidden number of an answer belong to one moment between its call and its return.
//   - At most one update runs, whatever fails; after a failure the next tick updates again, until repeated failures
//     open the circuit breaker, which lets a trial through after a while.
//   - An update that ends without error has reached every user exactly once.
//   - Nothing waits without a bound: not a query, not a shutdown, not an update.
//
// Stores are in packages memstore and pgstore of this module; package points/storetest tests any other. There is no
// state at package level: engines know nothing of each other.
//
// From version 1.0.0 on, what compiles goes on to compile until 2.0.0, if it names the fields of the structs that it
// makes: they may get more, and the zero value of each goes on to mean what it does now.
package points
