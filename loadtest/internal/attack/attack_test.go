package attack

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// A fakeTransport responds after the time that delay returns.
type fakeTransport struct {
	start   time.Time
	delay   func(since time.Duration) time.Duration
	observe func(*transport.Exchange)

	mu         sync.Mutex
	sent       int
	inUse, max int
}

func (f *fakeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	f.count(1)
	defer f.count(-1)
	seq, err := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64)
	if err != nil {
		return nil, err
	}
	x := transport.Exchange{Seq: seq, Start: time.Since(f.start), Status: 200}
	x.Connected, x.Sent = x.Start, x.Start
	select {
	case <-time.After(f.delay(x.Start)):
	case <-req.Context().Done():
	}
	x.FirstByte = time.Since(f.start)
	x.Done = x.FirstByte
	if f.observe != nil {
		f.observe(&x)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

func (f *fakeTransport) count(change int) {
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
				f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return time.Second }}
				NewClosed(tt.clients, tt.requests).Run(t.Context(), f)
				assert.EqualValues(t, tt.requests, f.sent)
				assert.Equal(t, tt.clients, f.max)
				rounds := (tt.requests + int64(tt.clients) - 1) / int64(tt.clients)
				assert.Equal(t, time.Duration(rounds)*time.Second, time.Since(f.start), "a client waits only for its response")
			})
		})
	}
}

func TestClosedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return time.Second }}
		NewClosed(5, 1_000_000).Run(ctx, f)
		assert.Equal(t, 15, f.sent)
	})
}

// TestStall measures a server that stalls once for 500 ms, at 5,000/s. Of 25,000 requests, 2,500 are due during the stall
// and wait between 0 and 500 ms, evenly distributed. The slowest 250, 1% of all, wait more than 450 ms: that is the p99.
func TestStall(t *testing.T) {
	for name, clients := range map[string]int{"more clients than requests in the stall": 10_000, "few clients": 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const stall, end = 2 * time.Second, 2500 * time.Millisecond
				schedule, err := NewSchedule(Rate{5000, 5000}, 5*time.Second)
				require.NoError(t, err)
				recorder := record.New(record.Options{Due: schedule.Due})
				f := &fakeTransport{start: time.Now(), observe: recorder.Observe, delay: func(since time.Duration) time.Duration {
					if since >= stall && since < end {
						return end - since
					}
					return 50 * time.Microsecond
				}}
				open := NewOpen(schedule, clients, f.start)
				open.Sleep = sleepContext
				open.Run(t.Context(), f)
				s := recorder.Summary(time.Since(f.start))
				assert.EqualValues(t, 25_000, s.Complete)
				assert.LessOrEqual(t, f.max, clients)
				assert.InEpsilon(t, 450*time.Millisecond, s.Latency.Percentile(99), 0.05)
				assert.InEpsilon(t, 500*time.Millisecond, s.Latency.Max(), 0.05)
				assert.Less(t, s.Latency.Percentile(89), 2*time.Millisecond)
			})
		})
	}
}

// TestOverload checks that requests which cannot be sent until the grace period ends are not sent at all.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schedule, err := NewSchedule(Rate{100, 100}, 10*time.Second)
		require.NoError(t, err)
		f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return 3 * time.Second }}
		open := NewOpen(schedule, 10, f.start)
		open.Sleep = sleepContext
		open.Run(t.Context(), f)
		assert.EqualValues(t, 1000-41, open.Unsent())
		assert.Equal(t, 41, f.sent, "ten at 0, 3, 6 and 9 s, and the one for which vegeta was waiting for a free client")
		assert.Equal(t, 15*time.Second, time.Since(f.start).Round(time.Second))
	})
}

func TestOpenStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		schedule, err := NewSchedule(Rate{10, 10}, time.Hour)
		require.NoError(t, err)
		f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return time.Millisecond }}
		open := NewOpen(schedule, 10, f.start)
		open.Sleep = sleepContext
		open.Run(ctx, f)
		assert.InDelta(t, 10, f.sent, 1)
	})
}

// TestOpenStopsBetweenRequests interrupts a loop with the timer of a real run, whose next request is due in an hour.
func TestOpenStopsBetweenRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		schedule, err := NewSchedule(Rate{1.0 / 3600, 1.0 / 3600}, 10*time.Hour)
		require.NoError(t, err)
		f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return time.Millisecond }}
		NewOpen(schedule, 10, f.start).Run(ctx, f)
		assert.Equal(t, 1, f.sent)
		assert.Equal(t, time.Second, time.Since(f.start))
	})
}

// TestUnsentOnInterrupt interrupts a loop in the middle of an interval, with 101 requests due so far.
func TestUnsentOnInterrupt(t *testing.T) {
	for name, tt := range map[string]struct {
		clients int
		delay   time.Duration
		unsent  int64
	}{
		"a client is free":     {1000, time.Minute, 0},
		"exactly enough":       {101, time.Minute, 0},
		"all clients are busy": {3, time.Minute, 98},
		"all have been busy":   {1, 8 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 1005*time.Millisecond)
				defer cancel()
				schedule, err := NewSchedule(Rate{100, 100}, time.Hour)
				require.NoError(t, err)
				f := &fakeTransport{start: time.Now(), delay: func(time.Duration) time.Duration { return tt.delay }}
				open := NewOpen(schedule, tt.clients, f.start)
				open.Sleep = sleepContext
				open.Run(ctx, f)
				assert.Equal(t, tt.unsent, open.Unsent())
			})
		})
	}
}

// TestTimer checks that the timer of a real run never wakes early.
func TestTimer(t *testing.T) {
	timer := newTimer()
	defer timer.close()
	for _, d := range []time.Duration{-time.Second, 0, 1, 100 * time.Microsecond, 5 * time.Millisecond} {
		start := time.Now()
		timer.sleep(t.Context(), d)
		assert.GreaterOrEqual(t, time.Since(start), d)
	}
}
