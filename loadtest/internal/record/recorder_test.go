package record

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// response returns an exchange with a complete response.
func response(start, took time.Duration) *transport.Exchange {
	return &transport.Exchange{
		Start: start, Connected: start, Sent: start, FirstByte: start + took, Done: start + took,
		Status: 200, Received: 100, BodyBytes: 10, KeptAlive: true,
	}
}

func TestDistributionAgainstSorted(t *testing.T) {
	for _, n := range []int{1, 2, 3, 100, 9999} {
		random := rand.New(rand.NewPCG(uint64(n), 1))
		d := NewDistribution()
		values := make([]time.Duration, n)
		sum := time.Duration(0)
		for i := range values {
			values[i] = time.Duration(random.ExpFloat64()*20_000) * time.Microsecond
			sum += values[i]
			d.Add(values[i])
		}
		slices.Sort(values)
		assert.EqualValues(t, n, d.Count())
		assert.Equal(t, values[0], d.Min())
		assert.Equal(t, values[n-1], d.Max())
		assert.InDelta(t, sum/time.Duration(n), d.Mean(), float64(time.Microsecond))
		for _, p := range []float64{0, 1, 50, 66, 75, 90, 99, 99.9, 100} {
			want := values[min(int(float64(n)*p/100), n-1)]
			assert.InEpsilon(t, want+time.Microsecond, d.Percentile(p)+time.Microsecond, 0.001, "p%v of %d", p, n)
		}
	}
}

func TestDistributionDeviation(t *testing.T) {
	d := NewDistribution()
	assert.Zero(t, d.Deviation())
	assert.Zero(t, d.Percentile(50))
	for _, ms := range []int{2, 4, 4, 4, 5, 5, 7, 9} {
		d.Add(time.Duration(ms) * time.Millisecond)
	}
	assert.InDelta(t, 2.13809, d.Deviation().Seconds()*1000, 1e-4) // sqrt(32/7)
}

func TestCounts(t *testing.T) {
	r := New(Options{})
	failed := func(kind transport.Failure) *transport.Exchange {
		x := response(0, time.Second)
		x.Status, x.Failure, x.Err, x.KeptAlive, x.BodyBytes, x.Received = 0, kind, errors.New("no"), false, 0, 7
		return x
	}
	other := response(0, time.Second)
	other.Status, other.BodyBytes, other.KeptAlive = 503, 12, false
	first := response(0, time.Second)
	first.Server = []byte("s/1")
	for _, x := range []*transport.Exchange{
		first, response(1, time.Second), other, failed(transport.Connect), failed(transport.Receive), failed(transport.Exception),
	} {
		r.Observe(x)
	}
	s := r.Summary(2 * time.Second)
	assert.Equal(t, Counts{
		Complete: 5, Connect: 1, Receive: 1, Exceptions: 1, Length: 1, Successful: 2, Non2xx: 1, KeptAlive: 2, Received: 321, Body: 32,
	}, s.Counts)
	assert.EqualValues(t, 3, s.Failed())
	assert.EqualValues(t, 6, s.Ended())
	assert.Equal(t, "s/1", s.ServerSoftware)
	assert.EqualValues(t, 10, s.DocumentLength)
	assert.Equal(t, []FailureCount{{"no", 3}}, s.Failures)
	assert.Equal(t, []StatusCount{{200, 2}, {503, 1}}, s.Statuses)
	assert.Equal(t, Live{Complete: 5, Errors: 4, P50: time.Second, P99: time.Second}, r.Live())
	assert.EqualValues(t, 5, s.Total.Count(), "failed connections have no times")
}

func TestLatencyCountsFromDue(t *testing.T) {
	checked := 0
	r := New(Options{
		Due: func(seq uint64) time.Duration { return time.Duration(seq) * time.Second }, WarmUp: time.Second,
		Check: func(*transport.Exchange) { checked++ },
	})
	for seq := range uint64(3) {
		x := response(3*time.Second, time.Second) // all sent at 3 s, but due at 0, 1 and 2 s
		x.Seq = seq
		r.Observe(x)
	}
	s := r.Summary(3 * time.Second)
	assert.EqualValues(t, 2, s.Complete, "the first was due during the warm-up")
	assert.Equal(t, 3, checked, "the warm-up is checked as well")
	assert.Equal(t, 2*time.Second, s.Latency.Min())
	assert.Equal(t, 3*time.Second, s.Latency.Max())
	assert.Equal(t, time.Second, s.Total.Max())
	last := s.Timeline[len(s.Timeline)-1]
	assert.EqualValues(t, 2, last.Requests)
	assert.LessOrEqual(t, last.Start, 3*time.Second)
}

// TestAborted checks that a pending request counts with its age.
func TestAborted(t *testing.T) {
	const start = time.Second
	aborted := response(start, 9*time.Second)
	aborted.Failure, aborted.Status = transport.Aborted, 0
	for name, opts := range map[string]Options{
		"closed loop": {},
		"open loop":   {Due: func(uint64) time.Duration { return 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(opts)
			for range 20 {
				r.Observe(response(start, 8*time.Millisecond))
			}
			for range 5 {
				r.Observe(aborted)
			}
			s := r.Summary(10 * time.Second)
			assert.EqualValues(t, 5, s.Aborted)
			assert.EqualValues(t, 20, s.Complete)
			assert.Zero(t, s.Failed())
			assert.Equal(t, 9*time.Second, s.Total.Max())
			assert.Equal(t, 9*time.Second, s.Total.Percentile(100))
			assert.InEpsilon(t, 8*time.Millisecond, s.Total.Percentile(99), 0.001)
			if opts.Due != nil {
				assert.InEpsilon(t, 10*time.Second, s.Latency.Percentile(81), 0.001)
				assert.Equal(t, 10*time.Second, s.Latency.Max())
			}
		})
	}
}

// TestStalled tests responses that took up to a second, and requests that are pending at the end.
func TestStalled(t *testing.T) {
	for name, tt := range map[string]struct {
		elapsed time.Duration
		since   []time.Duration // when the pending requests were sent
		want    int64
	}{
		"hangs":           {10 * time.Second, []time.Duration{0, 4 * time.Second}, 2},
		"one of two":      {10 * time.Second, []time.Duration{7 * time.Second, 9 * time.Second}, 1},
		"short run":       {3 * time.Second, []time.Duration{time.Second}, 1},
		"usual":           {5 * time.Second, []time.Duration{4 * time.Second, 3600 * time.Millisecond}, 0},
		"nothing pending": {10 * time.Second, nil, 0},
	} {
		r := New(Options{})
		r.Observe(response(0, time.Second))
		for _, since := range tt.since {
			x := response(since, tt.elapsed-since)
			x.Failure = transport.Aborted
			r.Observe(x)
		}
		assert.Equal(t, tt.want, r.Summary(tt.elapsed).Stalled, name)
	}
}

// TestPendingWholeRun tests requests that are pending nearly from the start of a run to its end.
func TestPendingWholeRun(t *testing.T) {
	for _, tt := range []struct {
		slowest, elapsed, since time.Duration
		want                    int64
	}{
		{9300 * time.Millisecond, 10 * time.Second, 100 * time.Millisecond, 1},
		{9300 * time.Millisecond, 10 * time.Second, 2 * time.Second, 0},
		{time.Millisecond, 300 * time.Millisecond, 0, 1},
		{time.Millisecond, 300 * time.Millisecond, 100 * time.Millisecond, 0},
	} {
		r := New(Options{})
		r.Observe(response(0, tt.slowest))
		x := response(tt.since, tt.elapsed-tt.since)
		x.Failure = transport.Aborted
		r.Observe(x)
		assert.Equal(t, tt.want, r.Summary(tt.elapsed).Stalled, tt)
	}
}

func TestTimelineMergesIntervals(t *testing.T) {
	r := New(Options{})
	const seconds = 100
	for i := range seconds * 10 {
		x := response(time.Duration(i)*100*time.Millisecond, time.Millisecond)
		if i == 500 {
			x.Status = 500
			x.Done += 2 * time.Second
		}
		r.Observe(x)
	}
	timeline := r.Summary(seconds * time.Second).Timeline
	assert.LessOrEqual(t, len(timeline), maxIntervals)
	assert.Greater(t, len(timeline), maxIntervals/2)
	var requests, errs int64
	longest := time.Duration(0)
	for i, interval := range timeline {
		requests += interval.Requests
		errs += interval.Errors
		longest = max(longest, interval.Max)
		if i > 0 {
			before := timeline[i-1]
			require.Equal(t, before.Start+before.Width, interval.Start)
		}
	}
	assert.EqualValues(t, seconds*10, requests)
	assert.EqualValues(t, 1, errs)
	assert.InEpsilon(t, 2*time.Second, longest, 0.01)
}

// TestObserveDoesNotAllocate ensures that memory does not depend on the number of requests.
func TestObserveDoesNotAllocate(t *testing.T) {
	r := New(Options{})
	i := 0
	allocated := testing.AllocsPerRun(10_000, func() {
		r.Observe(response(time.Duration(i)*time.Microsecond, time.Duration(i)*time.Microsecond))
		i++
	})
	assert.LessOrEqual(t, allocated, 1.0, "only the exchange itself")
}

// TestServerSoftwareIsPrintable checks that a Server header cannot control the terminal.
func TestServerSoftwareIsPrintable(t *testing.T) {
	r := New(Options{})
	x := response(0, time.Second)
	x.Server = []byte("nginx\x1b[2J\t1.25 ")
	r.Observe(x)
	assert.Equal(t, "nginx [2J 1.25", r.Summary(time.Second).ServerSoftware)
}

// TestFailuresAreBounded tests more kinds of errors than are counted separately.
func TestFailuresAreBounded(t *testing.T) {
	r := New(Options{})
	for i := range 100 {
		for range i + 1 {
			x := response(0, time.Second)
			x.Failure, x.Err = transport.Receive, fmt.Errorf("error %d", i)
			r.Observe(x)
		}
	}
	failures := r.Summary(time.Second).Failures
	require.Len(t, failures, maxFailures+1)
	assert.Equal(t, FailureCount{otherFailure, 5050 - 55}, failures[0])
	assert.Equal(t, FailureCount{"error 9", 10}, failures[1])
	assert.Equal(t, FailureCount{"error 0", 1}, failures[10])
}

func TestCountsUpTo(t *testing.T) {
	d := NewDistribution()
	for i := range 1000 {
		d.Add(time.Duration(i+1) * time.Microsecond)
	}
	got := d.CountsUpTo([]time.Duration{100 * time.Microsecond, 200 * time.Microsecond, time.Millisecond, time.Second})
	assert.Equal(t, []int64{100, 100, 800, 0}, got)
}

// TestLastInterval tests a response right at the beginning of the last interval: its rate stays plausible.
func TestLastInterval(t *testing.T) {
	for rest, want := range map[time.Duration]time.Duration{
		-time.Second: firstWidth, 0: firstWidth, time.Microsecond: firstWidth, firstWidth / 2: firstWidth / 2, time.Second: firstWidth,
	} {
		r := New(Options{})
		r.Observe(response(firstWidth, 0))
		timeline := r.Summary(firstWidth + rest).Timeline
		assert.Equal(t, want, timeline[len(timeline)-1].Width, rest)
	}
}
