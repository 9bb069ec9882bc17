package attack

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxRate is the highest rate that a Schedule takes, in requests a second.
const MaxRate = 10_000_000

// A Rate is one in requests a second: constant, or a ramp from one to another.
type Rate struct {
	From, To int
}

// ParseRate reads a rate as "5000" or "1000:20000".
func ParseRate(s string) (Rate, error) {
	from, to, isRamp := strings.Cut(s, ":")
	if !isRamp {
		to = from
	}
	r := Rate{}
	var errFrom, errTo error
	r.From, errFrom = strconv.Atoi(from)
	r.To, errTo = strconv.Atoi(to)
	if errFrom != nil || errTo != nil || min(r.From, r.To) < 1 || max(r.From, r.To) > MaxRate {
		return Rate{}, fmt.Errorf("attack: a rate is a whole number of requests per second from 1 to %d, as 5000, "+
			"or a ramp of two, as 1000:20000: %q is neither", MaxRate, s)
	}
	return r, nil
}

// String returns the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d:%d", r.From, r.To)
}

// A Schedule says when each request of an open loop is due. It is vegeta's Pacer, and exact where vegeta's own are not:
// ConstantPacer waits for whole nanoseconds, and so sends 1.0003 times as much at 300,000/s; LinearPacer waits as long
// as the rate of the moment says, and so oversleeps the beginning of a steep ramp, which would count as the server's
// latency.
type Schedule struct {
	from, slope float64 // requests/s at the start, and how many more with each second
	duration    time.Duration
}

// NewSchedule returns the schedule of a rate over a duration.
func NewSchedule(rate Rate, duration time.Duration) (*Schedule, error) {
	if duration <= 0 {
		return nil, fmt.Errorf("attack: an open loop needs a duration above 0: %v", duration)
	}
	slope := float64(rate.To-rate.From) / duration.Seconds()
	s := &Schedule{from: float64(rate.From), slope: slope, duration: duration}
	if s.Requests() == 0 {
		return nil, fmt.Errorf("attack: no request is due within %v at %v/s", duration, rate)
	}
	return s, nil
}

// Requests returns how many requests are due within the duration.
func (s *Schedule) Requests() int64 {
	mean := s.from + s.slope*s.duration.Seconds()/2
	return int64(math.Round(mean * s.duration.Seconds()))
}

// DueBefore returns how many requests are due before a time since the start.
func (s *Schedule) DueBefore(t time.Duration) int64 {
	n := s.from*t.Seconds() + s.slope*t.Seconds()*t.Seconds()/2
	return min(int64(math.Ceil(n)), s.Requests())
}

// Due returns when request i is due, from 0, since the start.
func (s *Schedule) Due(i uint64) time.Duration {
	// The time by which from*t + slope*t²/2 requests are due, in the form that does without dividing by the slope.
	n := float64(i)
	root := math.Sqrt(max(s.from*s.from+2*s.slope*n, 0))
	return time.Duration(2 * n / (s.from + root) * float64(time.Second))
}

// Pace waits until request i is due.
func (s *Schedule) Pace(elapsed time.Duration, i uint64) (wait time.Duration, stop bool) {
	if int64(i) >= s.Requests() { //nolint:gosec // a number of requests
		return 0, true
	}
	return s.Due(i) - elapsed, false
}

// Rate returns the rate in requests a second at a time since the start.
func (s *Schedule) Rate(elapsed time.Duration) float64 {
	return s.from + s.slope*elapsed.Seconds()
}
