package server

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// routes is the handler of all paths. It looks up paths in a map rather than in an
// http.ServeMux, which redirects some of them: the handler of queries answers all other paths, most of them with 404.
type routes struct {
	queries http.Handler
	others  map[string]http.Handler // by path
	logger  *slog.Logger

	// stopping is when the shutdown began, nil before. From then on, each response closes its connection.
	// http.Server.SetKeepAlivesEnabled would also close the connections that are idle, and a client may have just sent a
	// request on one of them.
	stopping atomic.Pointer[time.Time]

	// latestQuery is how long after stopping the latest query arrived.
	latestQuery atomic.Int64
}

func newRoutes(queries http.Handler, logger *slog.Logger) *routes {
	return &routes{queries: queries, others: make(map[string]http.Handler), logger: logger}
}

// add adds handlers by path. A request whose handler panics is answered with 500.
func (r *routes) add(handlers map[string]http.Handler) {
	for path, handler := range handlers {
		r.others[path] = pointshttp.Recover(handler, r.logger)
	}
}

// addReadOnly adds handlers of GET and HEAD by path.
func (r *routes) addReadOnly(handlers map[string]http.Handler) {
	for path, handler := range handlers {
		r.add(map[string]http.Handler{path: readOnly(handler)})
	}
}

// stop makes all further responses close their connections.
func (r *routes) stop() {
	now := time.Now()
	r.stopping.Store(&now)
}

// paths returns the paths that have a handler.
func (r *routes) paths() []string {
	return append(slices.Collect(maps.Keys(r.others)), "/", "/healthz", "/readyz")
}

// ServeHTTP implements http.Handler.
func (r *routes) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	began := r.stopping.Load()
	if began != nil {
		w.Header().Set("Connection", "close")
	}
	if request.URL.Path != "/" {
		if other, ok := r.others[request.URL.Path]; ok {
			other.ServeHTTP(w, request)
			return
		}
	} else if began != nil {
		r.latestQuery.Store(int64(time.Since(*began)))
	}
	r.queries.ServeHTTP(w, request)
}

// readOnly makes a handler answer GET and HEAD only.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			pointshttp.WriteProblem(w, http.StatusMethodNotAllowed, "This path answers GET and HEAD only.")
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}
