package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/cputime"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// A capacityServer is a simulated server whose capacity is known: slots requests at a time, service each.
type capacityServer struct {
	slots   int
	service time.Duration

	mu   sync.Mutex
	free []time.Time // when each slot is free again
}

// serve waits until a request that arrives now is answered.
func (s *capacityServer) serve() {
	time.Sleep(time.Until(s.reserve())) //nolint:forbidigo // synctest's clock, or the time that the service takes
}

// reserve returns when a request that arrives now is answered.
func (s *capacityServer) reserve() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, first := time.Now(), 0
	for len(s.free) < s.slots {
		s.free = append(s.free, now)
	}
	for i, at := range s.free {
		if at.Before(s.free[first]) {
			first = i
		}
	}
	if s.free[first].Before(now) {
		s.free[first] = now
	}
	s.free[first] = s.free[first].Add(s.service)
	return s.free[first]
}

// A simulatedClient sends to a simulatedServer.
type simulatedClient struct {
	transport.Options
	server *simulatedServer
	closed context.Context // ends with Close
	cancel context.CancelFunc
}

// A simulatedServer answers like PointsApp.
type simulatedServer struct {
	status   int              // of each response; 0 means 200
	hangs    func(int64) bool // whether a request is never answered; nil: none
	refuses  func(int64) bool // whether the connection for a request is refused; nil: none
	capacity *capacityServer  // nil: answers at once
	onServe  func(n int64)    // called for each request, counted from 1; may be nil
	violates func(int64) bool // whether the answer has a timestamp that was returned before; nil: none has
	minSleep time.Duration    // of the load generator's timer
	requests atomic.Int64

	unavailable func(int64) bool // whether the response has status 503; nil: none has
}

// serve returns the status and body of the response.
func (s *simulatedServer) serve(n int64) (status int, body []byte) {
	status = cmp.Or(s.status, http.StatusOK)
	if s.unavailable != nil && s.unavailable(n) {
		status = http.StatusServiceUnavailable
	}
	if s.onServe != nil {
		s.onServe(n)
	}
	if s.capacity != nil {
		s.capacity.serve()
	}
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	if s.violates == nil || !s.violates(n) {
		at = at.Add(time.Duration(n) * time.Microsecond)
	}
	return status, fmt.Appendf(nil, `{"users":[],"timestamp":%q}`, at.Format("2006-01-02T15:04:05.000000Z07:00"))
}

func (c *simulatedClient) RoundTrip(req *http.Request) (*http.Response, error) {
	seq, err := strconv.ParseUint(req.Header.Get("X-Vegeta-Seq"), 10, 64)
	if err != nil {
		return nil, err
	}
	if c.closed.Err() != nil { // like the other transports
		return nil, transport.ErrClosed
	}
	x := transport.Exchange{Seq: seq, Start: time.Since(c.Epoch)}
	x.Connected, x.Sent, x.FirstByte, x.Done = x.Start, x.Start, x.Start, x.Start
	if c.ClientDelay != nil {
		x.ClientDelay = c.ClientDelay(seq, x.Start)
	}
	n := c.server.requests.Add(1)
	if c.server.refuses != nil && c.server.refuses(n) {
		x.Failure, x.Err = transport.Connect, syscall.ECONNREFUSED
		c.Observe(&x)
		return nil, x.Err
	}
	status, body := c.server.serve(n)
	x.Body = body
	if c.server.hangs != nil && c.server.hangs(n) {
		<-c.closed.Done()
		x.Failure, x.Err = transport.Aborted, transport.ErrClosed
	} else {
		x.Status = status
	}
	x.FirstByte = time.Since(c.Epoch)
	x.Done = x.FirstByte
	c.Observe(&x)
	if x.Err != nil {
		return nil, x.Err
	}
	return &http.Response{StatusCode: x.Status, Body: http.NoBody}, nil
}

func (c *simulatedClient) Close() { c.cancel() }

// search searches for the highest rate of a simulated server, in the time of a synctest bubble.
func search(ctx context.Context, t *testing.T, server *simulatedServer, args ...string) (out string, err error) {
	t.Helper()
	return simulate(ctx, t, server, append([]string{"-find-max", "-duration", "500ms"}, args...)...)
}

// simulate runs the command with a simulated server, in the time of a synctest bubble.
func simulate(ctx context.Context, t *testing.T, server *simulatedServer, args ...string) (out string, err error) {
	t.Helper()
	cfg, err := flags.Parse(append(args, "http://127.0.0.1:1/"))
	require.NoError(t, err)
	var stdout bytes.Buffer
	c := command{cfg: cfg, stdout: &stdout, stderr: &stdout}
	c.out, err = openOutputs(ctx, cfg, &stdout)
	require.NoError(t, err)
	c.sim = &simulation{
		transport: func(opts transport.Options) roundTripCloser {
			client := &simulatedClient{Options: opts, server: server}
			client.closed, client.cancel = context.WithCancel(context.Background())
			return client
		},
		sleep: func(ctx context.Context, d time.Duration) {
			select {
			case <-time.After(max(d, server.minSleep)):
			case <-ctx.Done():
			}
		},
	}
	err = c.start(ctx)
	return stdout.String(), err
}

// TestVerdict searches with an SLO that is lax enough for a backlog: only the rate reached shows the capacity.
func TestVerdict(t *testing.T) {
	for name, tt := range map[string]struct {
		slots    int
		service  time.Duration
		capacity int
	}{
		"FIFO":        {1, 2500 * time.Microsecond, 400},
		"eight slots": {8, 20 * time.Millisecond, 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &simulatedServer{capacity: &capacityServer{slots: tt.slots, service: tt.service}}
				out, err := search(t.Context(), t, server, "-slo", "p99<500ms", "-rate", "250")
				require.NoError(t, err, out)
				_, after, _ := strings.Cut(out, "Verdict: the server meets p99<500ms,errors<1% at ")
				number, _, _ := strings.Cut(after, " ")
				verdict, err := strconv.Atoi(number)
				require.NoError(t, err, out)
				assert.InEpsilon(t, tt.capacity, verdict, 0.05, out)
				assert.Contains(t, out, "confirmed by a longer run")
				assert.NotContains(t, out, "limited by the load generator")
			})
		})
	}
}

// TestClientLimit uses a server without limit, and a load generator whose timer takes at least 5 milliseconds.
func TestClientLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &simulatedServer{minSleep: 5 * time.Millisecond}
		out, err := search(t.Context(), t, server, "-slo", "p99<50ms", "-rate", "80")
		require.ErrorIs(t, err, errCheckFailed)
		assert.Contains(t, out, "limited by the load generator: it sent requests late")
		assert.Contains(t, out, "No verdict about the server: limited by the load generator.")
		assert.NotContains(t, out, "Verdict: ")

		// Late requests are a burst, which the server rejects.
		last := time.Time{}
		server = &simulatedServer{minSleep: 60 * time.Millisecond, unavailable: func(int64) bool {
			rejects := time.Since(last) < time.Millisecond
			last = time.Now()
			return rejects
		}}
		out, err = search(t.Context(), t, server, "-slo", "p99<1s", "-rate", "80")
		require.ErrorIs(t, err, errCheckFailed)
		assert.Contains(t, out, "No verdict about the server: limited by the load generator.")
	})
}

// TestClientLimitRules tests a run of ten requests at 10/s with the SLO p99<50ms.
func TestClientLimitRules(t *testing.T) {
	for name, tt := range map[string]struct {
		latency, delay time.Duration // of each request; delay is the part that the load generator caused
		status         int           // 0 means 200
		cpu            cputime.Share
		err            error
		unsent         bool // none of the requests could be sent
		want           string
	}{
		"met":                    {latency: 10 * time.Millisecond},
		"met with a full CPU":    {latency: 10 * time.Millisecond, cpu: cputime.Share{Used: 1}},
		"server":                 {latency: 100 * time.Millisecond},
		"server, although late":  {latency: 100 * time.Millisecond, delay: 20 * time.Millisecond},
		"late, but no success":   {latency: 40 * time.Millisecond, delay: 20 * time.Millisecond, status: http.StatusServiceUnavailable},
		"late":                   {latency: 100 * time.Millisecond, delay: 80 * time.Millisecond, want: "it sent requests late"},
		"refused, full CPU":      {err: syscall.ECONNREFUSED, cpu: cputime.Share{Used: 1}},
		"errors, full CPU":       {status: http.StatusServiceUnavailable, cpu: cputime.Share{Used: 1}},
		"nothing sent, full CPU": {unsent: true, cpu: cputime.Share{Used: 1}, want: "it used 100% of its CPU time"},
		"no free port":           {err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL), want: "it had no free port, file descriptor or buffer for 10 requests"},
		"no CPU time":            {latency: 100 * time.Millisecond, cpu: cputime.Share{Used: 0.97}, want: "it used 97% of its CPU time"},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRun(t, 10)
			recorder := record.New(r.recordOptions(func(*transport.Exchange) {}))
			for seq := range uint64(10) {
				if tt.unsent {
					r.unsent++
					continue
				}
				due := r.schedule.Due(seq)
				x := &transport.Exchange{
					Seq: seq, Start: due + tt.delay, ClientDelay: tt.delay, Done: due + tt.latency, Status: cmp.Or(tt.status, 200),
				}
				if tt.err != nil {
					x.Status, x.Failure, x.Err = 0, transport.Connect, tt.err
				}
				recorder.Observe(x)
			}
			r.summary, r.cpu = recorder.Summary(time.Second), tt.cpu
			clauses, err := slo.Parse("p99<50ms")
			require.NoError(t, err)
			limit := r.clientLimit(clauses)
			if tt.want == "" {
				assert.Empty(t, limit)
			} else {
				assert.Contains(t, limit, tt.want)
			}
		})
	}
}

// openRun returns an open loop of one second that has not run.
func openRun(t *testing.T, rate int) *run {
	t.Helper()
	schedule, err := attack.NewSchedule(attack.Rate{From: float64(rate), To: float64(rate)}, time.Second)
	require.NoError(t, err)
	return &run{cfg: &flags.Config{}, schedule: schedule}
}
