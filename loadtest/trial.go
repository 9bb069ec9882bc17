package main

import (
	"context"
	"net/http"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/attack"
	"github.com/pointsapp/pointsapp/loadtest/contract"
	"github.com/pointsapp/pointsapp/loadtest/promise"
	"github.com/pointsapp/pointsapp/loadtest/record"
	"github.com/pointsapp/pointsapp/loadtest/transport"
)

// visitRequests is how many requests a client sends on one hit of vegeta's. See README.md for what a hit costs.
const visitRequests = 16

// A trial is one load on the target and what came of it.
type trial struct {
	cfg      *config
	target   target
	schedule *attack.Schedule // nil: a closed loop
	warmUp   time.Duration    // of the schedule, not recorded
	progress func(completed int64)

	began   time.Time
	summary record.Summary
	checked contract.Result
	unsent  int64
}

// run returns when the load has ended, has been cut short by -t or by ctx, or cannot begin.
func (t *trial) run(ctx context.Context) error {
	if t.cfg.timeLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.cfg.timeLimit)
		defer cancel()
	}
	var checker *contract.Checker
	recorder := record.New(t.recording(func(x *transport.Exchange) { checker.Check(x) }))
	t.began = time.Now() // the recorder takes a moment, in which requests would already be due
	checker = contract.New(t.cfg.verify, t.began, t.target.local)
	var loop interface {
		Run(ctx context.Context, transport http.RoundTripper)
	}
	var again func() bool
	if t.schedule != nil {
		loop = attack.NewOpen(t.schedule, t.cfg.clients, t.began)
	} else {
		closed := attack.NewClosed(t.cfg.clients, t.cfg.requests)
		loop, again = closed, closed.Next
	}
	sender, err := t.transport(recorder.Observe, again)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, sender.Close)
	loop.Run(ctx, sender)
	elapsed := time.Since(t.began)
	stop()
	sender.Close()

	t.summary = recorder.Summary(elapsed - t.warmUp)
	t.checked = checker.Result()
	if t.schedule != nil {
		t.unsent = max(t.schedule.Requests()-t.schedule.DueBefore(t.warmUp)-t.summary.Attempts(), 0)
	}
	return nil
}

func (t *trial) recording(check func(*transport.Exchange)) record.Options {
	opts := record.Options{AnyLength: t.cfg.anyLength, Check: check, Progress: t.progress, WarmUp: t.warmUp}
	if t.schedule != nil {
		opts.Due = t.schedule.Due
	}
	return opts
}

// sender is one of the transports.
type sender interface {
	http.RoundTripper
	Close()
}

func (t *trial) transport(observe func(*transport.Exchange), again func() bool) (sender, error) {
	opts := transport.Options{
		Method: t.cfg.method, URL: t.cfg.url, Header: t.cfg.header, Addr: t.target.addr, KeepAlive: t.cfg.keepAlive,
		Timeout: t.cfg.timeout, Began: t.began, Observe: observe, Again: again, Visit: visitRequests,
	}
	if t.cfg.transport == standard {
		return transport.NewStandard(opts)
	}
	return transport.NewLean(opts)
}

// figures are those that promises are about.
func (t *trial) figures() *promise.Figures {
	s := &t.summary
	return &promise.Figures{
		Latency: s.Latency, Rate: t.rate(), Requests: s.Attempts() + t.unsent,
		Failed: s.Failed() + t.unsent, Non2xx: s.Non2xx, Length: s.Length, Violations: t.checked.Violations,
	}
}

// rate returns the complete requests per second.
func (t *trial) rate() float64 {
	return float64(t.summary.Complete) / max(t.summary.Elapsed.Seconds(), 1e-9)
}
