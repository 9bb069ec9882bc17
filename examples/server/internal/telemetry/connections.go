package telemetry

import "github.com/prometheus/client_golang/prometheus"

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
