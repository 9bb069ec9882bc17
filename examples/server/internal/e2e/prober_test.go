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

// A prober is a group of clients that query servers continuously and check each answer: its form, and that no
// timestamp is returned twice.
type prober struct {
	stop  func()
	calls sync.RWMutex // each call holds it for reading: see checkOrder

	mu         sync.Mutex
	targets    []*target
	timestamps [2]map[time.Time]bool // of the current 15 seconds and those before
	turn       time.Time             // when the current ones began
	nulls      int                   // answers without a timestamp
	orders     int                   // begun so far: each has one answer without a timestamp
	order      order
	violations []string

	// Since the last mark:
	since    time.Time
	statuses map[int]int   // number of answers by status
	slowest  time.Duration // answer
}

// A target is a server that a prober queries.
type target struct {
	server    *testServer
	down      bool      // it was stopped
	upSince   time.Time // the end of the last time that it was down
	successes int       // answers with 200 since the last other answer or the last mark
	first     time.Time // when the first of these came
}

// startProber starts clients of these servers: at least 8 in all, and 3 of each.
func startProber(t *testing.T, servers ...*testServer) *prober {
	t.Helper()
	p := &prober{orders: 1, statuses: make(map[int]int)}
	for _, r := range servers {
		p.targets = append(p.targets, &target{server: r})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	p.stop = sync.OnceFunc(func() { cancel(); clients.Wait() })
	t.Cleanup(p.stop)
	for i := range max(8, 3*len(servers)) {
		clients.Go(func() {
			var last time.Time
			for ctx.Err() == nil {
				last = p.query(p.targets[i%len(servers)], last) //nolint:contextcheck // it gets its answer, also at the end
				<-time.After(10 * time.Millisecond)             // the load is not what is tested
			}
		})
	}
	return p
}

// query makes the query of a client whose latest timestamp was last. It returns the latest one now.
func (p *prober) query(to *target, last time.Time) time.Time {
	p.calls.RLock()
	defer p.calls.RUnlock()
	began := time.Now()
	a, err := to.server.do(http.MethodGet, "/")
	return p.record(to, a, err, began, last)
}

// record checks and counts the answer to a client whose latest timestamp was last. It returns the latest one now.
func (p *prober) record(to *target, a answer, err error, began, last time.Time) time.Time {
	ended := time.Now()
	took := ended.Sub(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		if !to.down && began.After(to.upSince) {
			p.violations = append(p.violations, err.Error())
		}
		p.order.add(time.Time{}, began, ended)
		return last
	case a.status == http.StatusOK:
		before := last
		if err := p.check(a, &last); err != nil {
			p.violations = append(p.violations, fmt.Sprintf("%v: %s", err, a.body))
		}
		if last.After(before) {
			p.order.add(last, began, ended)
		} else {
			p.order.add(time.Time{}, began, ended) // there is no timestamp
		}
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "1",
		a.status == http.StatusGatewayTimeout:
	default:
		p.violations = append(p.violations, fmt.Sprintf("status %d: %s", a.status, a.body))
	}
	if a.status != http.StatusOK {
		to.successes = 0
		p.order.add(time.Time{}, began, ended)
	} else if to.successes++; to.successes == 1 {
		to.first = ended
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
		if p.nulls++; p.nulls > p.orders {
			return errors.New("more than one answer without a timestamp in one order")
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
	p.since, p.slowest = time.Now(), 0
	clear(p.statuses)
	for _, to := range p.targets {
		to.successes = 0
	}
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

// successes returns how many answers with 200 each server has given since its last other answer or the last mark, at
// least. It is called with the lock held.
func (p *prober) successes() int {
	least := p.targets[0].successes
	for _, to := range p.targets[1:] {
		least = min(least, to.successes)
	}
	return least
}

// recoveryTime waits until clients get nothing but answers with 200 of all servers, and returns how long that took
// since the mark.
func (p *prober) recoveryTime(t *testing.T) time.Duration {
	t.Helper()
	p.until(t, "answers again", func() bool { return p.successes() >= 50 })
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, to := range p.targets {
		longest = max(longest, to.first.Sub(p.since))
	}
	return longest
}

// setDown sets whether clients may find no server there.
func (p *prober) setDown(r *testServer, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, to := range p.targets {
		if to.server == r {
			to.down, to.upSince = down, time.Now()
		}
	}
}

// beginOrder makes an answer without a timestamp right once more.
func (p *prober) beginOrder() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders++
}

// checkOrder checks the order of all answers since the last call. It waits until no query is in progress.
func (p *prober) checkOrder() error {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.order.check()
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
