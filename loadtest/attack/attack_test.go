package attack

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/record"
	"github.com/pointsapp/pointsapp/loadtest/transport"
)

// A fake is a transport whose server answers after the time that delay returns.
type fake struct {
	began   time.Time
	delay   func(since time.Duration) time.Duration
	observe func(*transport.Exchange)

	mu         sync.Mutex
	sent       int
	inUse, max int
}

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	f.count(1)
	defer f.count(-1)
	seq, err := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64)
	if err != nil {
		return nil, err
	}
	x := transport.Exchange{Seq: seq, Start: time.Since(f.began), Status: 200}
	x.Connected, x.Sent = x.Start, x.Start
	select {
	case <-time.After(f.delay(x.Start)):
	case <-req.Context().Done():
	}
	x.FirstByte = time.Since(f.began)
	x.Done = x.FirstByte
	if f.observe != nil {
		f.observe(&x)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func (f *fake) count(change int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inUse += change
	f.max = max(f.max, f.inUse)
	if change > 0 {
		f.sent++
	}
}

func TestClosed(t *testing.T) {
	tests := map[string]struct {
		clients  int
		requests int64
	}{
		"one": {1, 1}, "one client": {1, 7}, "as many": {20, 20}, "uneven": {7, 100}, "many": {100, 1000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{began: time.Now(), delay: func(time.Duration) time.Duration { return time.Second }}
				NewClosed(tt.clients, tt.requests).Run(t.Context(), f)
				assert.EqualValues(t, tt.requests, f.sent)
				assert.Equal(t, tt.clients, f.max)
				rounds := (tt.requests + int64(tt.clients) - 1) / int64(tt.clients)
				assert.Equal(t, time.Duration(rounds)*time.Second, time.Since(f.began), "a client waits for nothing but its answer")
			})
		})
	}
}

func TestClosedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		f := &fake{began: time.Now(), delay: func(time.Duration) time.Duration { return time.Second }}
		NewClosed(5, 1_000_000).Run(ctx, f)
		assert.Equal(t, 15, f.sent)
	})
}

// sleep waits by the clock of a synctest bubble.
func sleep(d time.Duration) { <-time.After(d) }

// TestStall has a server that stalls once for 500 ms at 5,000/s. Of 25,000 requests 2,500 are due in the stall; they wait
// for 0 to 500 ms, evenly. So the longest 250, a hundredth of all, wait for more than 450 ms: that is the p99.
func TestStall(t *testing.T) {
	for name, clients := range map[string]int{"clients for all": 10_000, "few clients": 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const stall, end = 2 * time.Second, 2500 * time.Millisecond
				schedule, err := NewSchedule(Rate{5000, 5000}, 5*time.Second)
				require.NoError(t, err)
				recorder := record.New(record.Options{Due: schedule.Due})
				f := &fake{began: time.Now(), observe: recorder.Observe, delay: func(since time.Duration) time.Duration {
					if since >= stall && since < end {
						return end - since
					}
					return 50 * time.Microsecond
				}}
				open := NewOpen(schedule, clients, f.began)
				open.wait = sleep
				open.Run(t.Context(), f)
				s := recorder.Summary(time.Since(f.began))
				assert.EqualValues(t, 25_000, s.Complete)
				assert.LessOrEqual(t, f.max, clients)
				assert.InEpsilon(t, 450*time.Millisecond, s.Latency.Percentile(99), 0.05)
				assert.InEpsilon(t, 500*time.Millisecond, s.Latency.Max(), 0.05)
				assert.Less(t, s.Latency.Percentile(89), 2*time.Millisecond)
			})
		})
	}
}

// TestOverload has a server that never answers in time: what cannot be sent until the end is not sent.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schedule, err := NewSchedule(Rate{100, 100}, 10*time.Second)
		require.NoError(t, err)
		f := &fake{began: time.Now(), delay: func(time.Duration) time.Duration { return 3 * time.Second }}
		open := NewOpen(schedule, 10, f.began)
		open.wait = sleep
		open.Run(t.Context(), f)
		assert.Equal(t, 41, f.sent, "ten at 0, 3, 6 and 9 s, and the one that vegeta was waiting with for a client")
		assert.Equal(t, 15*time.Second, time.Since(f.began).Round(time.Second))
	})
}

func TestOpenStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		schedule, err := NewSchedule(Rate{10, 10}, time.Hour)
		require.NoError(t, err)
		f := &fake{began: time.Now(), delay: func(time.Duration) time.Duration { return time.Millisecond }}
		open := NewOpen(schedule, 10, f.began)
		open.wait = sleep
		open.Run(ctx, f)
		assert.InDelta(t, 10, f.sent, 1)
	})
}

// TestAlarm waits with the timer that a run waits with.
func TestAlarm(t *testing.T) {
	a := newAlarm()
	defer a.close()
	for _, d := range []time.Duration{-time.Second, 0, 1, 100 * time.Microsecond, 5 * time.Millisecond} {
		began := time.Now()
		a.wait(d)
		assert.GreaterOrEqual(t, time.Since(began), d)
	}
}

func TestFindMax(t *testing.T) {
	for _, limit := range []int{0, 1, 3, 999, 1000, 1001, 5432, 123_456, MaxRate, 2 * MaxRate} {
		tried := 0
		got, err := FindMax(t.Context(), 1000, func(_ context.Context, rate int) (bool, error) {
			tried++
			return rate <= limit, nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, got, limit)
		assert.GreaterOrEqual(t, got+max(got/precision, 1), min(limit, MaxRate))
		assert.Less(t, tried, 30)
	}
}

func TestFindMaxErrors(t *testing.T) {
	broken := errors.New("broken")
	_, err := FindMax(t.Context(), 1, func(context.Context, int) (bool, error) { return true, broken })
	require.ErrorIs(t, err, broken)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = FindMax(ctx, 1, func(context.Context, int) (bool, error) { cancel(); return true, nil })
	require.ErrorIs(t, err, context.Canceled)
}
