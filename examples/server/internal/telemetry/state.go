package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pointsapp/pointsapp/points"
)

// MeasureEngine adds the state of an engine to the metrics. It may be called once.
func (t *Telemetry) MeasureEngine(engine *points.Engine) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	t.registry.MustRegister(&stateCollector{
		state: engine.State, minNumber: &t.engine.minNumber,
		waiting:  desc("points_queries_waiting", "Queries in the wait queue."),
		inFlight: desc("points_batches_in_flight", "Reads of the store in progress."),
		down:     desc("points_store_down", "1 while reads of the store fail."),
		paused:   desc("points_ticks_paused", "1 while ticks are paused."),
		interval: desc("points_tick_interval_seconds", "Time between two ticks."),
		running:  desc("points_update_running", "1 while an update is running."),
		progress: desc("points_update_progress_ratio", "Share of users that the running update has reached."),
		failures: desc("points_update_failures", "Consecutive failed updates."),
		breaker:  desc("points_update_breaker", "1 for the current state of the updates' circuit breaker.", "state"),
		age:      desc("points_min_number_age_seconds", "Time since the min number was set."),
		servers:  desc("points_shared_instances", "Active servers that share their state."),
		ticks:    desc("points_shared_ticks_total", "Ticks of all servers, since their shared state was created."),
		skipped:  desc("points_shared_ticks_skipped_total", "Ticks whose update was skipped: one was running."),
	})
}

// A stateCollector collects metrics from one State of an engine, so that they agree with each other.
type stateCollector struct {
	state     func() points.State
	minNumber *minNumberTime

	waiting, inFlight, down, paused, interval, running, progress, failures, breaker, age *prometheus.Desc

	// Of a shared state.
	servers, ticks, skipped *prometheus.Desc
}

func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	state := c.state()
	gauge(c.waiting, float64(state.Waiting))
	gauge(c.inFlight, float64(state.InFlight))
	gauge(c.down, boolValue(readsFail(state)))
	gauge(c.paused, boolValue(state.Paused))
	gauge(c.interval, state.Interval.Seconds())
	gauge(c.running, boolValue(!state.Updater.RunningSince.IsZero()))
	gauge(c.progress, float64(state.Updater.Done)/float64(max(state.Updater.Total, 1)))
	gauge(c.failures, float64(state.Updater.Failures))
	for _, breaker := range []points.BreakerState{points.BreakerClosed, points.BreakerOpen, points.BreakerHalfOpen} {
		gauge(c.breaker, boolValue(state.Updater.Breaker == breaker), breaker.String())
	}
	gauge(c.age, c.minNumber.age(state).Seconds())
	if state.Shared == nil {
		return
	}
	gauge(c.servers, float64(len(state.Shared.Instances)))
	ch <- prometheus.MustNewConstMetric(c.ticks, prometheus.CounterValue, float64(state.Ticks))
	ch <- prometheus.MustNewConstMetric(c.skipped, prometheus.CounterValue, float64(state.Skipped))
}

// readsFail reports whether reads of the store fail. State.Down does not suffice: a read that fails at once, as when
// the database refuses the connection, does not set it. Without queries it is unknown whether reads still fail:
// then the latest failure counts for 10 seconds.
func readsFail(state points.State) bool {
	const window = 10 * time.Second
	return state.Down || !state.ReadFailed.IsZero() && time.Since(state.ReadFailed) < window
}

// A minNumberTime is when the min number was set. It is safe for concurrent use.
type minNumberTime struct {
	mu     sync.Mutex
	at     time.Time // when the min number was set
	ticks  uint64    // of the shared state, when age was last called
	looked time.Time // when age was last called
}

func (m *minNumberTime) set(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = at
}

// age returns the time since the min number was set. With a shared state a tick of another server may have set it: at
// the beginning of the present interval or, if the schedule has changed since that tick, at some time since the last
// call.
func (m *minNumberTime) age(state points.State) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if state.Shared != nil && state.Ticks != m.ticks {
		m.ticks, m.at = state.Ticks, now
		due := state.NextTick.Add(-state.Interval)
		if !state.NextTick.IsZero() && due.After(m.looked) && due.Before(now) {
			m.at = due
		}
	}
	m.looked = now
	return now.Sub(m.at)
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
