package attack

import (
	"context"
	"net/http"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// grace is how long after the schedule's end a request is still sent that could not be sent when it was due.
const grace = time.Second

// An Open loop sends requests when they are due, whatever becomes of those before, as many independent users do.
type Open struct {
	schedule   *Schedule
	maxClients int
	began      time.Time
	wait       func(time.Duration) // nil but in tests: with an alarm
}

// NewOpen returns a loop that follows the schedule, as counted from began, with at most maxClients requests at a time.
// A request that is due when that many are under way is sent late; count its latency from when it was due.
func NewOpen(schedule *Schedule, maxClients int, began time.Time) *Open {
	return &Open{schedule: schedule, maxClients: maxClients, began: began}
}

// Run sends the requests through transport and returns when the last one has been answered, or soon after ctx ends if
// transport's requests then end. Requests that could not be sent until a second after the schedule's end are left out.
func (o *Open) Run(ctx context.Context, transport http.RoundTripper) {
	// All clients may be needed at once, after a stall: vegeta adds them one by one, as it finds the others busy.
	attacker := newAttacker(transport, 1, uint64(o.maxClients)) //nolint:gosec // a number of clients is positive
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	wait := o.wait
	if wait == nil {
		alarm := newAlarm()
		defer alarm.close()
		wait = alarm.wait
	}
	drain(attacker.Attack(vegeta.NewStaticTargeter(anything()), &punctual{ctx, o.schedule, wait, o.began}, 0, ""))
}

// punctual is a Pacer that follows a schedule with waits of its own.
type punctual struct {
	ctx context.Context //nolint:containedctx // ends the attack: vegeta's Stop may let some more hits through
	*Schedule
	wait  func(time.Duration)
	began time.Time // vegeta's own beginning is some time after it
}

// Pace returns when request i is due: vegeta then has nothing to wait for.
func (p *punctual) Pace(_ time.Duration, i uint64) (_ time.Duration, stop bool) {
	elapsed := time.Since(p.began)
	wait, stop := p.Schedule.Pace(elapsed, i)
	if stop || elapsed > p.duration+grace {
		return 0, true
	}
	p.wait(wait)
	return 0, p.ctx.Err() != nil
}
