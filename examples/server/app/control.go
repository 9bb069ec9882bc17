package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// control answers the requests of those who have the token, by path: pause, resume, update, interval.
func (h *Handler) control(token Secret) map[string]http.Handler {
	actions := map[string]func(http.ResponseWriter, *http.Request){
		"/control/pause":    func(w http.ResponseWriter, _ *http.Request) { h.engine.Pause(); writeDone(w) },
		"/control/resume":   func(w http.ResponseWriter, _ *http.Request) { h.engine.Resume(); writeDone(w) },
		"/control/update":   h.updateNow,
		"/control/interval": h.setInterval,
	}
	handlers := make(map[string]http.Handler)
	for path, act := range actions {
		handlers[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method != http.MethodPost:
				w.Header().Set("Allow", "POST")
				writeProblem(w, http.StatusMethodNotAllowed, "This path answers POST only.")
			case !token.allows(r):
				w.Header().Set("WWW-Authenticate", "Bearer")
				writeProblem(w, http.StatusUnauthorized, "This needs the control token: Authorization: Bearer TOKEN.")
			default:
				h.logger.InfoContext(r.Context(), "control", "path", path, "from", r.RemoteAddr)
				act(w, r)
			}
		})
	}
	return handlers
}

// allows reports whether a request has the token. How long it takes tells nothing of it, nor of its length.
func (s Secret) allows(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want, got := sha256.Sum256([]byte(s)), sha256.Sum256([]byte(given))
	return ok && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// updateNow starts an update, and does not wait for it.
func (h *Handler) updateNow(w http.ResponseWriter, r *http.Request) {
	state := h.engine.State().Updater
	switch p := h.phase.Load(); {
	case p != nil:
		writeUnavailable(w, "The server is "+p.what+".")
	case !state.RunningSince.IsZero():
		writeProblem(w, http.StatusConflict, "An update runs already.")
	case state.Breaker == points.BreakerOpen:
		writeUnavailable(w, "Updates are suspended for a while, as too many have failed in a row.")
	default:
		go h.engine.Update(context.WithoutCancel(r.Context())) //nolint:errcheck // the updater logs and tells it
		writeBare(w, http.StatusAccepted)
	}
}

func (h *Handler) setInterval(w http.ResponseWriter, r *http.Request) {
	const most = 1 << 10
	var asked struct {
		Interval *Duration `json:"interval"`
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, most))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil || asked.Interval == nil {
		writeProblem(w, http.StatusBadRequest, `The body must be {"interval":"1m30s"}: a duration such as 1m30s, or whole `+
			"milliseconds, and at least 1ms.")
		return
	}
	if err := h.engine.SetInterval(time.Duration(*asked.Interval)); err != nil {
		writeProblem(w, http.StatusBadRequest, oneLine(err))
		return
	}
	writeDone(w)
}

func writeDone(w http.ResponseWriter) { writeBare(w, http.StatusNoContent) }

// writeBare writes an answer without a body.
func writeBare(w http.ResponseWriter, status int) {
	header := w.Header()
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
}
