package pointshttp

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/pointsapp/pointsapp/points"
)

// Config configures a [Handler]. The zero value of each field means its default.
type Config struct {
	// Ping reports whether the store can answer queries, for GET /readyz. It is called at most every half second, one call
	// at a time, with a timeout of 2 seconds. The default is nil: the store is never pinged.
	Ping func(context.Context) error

	// Logger logs panics. The default is slog.Default().
	Logger *slog.Logger
}

// A Handler answers GET / with the result of a query to its engine, GET /healthz with 200 while the program runs, and
// GET /readyz with 200 if it can answer queries: it is serving, its latest read did not fail within the last second,
// and Config.Ping succeeds. The package documentation shows the responses.
//
// A query ends when its client resets the connection or the request's deadline passes. It does not end when the client
// closes only the sending side of the connection, although net/http then cancels the request's context: such a client
// still waits for the response.
//
// It is safe for concurrent use.
type Handler struct {
	engine *points.Engine
	pinger pinger
	logger *slog.Logger

	phase   atomic.Pointer[phase] // nil: it serves
	users   atomic.Pointer[encodedUsers]
	buffers sync.Pool // of *[]byte
}

// NewHandler returns a handler for engine. Engine.Run need not have been called yet.
func NewHandler(engine *points.Engine, cfg Config) *Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	h := &Handler{engine: engine, pinger: pinger{pingStore: cfg.Ping}, logger: cfg.Logger}
	h.users.Store(encodeUsers([]points.User{}))
	h.buffers.New = func() any { return new([]byte) }
	return h
}

// ServeHTTP implements http.Handler. A panic is logged, and answered with 500.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer recoverPanic(w, r, h.logger)
	var handle func(http.ResponseWriter, *http.Request)
	switch r.URL.Path {
	case "/", "": // "" is the path of GET http://host
		handle = h.query
	case "/healthz":
		handle = alive
	case "/readyz":
		handle = h.readyz
	default:
		WriteProblem(w, http.StatusNotFound, "There is nothing at this path.")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		WriteProblem(w, http.StatusMethodNotAllowed, "This path answers GET and HEAD only.")
		return
	}
	handle(w, r)
}

func alive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, jsonType, http.StatusOK, []byte(`{"status":"alive"}`))
}

func (h *Handler) query(w http.ResponseWriter, r *http.Request) {
	if p := h.phase.Load(); p != nil && p.rejectsQueries {
		WriteProblem(w, http.StatusServiceUnavailable, "The server is "+p.name+".")
		return
	}
	ctx, cancel := queryContext(r.Context(), r.ProtoMajor)
	defer cancel()
	result, err := h.engine.Query(ctx)
	if err != nil {
		writeQueryError(ctx, w, err)
		return
	}
	buffer := h.buffers.Get().(*[]byte) //nolint:forcetypeassert // New makes them
	*buffer = h.appendResult((*buffer)[:0], result)
	writeJSON(w, jsonType, http.StatusOK, *buffer)
	h.buffers.Put(buffer)
}

// writeQueryError answers a failed query without details of the store, which are for the log only. ctx is the query's
// context.
func writeQueryError(ctx context.Context, w http.ResponseWriter, err error) {
	switch {
	case ctx.Err() == context.Canceled:
		panic(http.ErrAbortHandler) // the client has gone; without the panic, net/http would send an empty 200
	case errors.Is(err, points.ErrOverloaded):
		WriteProblem(w, http.StatusServiceUnavailable, "Too many queries are waiting. Try again later.")
	case errors.Is(err, points.ErrQueryTimeout), ctx.Err() != nil:
		WriteProblem(w, http.StatusGatewayTimeout, "The users could not be read in time. Try again later.")
	default:
		WriteProblem(w, http.StatusServiceUnavailable, "The users cannot be read at the moment. Try again later.")
	}
}

// Headers are shared by all responses, which do not change them. Content-Length is set by net/http, at no cost.
//
//nolint:gochecknoglobals // Go has no constant slices
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"} // every response differs
	noSniff     = []string{"nosniff"}
)

func writeJSON(w http.ResponseWriter, contentType []string, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client has gone
}
