package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// MeasureConnections adds the number of open connections, its limit and the number of rejected ones to the metrics. It
// may be called once.
func (t *Telemetry) MeasureConnections(limit int64, open, rejected func() int64) {
	limits := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "points_connections_limit", Help: "Limit of the open client connections (-max-connections).",
	})
	limits.Set(float64(limit))
	t.registry.MustRegister(limits)
	t.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "points_connections_open", Help: "Open client connections.",
		}, func() float64 { return float64(open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "points_connections_rejected_total",
			Help: "Connections answered with 503 and closed because too many were open.",
		}, func() float64 { return float64(rejected()) }))
}

// Rejected measures a request that was answered with 503 before it was read, because too many connections were open.
func (t *Telemetry) Rejected() {
	t.requests.observer(labels{method: otherMethod, status: http.StatusServiceUnavailable}).Observe(0)
}
