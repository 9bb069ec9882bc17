package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsapp/pointsapp/points"
)

// The values of the label outcome.
const (
	outcomeSuccess   = "success"
	outcomeFailure   = "failure"
	outcomeCancelled = "cancelled" // an update, by its caller or by a shutdown
	outcomeSkipped   = "skipped"   // nothing was done, as another update was running
	outcomeUpdate    = "update"    // a tick that started an update
)

// engine measures an engine by its hooks.
type engine struct {
	batchSize, batchWait          prometheus.Histogram
	batchLockWait                 prometheus.Histogram // registered with a shared state only
	batchDuration, updateDuration *prometheus.HistogramVec
	ticks                         *prometheus.CounterVec
	users                         prometheus.Counter

	updateCancelled func() bool // reports whether the context of the current update has been cancelled

	answered, failed prometheus.Observer // of batchDuration

	minNumber minNumberTime
}

func (e *engine) register(registry *prometheus.Registry) {
	e.batchSize = prometheus.NewHistogram(histogram("points_batch_size", "Queries answered from one read of the store.",
		[]float64{1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000, 10_000}))
	e.batchDuration = prometheus.NewHistogramVec(histogram("points_batch_duration_seconds",
		"Duration of one read of the store.", durationBuckets), []string{"outcome"})
	e.batchWait = prometheus.NewHistogram(histogram("points_batch_wait_seconds",
		"Time from the arrival of a batch's first query to the start of its read.", durationBuckets))
	e.batchLockWait = prometheus.NewHistogram(histogram("points_batch_lock_wait_seconds",
		"Part of a read's duration: its wait for the order lock, which reads and ticks of all servers take.",
		durationBuckets))
	e.updateDuration = prometheus.NewHistogramVec(histogram("points_update_duration_seconds",
		"Duration of an update of all users.",
		[]float64{.001, .003, .01, .03, .1, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600}),
		[]string{"outcome"})
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
	for _, outcome := range []string{outcomeSuccess, outcomeFailure, outcomeSkipped, outcomeCancelled} {
		e.updateDuration.WithLabelValues(outcome)
	}
	e.minNumber.set(time.Now())
	registry.MustRegister(e.batchSize, e.batchDuration, e.batchWait, e.updateDuration, e.users, e.ticks)
}

// Hooks returns the hooks that measure and trace an engine on store. They leave out the batches of a store with
// immediate reads: each query is one, and measuring it would take longer than the read. It may be called once.
func (t *Telemetry) Hooks(store points.Store) points.Hooks {
	hooks := points.Hooks{Tick: t.engine.tick, UpdateStart: t.engine.updateStart, UpdateEnd: t.engine.updateEnd}
	switch capabilities := store.Capabilities(); {
	case capabilities.ImmediateReads:
	case capabilities.SharedState != nil:
		t.registry.MustRegister(t.engine.batchLockWait)
		hooks.BatchEnd = t.engine.sharedBatch
	default:
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

func (e *engine) sharedBatch(info points.BatchInfo) {
	e.batch(info)
	if info.Err == nil {
		e.batchLockWait.Observe(info.LockWait.Seconds())
	}
}

func (e *engine) tick(info points.TickInfo) {
	e.minNumber.set(info.Time)
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
		outcome = outcomeCancelled
	}
	e.updateDuration.WithLabelValues(outcome).Observe(info.Duration.Seconds())
	e.users.Add(float64(info.Users))
}
