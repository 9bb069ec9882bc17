package dashboard

import "time"

const (
	historyLength = 30 * time.Minute
	maxSamples    = int(historyLength / interval)
	maxUpdates    = 1000 // in the history
)

// A sample is one point of the charts: the figures of one interval.
type sample struct {
	Time   int64   `json:"time_ms"`           // its end, in ms since 1970
	Rate   float64 `json:"rate_per_second"`   // responses to queries
	Errors float64 `json:"errors_per_second"` // those with status 5xx
	P50    float64 `json:"p50_ms"`            // of those with status 200; 0 without any
	P99    float64 `json:"p99_ms"`
	Level  level   `json:"level"`
}

// A history has the samples of the last half hour.
type history struct {
	samples []sample // a ring once it is full
	oldest  int      // index of the oldest sample
}

func (h *history) add(s sample) {
	if len(h.samples) < maxSamples {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.oldest] = s
	h.oldest = (h.oldest + 1) % maxSamples
}

// columns is a history as a page receives it: the oldest sample first.
type columns struct {
	Time    []int64   `json:"time_ms"`
	Rate    []float64 `json:"rate_per_second"`
	Errors  []float64 `json:"errors_per_second"`
	P50     []float64 `json:"p50_ms"`
	P99     []float64 `json:"p99_ms"`
	Level   []level   `json:"level"`
	Updates any       `json:"updates"`
}

func (h *history) columns(updates any) columns {
	n := len(h.samples)
	c := columns{
		Time: make([]int64, n), Rate: make([]float64, n), Errors: make([]float64, n), P50: make([]float64, n),
		P99: make([]float64, n), Level: make([]level, n), Updates: updates,
	}
	for i := range n {
		s := h.samples[(h.oldest+i)%n]
		c.Time[i], c.Rate[i], c.Errors[i], c.P50[i], c.P99[i], c.Level[i] = s.Time, s.Rate, s.Errors, s.P50, s.P99, s.Level
	}
	return c
}
