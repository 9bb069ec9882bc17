package attack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

func TestParseRate(t *testing.T) {
	for s, want := range map[string]struct {
		rate Rate
		text string
	}{
		"1": {Rate{1, 1}, "1"}, "5000": {Rate{5000, 5000}, "5000"}, "1000:20000": {Rate{1000, 20000}, "1000:20000"},
		"20:10": {Rate{20, 10}, "20:10"}, "0.5": {Rate{0.5, 0.5}, "0.5"}, "60/m": {Rate{1, 1}, "1"},
		"5/s": {Rate{5, 5}, "5"}, "36000/h": {Rate{10, 10}, "10"}, "100/5s": {Rate{20, 20}, "20"}, "30/m:10": {Rate{0.5, 10}, "0.5:10"},
	} {
		got, err := ParseRate(s)
		require.NoError(t, err)
		assert.Equal(t, want.rate, got)
		assert.Equal(t, want.text, got.String())
	}
	for _, s := range []string{
		"", "0", "-1", "1k", ":", "1:", ":1", "1:2:3", "10000001", "1e300", "NaN", "Inf", "5/", "5/d", "5/0s", "1e-9",
	} {
		_, err := ParseRate(s)
		assert.ErrorContains(t, err, "must be a number of requests per second", "%q", s)
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"5000", "1000:20000", "0", "1:", "0.5", "60/m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rate, err := ParseRate(s)
		if err != nil {
			return
		}
		again, err := ParseRate(rate.String())
		require.NoError(t, err)
		require.InDelta(t, rate.From, again.From, 1e-6)
		require.InDelta(t, rate.To, again.To, 1e-6)
		schedule, err := NewSchedule(rate, 10*time.Second)
		if rate.From+rate.To < 1 {
			return // maybe no request is due
		}
		require.NoError(t, err)
		n := uint64(schedule.Requests())
		require.LessOrEqual(t, schedule.Due(0), schedule.Due(n/2))
		require.LessOrEqual(t, schedule.Due(n/2), schedule.Due(n-1))
		require.LessOrEqual(t, schedule.Due(n-1), 10*time.Second)
	})
}

// TestScheduleAgainstVegeta compares when requests are due with when vegeta's pacers send them.
func TestScheduleAgainstVegeta(t *testing.T) {
	const duration = 10 * time.Second
	tests := map[string]struct {
		rate  Rate
		pacer vegeta.Pacer
	}{
		"constant":  {Rate{250, 250}, vegeta.Rate{Freq: 250, Per: time.Second}},
		"ramp up":   {Rate{100, 600}, vegeta.LinearPacer{StartAt: vegeta.Rate{Freq: 100, Per: time.Second}, Slope: 50}},
		"ramp down": {Rate{600, 100}, vegeta.LinearPacer{StartAt: vegeta.Rate{Freq: 600, Per: time.Second}, Slope: -50}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			schedule, err := NewSchedule(tt.rate, duration)
			require.NoError(t, err)
			at := time.Duration(0)
			for i := range uint64(schedule.Requests()) {
				wait, stop := tt.pacer.Pace(at, i)
				require.False(t, stop)
				at += max(wait, 0)
				require.InDelta(t, at.Seconds(), schedule.Due(i).Seconds(), 0.02, "request %d", i)
				require.InDelta(t, tt.pacer.Rate(at), schedule.Rate(at), 1e-6)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	schedule, err := NewSchedule(Rate{10, 30}, 10*time.Second)
	require.NoError(t, err)
	assert.EqualValues(t, 200, schedule.Requests())
	assert.EqualValues(t, 0, schedule.DueBefore(0))
	assert.EqualValues(t, 75, schedule.DueBefore(5*time.Second))
	assert.EqualValues(t, 200, schedule.DueBefore(time.Minute))
	assert.Zero(t, schedule.Due(0))
	assert.Equal(t, 5*time.Second, schedule.Due(75).Round(time.Millisecond))

	wait, stop := schedule.Pace(4*time.Second, 75)
	assert.False(t, stop)
	assert.Equal(t, time.Second, wait.Round(time.Millisecond))
	_, stop = schedule.Pace(4*time.Second, 200)
	assert.True(t, stop)

	_, err = NewSchedule(Rate{10, 10}, 0)
	require.ErrorContains(t, err, "duration must be above 0")
	_, err = NewSchedule(Rate{1, 1}, time.Millisecond)
	require.ErrorContains(t, err, "no request is due")
}
