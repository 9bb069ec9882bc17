package telemetry

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// MeasurePool adds the statistics of a pool to the metrics. It may be called once.
func (t *Telemetry) MeasurePool(pool *pgxpool.Pool) {
	for _, gauge := range []struct {
		name, help string
		value      func(*pgxpool.Stat) int32
	}{
		{"acquired_connections", "Connections in use.", (*pgxpool.Stat).AcquiredConns},
		{"constructing_connections", "Connections being opened.", (*pgxpool.Stat).ConstructingConns},
		{"idle_connections", "Idle connections.", (*pgxpool.Stat).IdleConns},
		{"max_connections", "Maximum size of the pool.", (*pgxpool.Stat).MaxConns},
		{"total_connections", "Connections in use, idle or being opened.", (*pgxpool.Stat).TotalConns},
	} {
		t.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "pgxpool", Name: gauge.name, Help: gauge.help},
			func() float64 { return float64(gauge.value(pool.Stat())) }))
	}
	for _, counter := range []struct {
		name, help string
		value      func(*pgxpool.Stat) float64
	}{
		{
			"acquires_total", "Successful acquires.",
			func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) },
		},
		{
			"acquire_duration_seconds_total", "Total duration of successful acquires.",
			func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() },
		},
		{
			"canceled_acquires_total", "Acquires whose context ended first.",
			func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) },
		},
		{
			"empty_acquire_total", "Successful acquires that had to wait because no connection was idle.",
			func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) },
		},
		{
			"empty_acquire_wait_time_seconds_total",
			"Total time that successful acquires waited because no connection was idle.",
			func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() },
		},
		{
			"max_idle_destroys_total", "Connections closed because they were idle for too long.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxIdleDestroyCount()) },
		},
		{
			"max_lifetime_destroys_total", "Connections closed because they were open for too long.",
			func(s *pgxpool.Stat) float64 { return float64(s.MaxLifetimeDestroyCount()) },
		},
		{
			"new_connections_total", "Connections opened.",
			func(s *pgxpool.Stat) float64 { return float64(s.NewConnsCount()) },
		},
	} {
		t.registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Namespace: "pgxpool", Name: counter.name, Help: counter.help},
			func() float64 { return counter.value(pool.Stat()) }))
	}
}
