package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A prober is a group of clients that query a server continuously and check each answer: its form, and that no
// timestamp is returned twice.
type prober struct {
	stop func()

	mu         sync.Mutex
	timestamps [2]map[time.Time]bool // of the current 15 seconds and those before
	turn       time.Time             // when the current ones began
	nulls      int                   // answers without a timestamp
	starts     int                   // of the server
	stopping   time.Time             // when the server was stopped; zero while it runs
	violations []string

	// Since the last mark:
	since     time.Time
	statuses  map[int]int   // number of answers by status
	successes int           // answers with 200 since the last other answer
	first     time.Time     // when the first of these came
	slowest   time.Duration // answer
}

func startProber(t *testing.T, r *testServer) *prober {
	t.Helper()
	p := &prober{starts: 1, statuses: make(map[int]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	p.stop = sync.OnceFunc(func() { cancel(); clients.Wait() })
	t.Cleanup(p.stop)
	for range 8 {
		clients.Go(func() {
			var last time.Time
			for ctx.Err() == nil {
				began := time.Now()
				a, err := r.do(http.MethodGet, "/") //nolint:contextcheck // it gets its answer, also at the end
				last = p.record(a, err, began, last)
				<-time.After(10 * time.Millisecond) // the load is not what is tested
			}
		})
	}
	return p
}

// record checks and counts the answer to a client whose latest timestamp was last. It returns the latest one now.
func (p *prober) record(a answer, err error, began, last time.Time) time.Time {
	took := time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		if p.stopping.IsZero() {
			p.violations = append(p.violations, err.Error())
		}
		return last
	case a.status == http.StatusOK:
		if err := p.check(a, &last); err != nil {
			p.violations = append(p.violations, fmt.Sprintf("%v: %s", err, a.body))
		}
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1",
		a.status == http.StatusGatewayTimeout:
	default:
		p.violations = append(p.violations, fmt.Sprintf("status %d: %s", a.status, a.body))
	}
	if a.status != http.StatusOK {
		p.successes = 0
	} else if p.successes++; p.successes == 1 {
		p.first = time.Now()
	}
	p.statuses[a.status]++
	p.slowest = max(p.slowest, took)
	return last
}

// check checks an answer with status 200 to a client whose latest timestamp was *last, and updates *last.
func (p *prober) check(a answer, last *time.Time) error {
	const turn = 15 * time.Second // longer than any answer takes
	result, err := parseResult(a)
	if err != nil {
		return err
	}
	if result.Timestamp == nil {
		if p.nulls++; p.nulls > p.starts {
			return errors.New("more than one answer without a timestamp since the server was started")
		}
		return nil
	}
	timestamp := result.points().PreviousTimestamp
	if time.Since(p.turn) > turn {
		p.timestamps = [2]map[time.Time]bool{{}, p.timestamps[0]}
		p.turn = time.Now()
	}
	switch {
	case p.timestamps[0][timestamp] || p.timestamps[1][timestamp]:
		return errors.New("a timestamp that was returned before")
	case !timestamp.After(*last):
		return fmt.Errorf("a timestamp that is not after this client's latest one, %v", *last)
	case timestamp.After(time.Now()):
		return errors.New("a timestamp in the future")
	}
	p.timestamps[0][timestamp] = true
	*last = timestamp
	return nil
}

// mark resets what was counted.
func (p *prober) mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.successes, p.slowest = time.Now(), 0, 0
	clear(p.statuses)
}

// until waits until a condition is true, which is called with the lock held.
func (p *prober) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return condition()
	}, patience, pollInterval, "clients do not get %s: %v", what, p)
}

// recoveryTime waits until clients get nothing but answers with 200, and returns how long that took since the mark.
func (p *prober) recoveryTime(t *testing.T) time.Duration {
	t.Helper()
	p.until(t, "answers again", func() bool { return p.successes >= 50 })
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first.Sub(p.since)
}

// String returns the number of answers by status, and the slowest, since the mark.
func (p *prober) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make([]string, 0, len(p.statuses))
	for _, status := range slices.Sorted(maps.Keys(p.statuses)) {
		counts = append(counts, fmt.Sprintf("%d: %d", status, p.statuses[status]))
	}
	return fmt.Sprintf("%s, slowest %v", strings.Join(counts, ", "), p.slowest.Round(time.Millisecond))
}

// addTo adds the number of answers by status to counts, and resets it.
func (p *prober) addTo(counts map[int]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for status, n := range p.statuses {
		counts[status] += n
	}
	clear(p.statuses)
}

// allViolations returns a copy of the violations, while clients may add further ones.
func (p *prober) allViolations() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.violations)
}
