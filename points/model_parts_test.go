package points_test

import (
	"errors"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/points"
)

// scheduleModel is a model of when ticks happen.
type scheduleModel struct {
	paused   bool
	interval time.Duration
	origin   time.Time      // ticks happen whole intervals after it
	due      map[int64]bool // due times of past ticks, in ns since 1970

	came   int       // ticks so far
	missed time.Time // due time of the first tick that has not happened; zero if all have
	late   bool      // a tick may have waited for a read since the origin
}

// restart makes now the origin. idle: no read is in flight that a tick could wait for.
func (s *scheduleModel) restart(idle bool) {
	s.origin, s.missed, s.late = time.Now(), time.Time{}, !idle
}

func (s *scheduleModel) next() time.Time {
	return s.origin.Add(time.Since(s.origin).Truncate(s.interval) + s.interval)
}

// tick records how many ticks happened when one was due. idleBefore and idleAfter: no read was in flight then.
func (s *scheduleModel) tick(t *rapid.T, came int, idleBefore, idleAfter bool) {
	if idleAfter {
		require.Positive(t, came, "a tick waits for a read only")
	}
	if idleBefore {
		require.LessOrEqual(t, came, 1)
	}
	s.came += came
	switch {
	case came > 0:
		s.missed = time.Time{}
	case s.missed.IsZero():
		s.missed = time.Now()
	}
	s.late = s.late || !idleBefore || !idleAfter
}

// check compares the engine's next tick with the model's.
func (s *scheduleModel) check(t *rapid.T, came int, want, got time.Time) {
	if came > s.came {
		s.came, s.missed = came, time.Time{}
	}
	if !s.missed.IsZero() {
		require.Less(t, time.Since(s.missed), modelQueryTimeout, "a tick does not wait for a read longer than queries do")
	}
	if !s.late {
		require.True(t, want.Equal(got), "the next tick is at %v, not at %v", want, got)
	}
}

// breakerModel is a model of the circuit breaker.
type breakerModel struct {
	failures int               // consecutive
	failed   points.UpdateInfo // latest failure
	cooldown func(failed points.UpdateInfo) time.Duration
}

func (b *breakerModel) state() points.BreakerState {
	switch {
	case b.failures < modelMaxFailures:
		return points.BreakerClosed
	case time.Since(b.failed.Started) < b.cooldown(b.failed):
		return points.BreakerOpen
	default:
		return points.BreakerHalfOpen
	}
}

// updateEnd describes an update that has ended.
type updateEnd struct {
	info      points.UpdateInfo
	cancelled bool // its caller or the end of Run cancelled it
}

// end applies the end of an update.
func (b *breakerModel) end(end updateEnd) {
	switch {
	case end.info.Err == nil:
		b.failures = 0
	case end.cancelled, errors.Is(end.info.Err, points.ErrUpdateRunning):
	default:
		b.failures++
		b.failed = end.info
	}
}
