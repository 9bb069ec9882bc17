package attack

import (
	"fmt"
	"math"
	"time"
)

// A Schedule determines when each request of an open loop is due. It is a vegeta.Pacer, and more accurate than vegeta's
// own: ConstantPacer rounds the interval to whole nanoseconds, and so sends 0.03% too much at 300,000/s. LinearPacer
// sleeps for the interval of the current rate, and so oversleeps at the start of a steep ramp, which would be reported
// as latency of the server.
type Schedule struct {
	from, slope float64 // requests/s at the start; change of the rate per second
	duration    time.Duration
}

// NewSchedule returns the schedule of rate over duration. It fails if no request is due within it.
func NewSchedule(rate Rate, duration time.Duration) (*Schedule, error) {
	if duration <= 0 {
		return nil, fmt.Errorf("duration must be above 0, got %v", duration)
	}
	slope := (rate.To - rate.From) / duration.Seconds()
	s := &Schedule{from: rate.From, slope: slope, duration: duration}
	if s.Requests() == 0 {
		return nil, fmt.Errorf("no request is due within %v at %v/s: use a longer duration or a higher rate", duration, rate)
	}
	return s, nil
}

// Duration returns the length of the schedule.
func (s *Schedule) Duration() time.Duration { return s.duration }

// Requests returns the number of requests due within the duration.
func (s *Schedule) Requests() int64 {
	mean := s.from + s.slope*s.duration.Seconds()/2
	return int64(math.Round(mean * s.duration.Seconds()))
}

// DueBefore returns the number of requests due before t, counted from the start.
func (s *Schedule) DueBefore(t time.Duration) int64 {
	n := s.from*t.Seconds() + s.slope*t.Seconds()*t.Seconds()/2
	return min(int64(math.Ceil(n)), s.Requests())
}

// Due returns when request i, counted from 0, is due; the time counts from the start.
func (s *Schedule) Due(i uint64) time.Duration {
	// Solves from*t + slope*t²/2 = i for t, in the form that does not divide by the slope, which may be 0.
	n := float64(i)
	root := math.Sqrt(max(s.from*s.from+2*s.slope*n, 0))
	return time.Duration(2 * n / (s.from + root) * float64(time.Second))
}

// Pace returns how long to wait for request i, elapsed after the start, and whether all requests have been sent.
func (s *Schedule) Pace(elapsed time.Duration, i uint64) (wait time.Duration, stop bool) {
	if int64(i) >= s.Requests() { //nolint:gosec // a number of requests
		return 0, true
	}
	return s.Due(i) - elapsed, false
}

// Rate returns the rate in requests per second, elapsed after the start.
func (s *Schedule) Rate(elapsed time.Duration) float64 {
	return s.from + s.slope*elapsed.Seconds()
}
