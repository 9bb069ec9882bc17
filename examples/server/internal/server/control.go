package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/backend"
	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A control lets clients that have the token pause and resume ticks, change their interval and start an update.
type control struct {
	token   config.Secret
	engine  *points.Engine
	queries *pointshttp.Handler
	logger  *slog.Logger
}

// handlers returns the handlers of POST requests by path.
func (c *control) handlers() map[string]http.Handler {
	actions := map[string]http.HandlerFunc{
		"/control/pause":    func(w http.ResponseWriter, _ *http.Request) { c.engine.Pause(); writeDone(w) },
		"/control/resume":   func(w http.ResponseWriter, _ *http.Request) { c.engine.Resume(); writeDone(w) },
		"/control/update":   c.update,
		"/control/interval": c.setInterval,
	}
	handlers := make(map[string]http.Handler)
	for path, act := range actions {
		handlers[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method != http.MethodPost:
				w.Header().Set("Allow", "POST")
				pointshttp.WriteProblem(w, http.StatusMethodNotAllowed, "This path answers POST only.")
			case !c.hasToken(r):
				w.Header().Set("WWW-Authenticate", "Bearer")
				pointshttp.WriteProblem(w, http.StatusUnauthorized, "This needs the control token: Authorization: Bearer TOKEN.")
			default:
				c.logger.InfoContext(r.Context(), "control", "path", path, "from", r.RemoteAddr)
				act(w, r)
			}
		})
	}
	return handlers
}

// hasToken reports whether a request has the token. The time it takes depends neither on the token nor on its length.
func (c *control) hasToken(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, got := sha256.Sum256([]byte(c.token)), sha256.Sum256([]byte(given))
	return ok && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// update starts an update and does not wait for it.
func (c *control) update(w http.ResponseWriter, r *http.Request) {
	state := c.engine.State().Updater
	switch phase := c.queries.Phase(); {
	case phase != "":
		pointshttp.WriteProblem(w, http.StatusServiceUnavailable, "The server is "+phase+".")
	case !state.RunningSince.IsZero():
		pointshttp.WriteProblem(w, http.StatusConflict, "An update is already running.")
	case state.Breaker == points.BreakerOpen:
		pointshttp.WriteProblem(w, http.StatusServiceUnavailable,
			"Updates are suspended for a while, as too many have failed in a row.")
	default:
		go c.engine.Update(context.WithoutCancel(r.Context())) //nolint:errcheck // the engine logs it
		writeBare(w, http.StatusAccepted)
	}
}

func (c *control) setInterval(w http.ResponseWriter, r *http.Request) {
	const maxBody = 1 << 10
	var request struct {
		Interval *config.Duration `json:"interval"`
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil || request.Interval == nil {
		pointshttp.WriteProblem(w, http.StatusBadRequest, `The body must be {"interval":"1m30s"}: a duration such as 1m30s, `+
			"or whole milliseconds, and at least 1ms.")
		return
	}
	if err := c.engine.SetInterval(time.Duration(*request.Interval)); err != nil {
		pointshttp.WriteProblem(w, http.StatusBadRequest, backend.OneLine(err))
		return
	}
	writeDone(w)
}

func writeDone(w http.ResponseWriter) { writeBare(w, http.StatusNoContent) }

// writeBare writes an answer without a body.
func writeBare(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}
