package server

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/examples/server/internal/dashboard"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
)

func (s *Server) newDashboard(problems *dashboard.Problems) *dashboard.Dashboard {
	return dashboard.New(dashboard.Source{
		Server: dashboard.Server{
			Instance: string(s.cfg.Instance), Version: version.Module(), Started: time.Now().UTC(), Store: s.storeName(),
			MaxConnections: int64(s.cfg.MaxConnections), MaxWaiting: int64(s.cfg.MaxWaiting), Controls: s.cfg.ControlToken != "",
		},
		Metrics:  s.telemetry.Registry(),
		State:    s.updates.forPage,
		Phase:    s.queries.Phase,
		Problems: problems.Latest,
		Latest:   s.latest.read,
		Watch:    s.latest.watch,
	})
}

// storeName returns the store's name without the database's user.
func (s *Server) storeName() string {
	name := s.backend.Name()
	if at := strings.LastIndex(name, "@"); at >= 0 {
		return "PostgreSQL, " + name[at+1:]
	}
	return name
}

// A latestResponse keeps the latest response to a query while the dashboard is open. Otherwise it costs almost nothing.
type latestResponse struct {
	queries http.Handler
	watched atomic.Bool
	latest  atomic.Pointer[dashboard.Response]
}

// watch starts or stops keeping the latest response.
func (l *latestResponse) watch(on bool) {
	l.latest.Store(nil) // that of an earlier watch is not the latest any more
	l.watched.Store(on)
}

func (l *latestResponse) read() dashboard.Response {
	if latest := l.latest.Load(); latest != nil {
		return *latest
	}
	return dashboard.Response{}
}

// failed adds a failure to the latest response.
func (l *latestResponse) failed(status int) {
	for {
		old := l.latest.Load()
		var latest dashboard.Response
		if old != nil {
			latest = *old
		}
		latest.Failures++
		latest.Failed, latest.Status = time.Now().UTC(), status
		if l.latest.CompareAndSwap(old, &latest) {
			return
		}
	}
}

// ServeHTTP implements http.Handler.
func (l *latestResponse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.watched.Load() && r.URL.Path == "/" {
		w = &recordingWriter{ResponseWriter: w, latest: l}
	}
	l.queries.ServeHTTP(w, r)
}

// A recordingWriter keeps the body of a response with status 200, and counts those with status 5xx.
type recordingWriter struct {
	http.ResponseWriter

	latest *latestResponse
	ok     bool
}

func (w *recordingWriter) WriteHeader(status int) {
	w.ok = status == http.StatusOK
	if status >= http.StatusInternalServerError {
		w.latest.failed(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recordingWriter) Write(body []byte) (int, error) {
	if w.ok { // the handler of queries writes the whole body at once
		w.latest.latest.Store(&dashboard.Response{Body: bytes.Clone(body), Time: time.Now().UTC()})
	}
	return w.ResponseWriter.Write(body)
}

// Unwrap is for http.ResponseController.
func (w *recordingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
