// Package pointshttp serves the queries of a [points.Engine] over HTTP, as JSON.
//
//	handler := pointshttp.NewHandler(engine, pointshttp.Config{})
//	server := pointshttp.NewServer(handler, 5*time.Second, nil) // points.Config.QueryTimeout
//	listener, err := net.Listen("tcp", "127.0.0.1:4000")
//	// if err is nil:
//	err = pointshttp.Serve(server, listener)
//
// The [Handler] is an ordinary http.Handler: it can be mounted in any router, behind any middleware, and served by any
// server. [NewServer] and [Serve] are the settings and the listener that the reference server, examples/server, uses:
// timeouts for every part of a request, and less work for each request that waits for the store.
//
// # Answers
//
//	GET /         {"users":[{"id":7,"points":81,"inserted_at":"…","updated_at":"…"}, …],"timestamp":"…"}
//	GET /healthz  {"status":"alive"}
//	GET /readyz   {"status":"ready","waiting":0,"next_tick":"…","update":{…}}
//
// Times are RFC 3339 in UTC with six decimals. timestamp is that of the query before, null for the engine's first. HEAD
// is answered as GET, without a body; HEAD / is a query as well.
//
// Every other answer is a problem (RFC 9457, application/problem+json) whose detail is for people:
//
//	404  unknown path
//	405  a method other than GET and HEAD
//	500  a panic, which is logged
//	503  the engine is overloaded, the store is down, or the program is starting; with Retry-After
//	504  the query took longer than the engine's QueryTimeout
//
// No answer may be cached. None has details of the store's errors: see the engine's hooks for those.
package pointshttp
