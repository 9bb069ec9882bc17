package points_test

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/points"
)

// scheduleModel is a model of when ticks come.
type scheduleModel struct {
	paused   bool
	interval time.Duration
	origin   time.Time      // ticks come whole intervals after it
	due      map[int64]bool // when ticks have been due, in ns since 1970

	came   int       // ticks
	missed time.Time // when the first tick was due that has not come; zero if all have
	held   bool      // a tick may have waited for a read since the origin
}

// begin makes now the origin. idle says that no read is under way, so that no tick waits for one.
func (s *scheduleModel) begin(idle bool) {
	s.origin, s.missed, s.held = time.Now(), time.Time{}, !idle
}

func (s *scheduleModel) next() time.Time {
	return s.origin.Add(time.Since(s.origin).Truncate(s.interval) + s.interval)
}

// tick notes how many ticks came when one was due, and whether no read was under way before and after.
func (s *scheduleModel) tick(t *rapid.T, came int, idleBefore, idleAfter bool) {
	if idleAfter {
		require.Positive(t, came, "a tick waits for a read alone")
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
	s.held = s.held || !idleBefore || !idleAfter
}

// check checks what the engine tells of the next tick.
func (s *scheduleModel) check(t *rapid.T, came int, want, got time.Time) {
	if came > s.came {
		s.came, s.missed = came, time.Time{}
	}
	if !s.missed.IsZero() {
		require.Less(t, time.Since(s.missed), modelQueryTimeout, "a tick waits for no read longer than its callers do")
	}
	if !s.held {
		require.True(t, want.Equal(got), "next tick is at %v and not at %v", want, got)
	}
}

// breakerModel is a model of the circuit breaker.
type breakerModel struct {
	inARow   int       // failures
	counted  int       // of these, since it was last closed or opened
	openedAt time.Time // zero if it is closed
}

func (b *breakerModel) state() points.BreakerState { return b.stateAt(time.Now()) }

func (b *breakerModel) stateAt(now time.Time) points.BreakerState {
	switch {
	case b.openedAt.IsZero():
		return points.BreakerClosed
	case now.Sub(b.openedAt) <= modelCooldown:
		return points.BreakerOpen
	default:
		return points.BreakerHalfOpen
	}
}

// end notes that an update has ended.
func (b *breakerModel) end(info points.UpdateInfo) {
	now := info.Started.Add(info.Duration)
	switch {
	case errors.Is(info.Err, context.Canceled):
		return
	case info.Err == nil:
		*b = breakerModel{}
		return
	}
	b.inARow++
	b.counted++
	if b.stateAt(now) == points.BreakerHalfOpen || b.counted == modelMaxFailures {
		b.openedAt, b.counted = now, 0
	}
}
