package attack

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// A Closed loop is a fixed number of clients, each of which sends its next request after the response to the previous
// one.
type Closed struct {
	clients  int
	requests int64
	sent     atomic.Int64
	stopped  atomic.Bool
}

// NewClosed returns a loop of clients that together send the given number of requests.
func NewClosed(clients int, requests int64) *Closed {
	return &Closed{clients: clients, requests: requests}
}

// Next reserves one of the remaining requests, and reports whether there was one. It is safe for concurrent use.
func (c *Closed) Next() bool {
	return !c.stopped.Load() && c.sent.Add(1) <= c.requests
}

// Run sends the requests through transport. It returns when the last one is complete, or soon after ctx ends, provided
// that transport then ends its pending requests.
//
// Each client is a separate Attacker with one worker. A single Attacker with many workers passes all hits through one
// goroutine and all results through another. On a busy machine the workers wait for these two, so fewer clients send at
// once than requested.
func (c *Closed) Run(ctx context.Context, transport http.RoundTripper) {
	stop := context.AfterFunc(ctx, func() { c.stopped.Store(true) })
	defer stop()
	var clients sync.WaitGroup
	for range c.clients {
		clients.Go(func() { drain(newAttacker(transport, 1, 1).Attack(c.nextTarget, noPacer{}, 0, "")) })
	}
	clients.Wait()
}

// nextTarget is a vegeta.Targeter. It starts the next request of a client, or stops the client.
func (c *Closed) nextTarget(t *vegeta.Target) error {
	if !c.Next() {
		return vegeta.ErrNoTargets
	}
	*t = anyTarget()
	return nil
}

// noPacer is a vegeta.Pacer that never waits: responses pace the clients.
type noPacer struct{}

func (noPacer) Pace(time.Duration, uint64) (wait time.Duration, stop bool) { return 0, false }
func (noPacer) Rate(time.Duration) float64                                 { return 0 }
