// Package pointshttp serves the queries of a [points.Engine] over HTTP, as JSON.
//
//	handler := pointshttp.NewHandler(engine, pointshttp.Config{})
//	server := pointshttp.NewServer(handler, 5*time.Second, nil) // points.Config.QueryTimeout
//	listener, err := net.Listen("tcp", "127.0.0.1:4000")
//	// if err is nil:
//	err = pointshttp.Serve(server, listener)
//
// The [Handler] is an ordinary http.Handler: mount it in any router, behind any middleware, and serve it with any
// server. [NewServer] and [Serve] are optional: NewServer sets a timeout for every part of a request, and Serve spends
// less CPU on requests that wait for the store. The reference server, examples/server, uses both.
//
// # Responses
//
//	GET /         {"users":[{"id":7,"points":81,"inserted_at":"…","updated_at":"…"}, …],"timestamp":"…"}
//	GET /healthz  {"status":"alive"}
//	GET /readyz   {"status":"ready","waiting":0,"next_tick":"…","update":{…}}
//
// /readyz answers 503 for a second after a query has failed, unless a later one succeeds, and while Config.Ping fails.
// next_tick is absent while the engine is not running or is paused; while it is paused, /readyz has "paused":true.
// With a shared state, /readyz has "shared" as well: this instance, all instances, and the updates of all of them.
//
// Times are RFC 3339 in UTC, truncated to microseconds, with six decimals. timestamp is that of the previous query, or
// null for the engine's first query. HEAD is answered like GET, without a body; HEAD / is a query, too.
//
// Every other response of the handler is a problem (RFC 9457, application/problem+json) with a human-readable detail:
//
//	404  unknown path
//	405  a method other than GET and HEAD
//	500  a panic, which is logged
//	503  the engine is overloaded, the store is down, or the program is starting; with Retry-After
//	504  the query took longer than the engine's QueryTimeout
//
// With [Serve], a request that no handler sees, because it is not valid HTTP or its headers are too large, is answered
// with a problem, too (on Linux; in text/plain elsewhere).
//
// No response may be cached. Responses contain no errors of the store: the engine's hooks get those.
package pointshttp
