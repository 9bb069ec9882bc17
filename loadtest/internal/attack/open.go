package attack

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// gracePeriod is how long after the end of the schedule delayed requests are still sent.
const gracePeriod = time.Second

// An Open loop sends requests when they are due, whether or not earlier ones have been answered.
type Open struct {
	schedule   *Schedule
	maxClients int
	start      time.Time
	unsent     int64
	clients    counter

	// Sleep replaces the timer, for tests with a clock of their own.
	Sleep func(context.Context, time.Duration)
}

// NewOpen returns a loop that follows schedule from start, with at most maxClients concurrent requests. A request that
// is due while all clients are busy is sent late. Measure its latency from when it was due, or the delay is lost.
func NewOpen(schedule *Schedule, maxClients int, start time.Time) *Open {
	o := &Open{schedule: schedule, maxClients: maxClients, start: start}
	o.clients.maxClients, o.clients.start = int64(maxClients), start
	return o
}

// Run sends the requests through transport. It returns when the last one is complete, or soon after ctx ends, provided
// that transport then ends its pending requests. Requests that could not be sent within a second after the end of the
// schedule are omitted.
func (o *Open) Run(ctx context.Context, transport http.RoundTripper) {
	// vegeta starts with one worker and adds workers, up to the maximum, while all are busy.
	o.clients.RoundTripper = transport
	attacker := newAttacker(&o.clients, 1, uint64(o.maxClients)) //nolint:gosec // the number of clients is positive
	end := o.schedule.Duration()                                 // of the part of the schedule that was run
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		end = min(end, time.Since(o.start))
		attacker.Stop()
		close(stopped)
	})
	sleep := o.Sleep
	if sleep == nil {
		timer := newTimer()
		defer timer.close()
		sleep = timer.sleep
	}
	pacer := &schedulePacer{ctx: ctx, Schedule: o.schedule, sleep: sleep, start: o.start}
	drain(attacker.Attack(vegeta.NewStaticTargeter(anyTarget()), pacer, 0, ""))
	interrupted := !stop()
	if interrupted {
		<-stopped
		if pacer.waiting || !o.Saturated() {
			return
		}
	}
	o.unsent = max(o.schedule.DueBefore(end)-o.clients.sent.Load(), 0)
}

// Unsent returns the number of requests that were due but not sent. After an interruption it counts only requests that
// were due while all clients were busy. Call it after Run.
func (o *Open) Unsent() int64 { return o.unsent }

// Saturated reports whether all clients have been busy at the same time.
func (o *Open) Saturated() bool { return o.clients.saturated.Load() }

// ClientDelay returns how late hit seq is if it is sent at the given time after the start, without the time in which
// all clients waited for responses: the load generator has caused this delay, not the server. It is safe for concurrent
// use.
func (o *Open) ClientDelay(seq uint64, at time.Duration) time.Duration {
	since := max(o.schedule.Due(seq), time.Duration(o.clients.saturatedUntil.Load()))
	return max(at-since, 0)
}

// A counter counts requests, and records when all clients are busy.
type counter struct {
	http.RoundTripper
	maxClients     int64
	start          time.Time
	sent, busy     atomic.Int64
	saturated      atomic.Bool  // all clients have been busy at the same time
	saturatedUntil atomic.Int64 // end of the last such time, as a time.Duration since start
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	if c.busy.Add(1) == c.maxClients {
		c.saturated.Store(true)
	}
	defer c.done()
	return c.RoundTripper.RoundTrip(req)
}

func (c *counter) done() {
	if c.busy.Add(-1) == c.maxClients-1 {
		c.saturatedUntil.Store(int64(time.Since(c.start)))
	}
}

// A schedulePacer is a vegeta.Pacer that follows a schedule. It sleeps itself, more precisely than vegeta does.
type schedulePacer struct {
	ctx context.Context //nolint:containedctx // stops the attack: vegeta's Stop may let a few more hits through
	*Schedule
	sleep   func(context.Context, time.Duration)
	start   time.Time // vegeta's own start is somewhat later
	waiting bool      // the attack stopped before the next request was due
}

// Pace returns when request i is due, so that vegeta need not wait.
func (p *schedulePacer) Pace(_ time.Duration, i uint64) (_ time.Duration, stop bool) {
	elapsed := time.Since(p.start)
	wait, stop := p.Schedule.Pace(elapsed, i)
	if stop || elapsed > p.duration+gracePeriod {
		return 0, true
	}
	p.sleep(p.ctx, wait)
	stop = p.ctx.Err() != nil
	p.waiting = stop && wait > 0
	return 0, stop
}

// sleepContext sleeps for d, or until ctx ends.
func sleepContext(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
