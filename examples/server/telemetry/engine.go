package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/pointsapp/pointsapp/points"
)

// engine measures an engine.
type engine struct {
	batchSize, batchDuration, batchWait, updateDuration metric.Float64Histogram
	ticks, users                                        metric.Int64Counter

	answered, failed   []metric.RecordOption
	started, skipped   []metric.AddOption
	updated, updateErr []metric.RecordOption
	stopped            []metric.RecordOption

	drawnAt atomic.Int64 // when the hidden number was, in ns since 1970
}

func (e *engine) create(ctx context.Context, meter metric.Meter) error {
	var errs [6]error
	e.batchSize, errs[0] = meter.Float64Histogram("points.batch.size", metric.WithUnit("{query}"),
		metric.WithDescription("Queries that one read of the store is for."),
		metric.WithExplicitBucketBoundaries(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000, 10_000))
	e.batchDuration, errs[1] = meter.Float64Histogram("points.batch.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of one read of the store."), seconds)
	e.batchWait, errs[2] = meter.Float64Histogram("points.batch.wait", metric.WithUnit("s"),
		metric.WithDescription("Time from the arrival of the first of a batch's queries to the begin of its read."), seconds)
	e.updateDuration, errs[3] = meter.Float64Histogram("points.update.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of an update of all users."),
		metric.WithExplicitBucketBoundaries(
			.001, .003, .01, .03, .1, .2, .3, .5, .7, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600))
	e.users, errs[4] = meter.Int64Counter("points.update.users", metric.WithUnit("{user}"),
		metric.WithDescription("Users that updates have given new points."))
	e.ticks, errs[5] = meter.Int64Counter("points.ticks", metric.WithUnit("{tick}"),
		metric.WithDescription("Ticks, each with a new hidden number. Skipped: an update was running, none was started."))
	outcome := func(what string) []metric.RecordOption {
		return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", what)))}
	}
	e.answered, e.failed = outcome("success"), outcome("failure")
	e.updated, e.updateErr, e.stopped = outcome("success"), outcome("failure"), outcome("stopped")
	e.started = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "update")))}
	e.skipped = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "skipped")))}
	e.drawnAt.Store(time.Now().UnixNano())
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	// They are there before the first one, so that what they increase by can be told.
	e.ticks.Add(ctx, 0, e.started...)
	e.ticks.Add(ctx, 0, e.skipped...)
	return nil
}

// Hooks returns the hooks of an engine on store that is measured and traced. Reads of a store with ImmediateReads are not
// measured: each query is one, and takes less time than to measure it.
func (t *Telemetry) Hooks(store points.Store) points.Hooks {
	hooks := points.Hooks{Tick: t.engine.tick, UpdateEnd: t.engine.update}
	measured := func(points.BatchInfo) {}
	if !store.Capabilities().ImmediateReads {
		measured = t.engine.batch
		hooks.BatchEnd = measured
	}
	if t.traces == nil {
		return hooks
	}
	hooks.BatchStart = t.startBatch
	hooks.BatchEnd = func(info points.BatchInfo) { t.endBatch(info); measured(info) }
	hooks.UpdateStart = func(ctx context.Context, _ points.UpdateInfo) context.Context { return t.startUpdate(ctx) }
	hooks.UpdateEnd = func(info points.UpdateInfo) { t.endUpdate(info); t.engine.update(info) }
	return hooks
}

func (e *engine) batch(info points.BatchInfo) {
	ctx, outcome := context.Background(), e.answered
	if info.Err != nil {
		outcome = e.failed
	}
	e.batchSize.Record(ctx, float64(info.Queries))
	e.batchDuration.Record(ctx, info.Duration.Seconds(), outcome...)
	e.batchWait.Record(ctx, info.Waited.Seconds())
}

func (e *engine) tick(info points.TickInfo) {
	e.drawnAt.Store(info.Time.UnixNano())
	outcome := e.started
	if info.Skipped {
		outcome = e.skipped
	}
	e.ticks.Add(context.Background(), 1, outcome...)
}

func (e *engine) update(info points.UpdateInfo) {
	ctx, outcome := context.Background(), e.updated
	switch {
	case errors.Is(info.Err, context.Canceled):
		outcome = e.stopped
	case info.Err != nil:
		outcome = e.updateErr
	}
	e.updateDuration.Record(ctx, info.Duration.Seconds(), outcome...)
	e.users.Add(ctx, info.Users)
}

// MeasureEngine adds to the metrics what an engine's State tells.
func (t *Telemetry) MeasureEngine(engine *points.Engine) error {
	gauge := func(name, unit, description string) (metric.Float64ObservableGauge, error) {
		return t.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	}
	waiting, err1 := gauge("points.queries.waiting", "{query}", "Queries that wait for an answer.")
	down, err2 := gauge("points.store.down", "1", "1 while the store does not answer, and queries are refused.")
	paused, err3 := gauge("points.ticks.paused", "1", "1 while no ticks come.")
	running, err4 := gauge("points.update.running", "1", "1 while an update runs.")
	progress, err5 := gauge("points.update.progress", "1", "Share of the users that the running update has reached.")
	failures, err6 := gauge("points.update.failures", "{update}", "Updates that have failed in a row, up to now.")
	breaker, err7 := gauge("points.update.breaker", "1", "1 for the state that the updates' circuit breaker is in.")
	age, err8 := gauge("points.min_number.age", "s", "Time since the hidden number was drawn.")
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8); err != nil {
		return err
	}
	_, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		state := engine.State()
		o.ObserveFloat64(waiting, float64(state.Waiting))
		o.ObserveFloat64(down, oneIf(state.Down))
		o.ObserveFloat64(paused, oneIf(state.Paused))
		o.ObserveFloat64(running, oneIf(!state.Updater.RunningSince.IsZero()))
		o.ObserveFloat64(progress, float64(state.Updater.Done)/float64(max(state.Updater.Total, 1)))
		o.ObserveFloat64(failures, float64(state.Updater.Failures))
		for _, breakerState := range []points.BreakerState{points.BreakerClosed, points.BreakerOpen, points.BreakerHalfOpen} {
			o.ObserveFloat64(breaker, oneIf(state.Updater.Breaker == breakerState),
				metric.WithAttributes(attribute.String("state", breakerState.String())))
		}
		o.ObserveFloat64(age, time.Since(time.Unix(0, t.engine.drawnAt.Load())).Seconds())
		return nil
	}, waiting, down, paused, running, progress, failures, breaker, age)
	return err
}

// MeasureConnections adds to the metrics how many of a server's connections are open, and have been refused.
func (t *Telemetry) MeasureConnections(open, refused func() int64) error {
	_, err1 := t.meter.Int64ObservableGauge("points.connections.open", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections of clients that are open."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(open()); return nil }))
	_, err2 := t.meter.Int64ObservableCounter("points.connections.refused", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections that were answered with 503 and closed, as too many were open."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(refused()); return nil }))
	return errors.Join(err1, err2)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
