package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durationBuckets are the bounds of all duration histograms, in seconds: from 10 µs to 10 s, each about 1.4 times
// the one before, so that a percentile is exact to about a fifth.
//
//nolint:gochecknoglobals // Go has no constant slices
var durationBuckets = []float64{
	.00001, .000015, .00002, .00003, .00005, .00007, .0001, .00015, .0002, .0003, .0005, .0007,
	.001, .0015, .002, .003, .005, .007, .01, .015, .02, .03, .05, .07, .1, .15, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 7, 10,
}

// histogram returns the options of a histogram that has classic buckets, and also Prometheus' native ones, each at most
// 1.1 times as wide as the one before. Prometheus gets both, and text formats have the classic ones.
func histogram(name, help string, classic []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: classic,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// requests measures HTTP requests.
type requests struct {
	duration *prometheus.HistogramVec
	panics   prometheus.Counter

	mu    sync.RWMutex
	known map[labels]prometheus.Observer // so that no request has to build its label values; a sync.Map would allocate
}

// labels are those of a request in the histogram.
type labels struct {
	method, route string // route is "" for an unknown path
	status        int
}

func (r *requests) register(registry *prometheus.Registry) {
	r.known = make(map[labels]prometheus.Observer)
	opts := histogram("http_server_request_duration_seconds",
		"Duration of HTTP requests. Status 500 is a panic; 499, a client that closed its connection "+
			"before it had the response.",
		durationBuckets)
	opts.ConstLabels = prometheus.Labels{"url_scheme": "http"} // as the names, of OpenTelemetry's semantic conventions
	r.duration = prometheus.NewHistogramVec(opts,
		[]string{"http_request_method", "http_response_status_code", "http_route"})
	r.panics = prometheus.NewCounter(prometheus.CounterOpts{ // from 0 on, so that increase() counts the first one
		Name: "points_panics_total", Help: "Requests whose handler panicked: those with status 500.",
	})
	registry.MustRegister(r.duration, r.panics)
}

// otherMethod is the label of methods that are unknown, as the semantic conventions say.
const otherMethod = "_OTHER"

// observer returns the histogram for a request.
func (r *requests) observer(l labels) prometheus.Observer {
	r.mu.RLock()
	observer, ok := r.known[l]
	r.mu.RUnlock()
	if !ok {
		observer = r.duration.WithLabelValues(l.method, strconv.Itoa(l.status), l.route)
		r.mu.Lock()
		r.known[l] = observer
		r.mu.Unlock()
	}
	return observer
}

// Middleware measures and traces the requests that next handles. The metrics have each of the routes, which are paths,
// as a label; all other paths share an empty one.
func (t *Telemetry) Middleware(next http.Handler, routes []string) http.Handler {
	known := make(map[string]bool)
	for _, route := range routes {
		known[route] = true
	}
	writers := sync.Pool{New: func() any { return new(statusWriter) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, ctx := time.Now(), r.Context()
		l := labels{method: r.Method, route: r.URL.Path}
		if !known[l.route] {
			l.route = ""
		}
		switch l.method {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
		default:
			l.method = otherMethod // clients must not be able to add label values
		}
		var endSpan func(status int) string
		if t.exporter != nil {
			r, endSpan = t.exporter.StartRequest(r, l.method, l.route)
		}
		writer := writers.Get().(*statusWriter) //nolint:forcetypeassert // the pool has no others
		*writer = statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			took := time.Since(start)
			l.status = recordedStatus(ctx, writer.status, took)
			*writer = statusWriter{}
			writers.Put(writer)
			traceID := ""
			if endSpan != nil {
				traceID = endSpan(l.status)
			}
			observe(t.requests.observer(l), took, traceID)
			if l.status == http.StatusInternalServerError {
				t.requests.panics.Inc()
			}
		}()
		next.ServeHTTP(writer, r)
	})
}

// observe observes a duration, with the trace as its exemplar unless traceID is "".
func observe(observer prometheus.Observer, took time.Duration, traceID string) {
	if withExemplar, ok := observer.(prometheus.ExemplarObserver); ok && traceID != "" {
		withExemplar.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
		return
	}
	observer.Observe(took.Seconds())
}

// A statusWriter keeps the status of a response.
type statusWriter struct {
	http.ResponseWriter

	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
