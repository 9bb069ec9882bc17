package pointshttp

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// retryAfter is the number of seconds after which a client may retry a request that got 503.
const retryAfter = "1"

// problem is a problem detail of RFC 9457. Its type is about:blank, so its title is the text of the status.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// WriteProblem answers a request with a problem (RFC 9457) of type about:blank, as a [Handler] does. The detail is one
// human-readable sentence. With status 503, the response has Retry-After: 1, in seconds.
func WriteProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail})
	if err != nil {
		panic(err) // strings and a number
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeJSON(w, problemType, status, body)
}

// Recover returns a handler that answers a request with 500 if next panics, and logs the panic to logger. It does not
// recover from http.ErrAbortHandler. The logger must not be nil. A [Handler] does this by itself.
func Recover(next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer recoverPanic(w, r, logger)
		next.ServeHTTP(w, r)
	})
}

// recoverPanic must be deferred.
func recoverPanic(w http.ResponseWriter, r *http.Request, logger *slog.Logger) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
		panic(p)
	}
	logger.ErrorContext(r.Context(), "request panicked", "panic", p, "method", r.Method, "path", r.URL.Path,
		"stack", string(debug.Stack()))
	WriteProblem(w, http.StatusInternalServerError, "Internal error; see the server's log.")
}
