// Package metrics serves the state of a long load test to Prometheus, so that load and server can be seen side by side.
//
//	e, err := metrics.Serve(ctx, "127.0.0.1:9464")
//	defer e.Close()
//	detach := e.Attach(recorder)
//	// run the load
//	detach()
package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// An Exporter serves /metrics. It reads the recorder when it is scraped, at no cost for requests. It is safe for
// concurrent use.
type Exporter struct {
	server http.Server
	addr   string
	served sync.WaitGroup

	mu      sync.Mutex
	past    record.Snapshot  // of earlier runs: counters must not decrease
	current *record.Recorder // nil between runs

	requests, failures, latency *prometheus.Desc
}

// Serve starts an Exporter at a host:port. The caller must close it.
func Serve(ctx context.Context, addr string) (*Exporter, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the metrics: %w", err)
	}
	e := &Exporter{
		addr: listener.Addr().String(),
		past: record.Snapshot{Buckets: make([]int64, len(bounds()))},
		requests: prometheus.NewDesc("loadtest_responses_total",
			"Complete responses by status code.", []string{"code"}, nil),
		failures: prometheus.NewDesc("loadtest_failures_total",
			"Requests without a complete response by kind: connect, receive, timeout or aborted.", []string{"kind"}, nil),
		latency: prometheus.NewDesc("loadtest_latency_seconds",
			"Latency of requests; in an open loop from when they were due.", nil, nil),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	const timeout = 10 * time.Second
	e.server.Handler, e.server.ReadHeaderTimeout = mux, timeout
	e.served.Go(func() {
		if err := e.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // the listener is open until Close
		}
	})
	return e, nil
}

// URL returns where the metrics are served.
func (e *Exporter) URL() string { return "http://" + e.addr + "/metrics" }

// Close stops the server and waits for it.
func (e *Exporter) Close() {
	_ = e.server.Close() // nothing to flush
	e.served.Wait()
}

// Attach adds the requests of a run. Call detach when it has ended.
func (e *Exporter) Attach(r *record.Recorder) (detach func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = r
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.past, e.current = e.snapshot(), nil
	}
}

// snapshot returns the sum of all runs. Call it with mu held.
func (e *Exporter) snapshot() record.Snapshot {
	all := e.past
	if e.current != nil {
		all = all.Plus(e.current.Snapshot(bounds()))
	}
	return all
}

// bounds returns the upper bounds of the latency's buckets, 100 µs to 50 s: four for each power of ten.
func bounds() []time.Duration {
	var all []time.Duration
	for decade := 100 * time.Microsecond; decade <= 10*time.Second; decade *= 10 {
		all = append(all, decade, 2*decade, 3*decade, 5*decade)
	}
	return all
}

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{e.requests, e.failures, e.latency} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(metrics chan<- prometheus.Metric) {
	e.mu.Lock()
	s := e.snapshot()
	e.mu.Unlock()
	counter := func(desc *prometheus.Desc, n int64, label string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), label)
	}
	for _, status := range s.Statuses {
		counter(e.requests, status.Count, strconv.Itoa(status.Status))
	}
	counter(e.failures, s.Connect, "connect")
	counter(e.failures, s.Receive, "receive")
	counter(e.failures, s.Exceptions, "timeout")
	counter(e.failures, s.Aborted, "aborted")
	buckets, cumulative := map[float64]uint64{}, uint64(0)
	for i, bound := range bounds() {
		cumulative += uint64(s.Buckets[i]) //nolint:gosec // a number of requests
		buckets[bound.Seconds()] = cumulative
	}
	count := uint64(s.Observed) //nolint:gosec // likewise
	metrics <- prometheus.MustNewConstHistogram(e.latency, count, s.Sum.Seconds(), buckets)
}
