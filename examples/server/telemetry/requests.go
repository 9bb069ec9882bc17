package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// seconds are the buckets of all durations: from 0.1 ms to 10 s, each about one and a half times the one before, so
// that a percentile can be told within a fifth.
//
//nolint:gochecknoglobals // a constant, if slices could be
var seconds = metric.WithExplicitBucketBoundaries(
	.0001, .00015, .0002, .0003, .0005, .0007, .001, .0015, .002, .003, .005, .007,
	.01, .015, .02, .03, .05, .07, .1, .15, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 7, 10)

// requests measures requests.
type requests struct {
	duration metric.Float64Histogram

	mu    sync.RWMutex
	known map[request][]metric.RecordOption // not a sync.Map, which would allocate each time it is asked
}

// A request is what of one is told apart.
type request struct {
	method, route string
	status        int
}

func (r *requests) create(meter metric.Meter) (err error) {
	r.known = make(map[request][]metric.RecordOption)
	r.duration, err = meter.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP requests. Status 500 is a panic; 499 is a client that closed its connection before it had the answer."), seconds)
	return err
}

func (r *requests) record(ctx context.Context, what request, took time.Duration) {
	r.duration.Record(ctx, took.Seconds(), r.options(what)...)
}

// options returns the attributes of a request: made once for each kind of them.
func (r *requests) options(what request) []metric.RecordOption {
	r.mu.RLock()
	options, ok := r.known[what]
	r.mu.RUnlock()
	if !ok {
		attributes := []attribute.KeyValue{
			attribute.String("http.request.method", what.method),
			attribute.Int("http.response.status_code", what.status),
			attribute.String("url.scheme", "http"),
		}
		if what.route != "" {
			attributes = append(attributes, attribute.String("http.route", what.route))
		}
		options = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
		r.mu.Lock()
		r.known[what] = options
		r.mu.Unlock()
	}
	return options
}

// Middleware measures and traces what next answers. Routes are the paths that are told apart; all others are one. A
// request that carries a trace's context (W3C traceparent) belongs to that trace.
func (t *Telemetry) Middleware(next http.Handler, routes []string) http.Handler {
	known := make(map[string]bool)
	for _, route := range routes {
		known[route] = true
	}
	writers := sync.Pool{New: func() any { return new(writer) }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		what := request{method: r.Method, route: r.URL.Path}
		if !known[what.route] {
			what.route = ""
		}
		switch what.method {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
		default:
			what.method = "_OTHER" // by the semantic conventions: clients do not make up the names of ours
		}
		var query *query
		if t.traces != nil {
			r, query = t.startRequest(r, what)
		}
		ctx := r.Context()
		watched := writers.Get().(*writer) //nolint:forcetypeassert // New makes them
		*watched = writer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			took := time.Since(began)
			what.status = t.recordedStatus(ctx, watched.status, took)
			*watched = writer{}
			writers.Put(watched)
			query.end(what.status)
			t.requests.record(ctx, what, took)
		}()
		next.ServeHTTP(watched, r)
	})
}

// A writer remembers the status of an answer.
type writer struct {
	http.ResponseWriter

	status int
}

func (w *writer) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// startRequest begins the span of a request, if it is to be traced.
func (t *Telemetry) startRequest(r *http.Request, what request) (*http.Request, *query) {
	ctx := r.Context()
	if r.Header.Get("Traceparent") != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	name := what.method
	if what.route != "" {
		name += " " + what.route
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return r, nil
	}
	span.SetAttributes(
		attribute.String("http.request.method", what.method),
		attribute.String("http.route", what.route),
		attribute.String("url.path", r.URL.Path),
		attribute.String("url.scheme", "http"),
	)
	q := &query{span: span}
	if what.route == "/" {
		_, q.wait = t.tracer.Start(ctx, "wait for a batch") //nolint:spancheck // startBatch or end ends it
	}
	return r.WithContext(context.WithValue(ctx, queryKey{}, q)), q
}

// end ends a request's span.
func (q *query) end(status int) {
	if q == nil {
		return
	}
	if q.wait != nil {
		q.wait.End() // it was refused, or has given up; else this does nothing
	}
	q.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		q.span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
		q.span.SetStatus(codeError, "")
	}
	q.span.End()
}
