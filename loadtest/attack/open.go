package attack

import (
	"context"
	"net/http"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// An Open loop sends requests when they are due, whatever becomes of those before, as many independent users do.
type Open struct {
	schedule   *Schedule
	maxClients int
}

// NewOpen returns a loop that follows the schedule with at most maxClients requests at a time. A request that is due when
// that many are under way is sent late; count its latency from when it was due.
func NewOpen(schedule *Schedule, maxClients int) *Open {
	return &Open{schedule: schedule, maxClients: maxClients}
}

// Run sends the requests through transport and returns when the last one has been answered, or soon after ctx ends if
// transport's requests then end. Requests that could not be sent by the schedule's end are not sent any more.
func (o *Open) Run(ctx context.Context, transport http.RoundTripper) {
	// All clients may be needed at once, after a stall: vegeta adds them one by one, as it finds the others busy.
	attacker := newAttacker(transport, 1, uint64(o.maxClients)) //nolint:gosec // a number of clients is positive
	stop := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stop()
	drain(attacker.Attack(vegeta.NewStaticTargeter(anything), o.schedule, o.schedule.duration+time.Nanosecond, ""))
}
