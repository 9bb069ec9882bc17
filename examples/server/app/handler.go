package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pointsapp/pointsapp/points"
)

// A Handler answers queries of an engine over HTTP:
//
//   - GET / with a query's answer, as JSON;
//   - GET /healthz with 200: it is alive;
//   - GET /readyz with 200 and what the engine does, or with 503 and why it cannot answer now;
//   - GET /updates, in a [Server], with 200 and when the latest updates ran;
//   - HEAD for GET; anything else with 404 or 405. Errors are application/problem+json (RFC 9457).
//
// It is safe for concurrent use.
type Handler struct {
	engine  *points.Engine
	probe   probe
	updates *updates                // nil: not told
	more    map[string]http.Handler // by path: what else a Server answers
	logger  *slog.Logger

	phase   atomic.Pointer[phase] // nil: it serves
	watched atomic.Bool           // somebody wants to see the latest answer
	latest  atomic.Pointer[[]byte]
	users   atomic.Pointer[encodedUsers]
	buffers sync.Pool // of *[]byte
}

// A phase is what a server does when it does not simply serve.
type phase struct {
	what    string
	refuses bool // queries are not answered
}

// NewHandler returns a handler of engine's queries. It asks ping, which may be nil, whether the store can be reached,
// when /readyz is asked for: at most every half second, for 2 seconds at most.
func NewHandler(engine *points.Engine, ping func(context.Context) error) *Handler {
	h := &Handler{
		engine: engine, probe: probe{ping: ping}, more: make(map[string]http.Handler), logger: slog.New(slog.DiscardHandler),
	}
	h.users.Store(encodeUsers([]points.User{}))
	h.buffers.New = func() any { return new([]byte) }
	return h
}

// Starting makes the handler answer queries, and /readyz, with 503 and what is being done, until Serving is called.
func (h *Handler) Starting(what string) { h.phase.Store(&phase{"starting: " + what, true}) }

// Serving makes the handler answer queries. A new handler does.
func (h *Handler) Serving() { h.phase.Store(nil) }

// Stopping makes the handler answer /readyz with 503. Queries are answered if they were before.
func (h *Handler) Stopping() {
	before := h.phase.Load()
	h.phase.Store(&phase{"shutting down", before != nil && before.refuses})
}

// Headers are shared by all answers, which do not change them. Content-Length is set by net/http, at no cost.
//
//nolint:gochecknoglobals // constants, if slices could be
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"} // every answer is another one
	noSniff     = []string{"nosniff"}
)

// ServeHTTP implements http.Handler. A panic is logged, and answered with 500.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.guard(w, r)
	switch r.URL.Path {
	case "/", "": // "" is the path of GET http://host
		if allowed(w, r) {
			h.query(w, r)
		}
	case "/healthz":
		if allowed(w, r) {
			writeJSON(w, jsonType, http.StatusOK, []byte(`{"status":"alive"}`))
		}
	case "/readyz":
		if allowed(w, r) {
			h.readyz(w, r)
		}
	case "/updates":
		if h.updates == nil {
			writeNotFound(w)
		} else if allowed(w, r) {
			h.updates.serve(w)
		}
	default:
		if other, ok := h.more[r.URL.Path]; ok {
			other.ServeHTTP(w, r)
			return
		}
		writeNotFound(w)
	}
}

// paths returns what there is to be asked for.
func (h *Handler) paths() []string {
	return append(slices.Collect(maps.Keys(h.more)), "/", "/healthz", "/readyz", "/updates")
}

// readOnly makes a handler answer GET and HEAD alone.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allowed(w, r) {
			w.Header()["X-Content-Type-Options"] = noSniff
			next.ServeHTTP(w, r)
		}
	})
}

// guard keeps a panic from the client, who would be left without an answer.
func (h *Handler) guard(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p) // nobody is there to be answered
	}
	h.logger.ErrorContext(r.Context(), "a request panicked", "panic", p, "method", r.Method, "path", r.URL.Path,
		"stack", string(debug.Stack()))
	writeProblem(w, http.StatusInternalServerError, "The server has made a mistake. It is in its log.")
}

// allowed answers a request whose method is none of ours.
func allowed(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	writeProblem(w, http.StatusMethodNotAllowed, "This path answers GET and HEAD only.")
	return false
}

func (h *Handler) query(w http.ResponseWriter, r *http.Request) {
	if p := h.phase.Load(); p != nil && p.refuses {
		writeUnavailable(w, "The server is "+p.what+".")
		return
	}
	ctx, cancel := queryContext(r)
	defer cancel()
	result, err := h.engine.Query(ctx)
	if err != nil {
		writeQueryError(ctx, w, err)
		return
	}
	buffer := h.buffers.Get().(*[]byte) //nolint:forcetypeassert // New makes them
	*buffer = h.appendResult((*buffer)[:0], result)
	writeJSON(w, jsonType, http.StatusOK, *buffer)
	if h.watched.Load() {
		latest := bytes.Clone(*buffer)
		h.latest.Store(&latest)
	}
	h.buffers.Put(buffer)
}

// writeQueryError writes what a client may know of a query's error. Details of the store are in the log alone. ctx is
// the query's context.
func writeQueryError(ctx context.Context, w http.ResponseWriter, err error) {
	switch {
	case ctx.Err() == context.Canceled: //nolint:errorlint // a context's error is never wrapped
		panic(http.ErrAbortHandler) // the client has gone; without the panic, net/http would send an empty 200
	case errors.Is(err, points.ErrOverloaded):
		writeUnavailable(w, "Too many queries are waiting. Try again later.")
	case errors.Is(err, points.ErrQueryTimeout), ctx.Err() != nil:
		writeProblem(w, http.StatusGatewayTimeout, "The users could not be read in time. Try again later.")
	default:
		writeUnavailable(w, "The users cannot be read at the moment. Try again later.")
	}
}

func writeJSON(w http.ResponseWriter, contentType []string, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client went away
}
