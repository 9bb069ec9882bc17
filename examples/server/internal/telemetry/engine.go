package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsapp/pointsapp/points"
)

// The values of the label outcome.
const (
	outcomeSuccess = "success"
	outcomeFailure = "failure"
	outcomeStopped = "stopped" // an update that was cancelled
	outcomeSkipped = "skipped" // nothing was done, as another update was running
	outcomeUpdate  = "update"  // a tick that started an update
)

// engine measures an engine by its hooks.
type engine struct {
	batchSize, batchWait          prometheus.Histogram
	batchDuration, updateDuration *prometheus.HistogramVec
	ticks                         *prometheus.CounterVec
	users                         prometheus.Counter

	updateCancelled func() bool // reports whether the context of the current update has been cancelled

	answered, failed prometheus.Observer // of batchDuration

	minNumberSet atomic.Int64 // when the min number was set, in ns since 1970
}

func (e *engine) register(registry *prometheus.Registry) {
	e.batchSize = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "points_batch_size", Help: "Queries answered from one read of the store.",
		Buckets: []float64{1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000, 10_000},
	})
	e.batchDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "points_batch_duration_seconds", Help: "Duration of one read of the store.", Buckets: durationBuckets,
	}, []string{"outcome"})
	e.batchWait = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "points_batch_wait_seconds", Help: "Time from the arrival of a batch's first query to the start of its read.",
		Buckets: durationBuckets,
	})
	e.updateDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "points_update_duration_seconds", Help: "Duration of an update of all users.",
		Buckets: []float64{.001, .003, .01, .03, .1, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600},
	}, []string{"outcome"})
	e.users = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "points_update_users_total", Help: "Users that updates have given new points.",
	})
	e.ticks = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "points_ticks_total",
		Help: `Ticks. Outcome "update": started an update; "skipped": an update was still running.`,
	}, []string{"outcome"})
	e.answered, e.failed = e.batchDuration.WithLabelValues(outcomeSuccess), e.batchDuration.WithLabelValues(outcomeFailure)
	for _, outcome := range []string{outcomeUpdate, outcomeSkipped} {
		e.ticks.WithLabelValues(outcome) // from 0 on, so that increase() counts the first one
	}
	for _, outcome := range []string{outcomeSuccess, outcomeFailure, outcomeSkipped, outcomeStopped} {
		e.updateDuration.WithLabelValues(outcome)
	}
	e.minNumberSet.Store(time.Now().UnixNano())
	registry.MustRegister(e.batchSize, e.batchDuration, e.batchWait, e.updateDuration, e.users, e.ticks)
}

// Hooks returns the hooks that measure and trace an engine on store. They leave out the batches of a store with
// immediate reads: each query is one, and measuring it would take longer than the read.
func (t *Telemetry) Hooks(store points.Store) points.Hooks {
	hooks := points.Hooks{Tick: t.engine.tick, UpdateStart: t.engine.updateStart, UpdateEnd: t.engine.updateEnd}
	if !store.Capabilities().ImmediateReads {
		hooks.BatchEnd = t.engine.batch
	}
	if t.exporter == nil {
		return hooks
	}
	return points.JoinHooks(t.exporter.Hooks(), hooks)
}

func (e *engine) batch(info points.BatchInfo) {
	duration := e.answered
	if info.Err != nil {
		duration = e.failed
	}
	e.batchSize.Observe(float64(info.Queries))
	duration.Observe(info.Duration.Seconds())
	e.batchWait.Observe(info.Waited.Seconds())
}

func (e *engine) tick(info points.TickInfo) {
	e.minNumberSet.Store(info.Time.UnixNano())
	outcome := outcomeUpdate
	if info.Skipped {
		outcome = outcomeSkipped
	}
	e.ticks.WithLabelValues(outcome).Inc()
}

func (e *engine) updateStart(ctx context.Context, _ points.UpdateInfo) context.Context {
	e.updateCancelled = func() bool { return ctx.Err() == context.Canceled }
	return ctx
}

func (e *engine) updateEnd(info points.UpdateInfo) {
	outcome := outcomeFailure
	switch {
	case info.Err == nil:
		outcome = outcomeSuccess
	case errors.Is(info.Err, points.ErrUpdateRunning): // another process was updating the table
		outcome = outcomeSkipped
	case e.updateCancelled(): // whatever the store's error then is
		outcome = outcomeStopped
	}
	e.updateDuration.WithLabelValues(outcome).Observe(info.Duration.Seconds())
	e.users.Add(float64(info.Users))
}

// MeasureEngine adds the state of an engine to the metrics. It may be called once.
func (t *Telemetry) MeasureEngine(engine *points.Engine) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	t.registry.MustRegister(&stateCollector{
		state: engine.State, minNumberSet: &t.engine.minNumberSet,
		waiting:  desc("points_queries_waiting", "Queries in the wait queue."),
		down:     desc("points_store_down", "1 while reads of the store fail and queries are rejected."),
		paused:   desc("points_ticks_paused", "1 while ticks are paused."),
		running:  desc("points_update_running", "1 while an update is running."),
		progress: desc("points_update_progress_ratio", "Share of users that the running update has reached."),
		failures: desc("points_update_failures", "Consecutive failed updates."),
		breaker:  desc("points_update_breaker", "1 for the current state of the updates' circuit breaker.", "state"),
		age:      desc("points_min_number_age_seconds", "Time since the min number was set."),
	})
}

// A stateCollector collects metrics from one State of an engine, so that they agree with each other.
type stateCollector struct {
	state        func() points.State
	minNumberSet *atomic.Int64

	waiting, down, paused, running, progress, failures, breaker, age *prometheus.Desc
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	state := c.state()
	gauge(c.waiting, float64(state.Waiting))
	gauge(c.down, boolValue(state.Down))
	gauge(c.paused, boolValue(state.Paused))
	gauge(c.running, boolValue(!state.Updater.RunningSince.IsZero()))
	gauge(c.progress, float64(state.Updater.Done)/float64(max(state.Updater.Total, 1)))
	gauge(c.failures, float64(state.Updater.Failures))
	for _, breaker := range []points.BreakerState{points.BreakerClosed, points.BreakerOpen, points.BreakerHalfOpen} {
		gauge(c.breaker, boolValue(state.Updater.Breaker == breaker), breaker.String())
	}
	gauge(c.age, time.Since(time.Unix(0, c.minNumberSet.Load())).Seconds())
}

// MeasureConnections adds the number of open connections and that of rejected ones to the metrics. It may be called
// once.
func (t *Telemetry) MeasureConnections(open, rejected func() int64) {
	t.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "points_connections_open", Help: "Open client connections.",
		}, func() float64 { return float64(open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "points_connections_rejected_total",
			Help: "Connections answered with 503 and closed because too many were open.",
		}, func() float64 { return float64(rejected()) }))
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
