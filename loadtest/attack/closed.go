package attack

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// A Closed loop is a number of clients, each of which sends a request when it has the answer to the one before.
type Closed struct {
	clients  int
	requests int64
	sent     atomic.Int64
	stopped  atomic.Bool
}

// NewClosed returns a loop of so many clients that send so many requests together.
func NewClosed(clients int, requests int64) *Closed {
	return &Closed{clients: clients, requests: requests}
}

// Next takes one of the requests that are left, and tells whether there was one. It is safe for concurrent use.
func (c *Closed) Next() bool {
	return !c.stopped.Load() && c.sent.Add(1) <= c.requests
}

// Run sends the requests through transport and returns when the last one has been answered, or soon after ctx ends if
// transport's requests then end.
//
// Each client is an Attacker of its own with one worker. One Attacker with many workers hands out hits and takes in
// results one at a time through one goroutine each, so that on a busy machine clients wait for their turn to send: they
// are fewer than they are said to be.
func (c *Closed) Run(ctx context.Context, transport http.RoundTripper) {
	stop := context.AfterFunc(ctx, func() { c.stopped.Store(true) })
	defer stop()
	var clients sync.WaitGroup
	for range c.clients {
		clients.Go(func() { drain(newAttacker(transport, 1, 1).Attack(c.target, unpaced{}, 0, "")) })
	}
	clients.Wait()
}

// target gives a client its next request, or stops it.
func (c *Closed) target(t *vegeta.Target) error {
	if !c.Next() {
		return vegeta.ErrNoTargets
	}
	*t = anything()
	return nil
}

// unpaced is a Pacer that never waits: the clients do, for their answers.
type unpaced struct{}

func (unpaced) Pace(time.Duration, uint64) (wait time.Duration, stop bool) { return 0, false }
func (unpaced) Rate(time.Duration) float64                                 { return 0 }
