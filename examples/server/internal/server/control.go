package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
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
		"/control/pause":    c.pause,
		"/control/resume":   c.resume,
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
				act(w, r)
			}
		})
	}
	return handlers
}

// hasToken reports whether a request has the token. The time it takes depends neither on the token nor on its length.
func (c *control) hasToken(r *http.Request) bool {
	scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	ok = ok && strings.EqualFold(scheme, "Bearer")
	given = strings.TrimLeft(given, " ")
	want, got := sha256.Sum256([]byte(c.token)), sha256.Sum256([]byte(given))
	return ok && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// update starts an update and does not wait for it.
func (c *control) update(w http.ResponseWriter, r *http.Request) {
	state := c.engine.State()
	switch phase := c.queries.Phase(); {
	case phase != "":
		c.reject(w, r, http.StatusServiceUnavailable, "The server is "+phase+".")
	case runsElsewhere(state):
		c.reject(w, r, http.StatusConflict, "An update is already running, on another server.")
	default:
		c.startUpdate(w, r)
	}
}

func (c *control) startUpdate(w http.ResponseWriter, r *http.Request) {
	started, failed := make(chan struct{}), make(chan error, 1)
	ctx := context.WithValue(context.WithoutCancel(r.Context()), updateStartedKey{}, func() { close(started) })
	go func() {
		_, err := c.engine.Update(ctx) // the engine logs its error
		failed <- err
	}()
	var err error
	select {
	case <-started:
	case err = <-failed: // without a start, or after it
	}
	switch {
	case errors.Is(err, points.ErrUpdateRunning):
		c.reject(w, r, http.StatusConflict, "An update is already running.")
	case errors.Is(err, points.ErrBreakerOpen):
		c.reject(w, r, http.StatusServiceUnavailable,
			"The circuit breaker is open, because too many updates in a row have failed.")
	default:
		c.accept(w, r, http.StatusAccepted)
	}
}

// updateStartedKey is the key of a func() in the context of an update: updateStarted calls it.
type updateStartedKey struct{}

// updateStarted is for points.Hooks.UpdateStart.
func updateStarted(ctx context.Context, _ points.UpdateInfo) context.Context {
	if started, ok := ctx.Value(updateStartedKey{}).(func()); ok {
		started()
	}
	return ctx
}

// runsElsewhere reports whether another server with the same state runs an update, as of the latest status.
func runsElsewhere(state points.State) bool {
	if state.Shared == nil {
		return false
	}
	running, ok := state.Shared.Running()
	return ok && running.InstanceID != state.InstanceID
}

//nolint:contextcheck // a change of the schedule outlives its request
func (c *control) pause(w http.ResponseWriter, r *http.Request) { c.schedule(w, r, c.engine.Pause()) }

//nolint:contextcheck // the same
func (c *control) resume(w http.ResponseWriter, r *http.Request) { c.schedule(w, r, c.engine.Resume()) }

func (c *control) setInterval(w http.ResponseWriter, r *http.Request) {
	const maxBody = 1 << 10
	var request struct {
		Interval *jsonDuration `json:"interval"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&request)
	if _, trailing := decoder.Token(); err != nil || trailing != io.EOF || request.Interval == nil {
		c.reject(w, r, http.StatusBadRequest, `The body must be {"interval":"1m30s"}, a duration with a unit, or `+
			`{"interval":90000}, whole milliseconds, and at least 1ms.`)
		return
	}
	interval := time.Duration(request.Interval.Duration)
	err = c.engine.SetInterval(interval) //nolint:contextcheck // the same
	if errors.Is(err, points.ErrInvalidInterval) {
		c.reject(w, r, http.StatusBadRequest, backend.OneLine(err))
		return
	}
	if took := latestDuration(c.engine.State()); err == nil && interval < max(took, time.Second) {
		c.logger.WarnContext(r.Context(), "the interval is shorter than an update may take: ticks are skipped while one runs",
			"interval", interval, "latest_update", took)
	}
	c.schedule(w, r, err, "interval", interval)
}

// latestDuration returns how long the latest successful update took; 0 if there was none.
func latestDuration(state points.State) time.Duration {
	if state.Shared != nil {
		return state.Shared.LastSuccess.Duration
	}
	return state.Updater.LastSuccess.Duration
}

// schedule answers a request that has changed the schedule, or has failed to: only a shared state fails.
func (c *control) schedule(w http.ResponseWriter, r *http.Request, err error, args ...any) {
	if err != nil {
		c.logger.WarnContext(r.Context(), "control request failed", "path", r.URL.Path, "error", backend.OneLine(err))
		c.reject(w, r, http.StatusServiceUnavailable, "The database does not answer: the change may have been made or not.")
		return
	}
	c.accept(w, r, http.StatusNoContent, args...)
}

// A jsonDuration is a config.Duration: a JSON string with a unit, or a JSON number of milliseconds.
type jsonDuration struct{ config.Duration }

// UnmarshalJSON implements json.Unmarshaler.
func (d *jsonDuration) UnmarshalJSON(value []byte) error {
	var text string
	if json.Unmarshal(value, &text) == nil {
		if _, err := strconv.Atoi(text); err == nil { // "20" may be meant as seconds
			return errors.New("a string needs a unit")
		}
	} else {
		text = string(value)
		if number, err := strconv.ParseFloat(text, 64); err == nil && number == math.Trunc(number) { // 5e3 or 5000.0
			text = strconv.FormatFloat(number, 'f', -1, 64)
		}
	}
	return d.UnmarshalText([]byte(text))
}

// reject logs that a request was rejected, and answers it with a problem.
func (c *control) reject(w http.ResponseWriter, r *http.Request, status int, detail string) {
	c.logger.InfoContext(r.Context(), "control request rejected", "path", r.URL.Path, "from", r.RemoteAddr,
		"status", status, "reason", detail)
	pointshttp.WriteProblem(w, status, detail)
}

// accept logs a request that has had its effect, and answers it without a body.
func (c *control) accept(w http.ResponseWriter, r *http.Request, status int, args ...any) {
	c.logger.InfoContext(r.Context(), "control", append([]any{"path", r.URL.Path, "from", r.RemoteAddr}, args...)...)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}
