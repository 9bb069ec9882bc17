package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/pointsapp/pointsapp/examples/server/internal/dashboard"
)

// newDashboard returns the dashboard of the server.
func (s *Server) newDashboard(problems *lastLines) *dashboard.Dashboard {
	return dashboard.New(dashboard.Source{
		Metrics:  s.telemetry.Registry(),
		State:    s.engine.State,
		Phase:    s.queries.Phase,
		Updates:  func() any { return s.updates.last(20) },
		Problems: problems.read,
		Latest:   s.latest.read,
		Watch:    s.latest.watch,
		Controls: s.cfg.ControlToken != "",
	})
}

// A latestAnswer keeps the latest answer to a query while the dashboard is open, and costs next to nothing otherwise.
type latestAnswer struct {
	queries http.Handler
	watched atomic.Bool
	body    atomic.Pointer[[]byte]
}

// watch starts or stops keeping the latest answer.
func (l *latestAnswer) watch(on bool) {
	l.body.Store(nil) // that of an earlier watch is not the latest any more
	l.watched.Store(on)
}

func (l *latestAnswer) read() json.RawMessage {
	if body := l.body.Load(); body != nil {
		return *body
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (l *latestAnswer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.watched.Load() && r.URL.Path == "/" {
		w = &keepingWriter{ResponseWriter: w, latest: l}
	}
	l.queries.ServeHTTP(w, r)
}

// A keepingWriter keeps the body of an answer with status 200.
type keepingWriter struct {
	http.ResponseWriter

	latest *latestAnswer
	ok     bool
}

func (w *keepingWriter) WriteHeader(status int) {
	w.ok = status == http.StatusOK
	w.ResponseWriter.WriteHeader(status)
}

func (w *keepingWriter) Write(body []byte) (int, error) {
	if w.ok { // the handler of queries writes the whole body at once
		kept := bytes.Clone(body)
		w.latest.body.Store(&kept)
	}
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *keepingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
