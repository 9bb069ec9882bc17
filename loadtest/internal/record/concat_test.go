package record

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

func TestConcat(t *testing.T) {
	one := func(status int, took time.Duration, err error) Summary {
		r := New(Options{})
		x := response(0, took)
		x.Status = status
		if err != nil {
			x.Failure, x.Err = transport.Receive, err
		}
		r.Observe(x)
		r.Observe(response(0, time.Second))
		return r.Summary(2 * time.Second)
	}
	runs := []Summary{one(200, 3*time.Second, nil), one(503, time.Second, nil), one(200, time.Second, errors.New("reset"))}
	all := Concat(runs)
	assert.EqualValues(t, 6, all.Complete)
	assert.EqualValues(t, 4, all.Successful)
	assert.Equal(t, 6*time.Second, all.Elapsed)
	assert.Equal(t, []StatusCount{{200, 4}, {503, 1}}, all.Statuses)
	assert.Equal(t, []FailureCount{{"reset", 1}}, all.Failures)
	assert.Equal(t, 3*time.Second, all.Latency.Max())
	assert.EqualValues(t, 6, all.Latency.Count())
	assert.EqualValues(t, 2, runs[0].Latency.Count(), "the runs are not changed")
	last := all.Timeline[len(all.Timeline)-1]
	assert.GreaterOrEqual(t, last.Start, 4*time.Second)
}

func TestOverlay(t *testing.T) {
	second, ms := time.Second, time.Millisecond
	a := []Interval{{Width: second, Requests: 10, P50: ms, P99: 5 * ms}, {Start: second, Width: second, Requests: 10, P50: ms}}
	b := []Interval{{Width: second, Requests: 30, Errors: 2, P50: 5 * ms, P99: 9 * ms, Max: second}}
	assert.Equal(t, []Interval{
		{Width: second, Requests: 10, P50: ms, P99: 5 * ms},
		{Start: second, Width: second, Requests: 40, Errors: 2, P50: 4 * ms, P99: 9 * ms, Max: second},
	}, Overlay([][]Interval{a, b}, []time.Duration{0, second}))
	assert.Empty(t, Overlay([][]Interval{nil}, []time.Duration{0}))
}
