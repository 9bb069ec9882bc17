package attack

import (
	"context"
	"net/http"
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
	sleep      func(time.Duration) // nil means a timer; tests replace it
}

// NewOpen returns a loop that follows schedule from start, with at most maxClients concurrent requests. A request that
// is due while all clients are busy is sent late. Measure its latency from when it was due, or the delay is lost.
func NewOpen(schedule *Schedule, maxClients int, start time.Time) *Open {
	return &Open{schedule: schedule, maxClients: maxClients, start: start}
}

// Run sends the requests through transport. It returns when the last one is complete, or soon after ctx ends, provided
// that transport then ends its pending requests. Requests that could not be sent within a second after the end of the
// schedule are omitted.
func (o *Open) Run(ctx context.Context, transport http.RoundTripper) {
	// vegeta starts with one worker and adds workers, up to the maximum, while all are busy.
	attacker := newAttacker(transport, 1, uint64(o.maxClients)) //nolint:gosec // the number of clients is positive
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	sleep := o.sleep
	if sleep == nil {
		timer := newTimer()
		defer timer.close()
		sleep = timer.sleep
	}
	drain(attacker.Attack(vegeta.NewStaticTargeter(anyTarget()), &schedulePacer{ctx, o.schedule, sleep, o.start}, 0, ""))
}

// A schedulePacer is a vegeta.Pacer that follows a schedule. It sleeps by itself, more precisely than vegeta does.
type schedulePacer struct {
	ctx context.Context //nolint:containedctx // stops the attack: vegeta's Stop may let a few more hits through
	*Schedule
	sleep func(time.Duration)
	start time.Time // vegeta's own start is somewhat later
}

// Pace returns when request i is due, so that vegeta need not wait.
func (p *schedulePacer) Pace(_ time.Duration, i uint64) (_ time.Duration, stop bool) {
	elapsed := time.Since(p.start)
	wait, stop := p.Schedule.Pace(elapsed, i)
	if stop || elapsed > p.duration+gracePeriod {
		return 0, true
	}
	p.sleep(wait)
	return 0, p.ctx.Err() != nil
}
