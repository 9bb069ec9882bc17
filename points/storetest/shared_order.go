package storetest

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// oneOrder answers batches through several stores, while one goroutine sets min numbers and updates the users, and
// checks that one order explains all results: that of the timestamps.
func oneOrder(t tester, open sharedOpener) {
	const steps, stores, readers = 40, 3, 6
	ids := upTo(50)
	opened := open(ids)
	h := newHistory(ids)
	h.claim(openState(t, opened), points.SyncRequest{Starting: true, TickNow: true, Interval: time.Millisecond})

	var done atomic.Bool
	var wg sync.WaitGroup
	batches := make([][]*orderedBatch, readers)
	states := make([]sharedState, stores)
	for i := range states {
		states[i] = openState(t, opened)
	}
	for i := range readers {
		wg.Go(func() { batches[i] = h.read(t, states[i%stores], &done) })
	}
	store := opened.Open()
	state := sharedState{store.Capabilities().SharedState, t}
	for range steps / 2 {
		h.claim(state, points.SyncRequest{Interval: time.Millisecond})
		h.update(t, store)
	}
	done.Store(true)
	wg.Wait()

	all := slices.Concat(batches...)
	sortBatches(all)
	for i, b := range all {
		previous := time.Time{}
		if i > 0 {
			previous = all[i-1].LastTimestamp
		}
		require.Equal(t, previous, b.PreviousTimestamp, "each batch must return the last timestamp of the batch before it")
	}
	requireRealTimeOrder(t, all)
	h.requireMoments(t, all)
}

// A history is what min numbers a goroutine has set and what updates it has made, as a sequence of steps.
type history struct {
	ids          []int64
	begun, ended atomic.Int64 // indices of steps

	mu    sync.Mutex
	steps []step

	order atomic.Int64 // counts calls and returns of batches
}

// A step is the state after a change: of the min number, or of all users, one by one in any order.
type step struct {
	minNumber int
	points    []int // of each of ids
	update    bool
}

func newHistory(ids []int64) *history {
	h := &history{ids: ids, steps: []step{{points: make([]int, len(ids))}}}
	return h
}

func (h *history) begin(next step) {
	h.mu.Lock()
	h.steps = append(h.steps, next)
	h.mu.Unlock()
	h.begun.Add(1)
}

func (h *history) last() step {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.steps[len(h.steps)-1]
}

// claim sets another min number.
func (h *history) claim(state sharedState, request points.SyncRequest) {
	next := h.last()
	// Every other number is low, so that many a wrong number shows in the users.
	next.minNumber, next.update = (next.minNumber+40+rand.IntN(20))%points.MaxPoints, false
	request.MinNumber = next.minNumber
	h.begin(next)
	state.claim(request)
	h.ended.Add(1)
}

func (h *history) update(t tester, store points.Store) {
	key := rand.Uint64()
	next := step{minNumber: h.last().minNumber, update: true, points: make([]int, len(h.ids))}
	for i, id := range h.ids {
		next.points[i] = points.Draw(id, key)
	}
	h.begin(next)
	update(t, store, h.ids, key)
	h.ended.Add(1)
}

// An orderedBatch is a batch with what is known of its moment.
type orderedBatch struct {
	points.SharedBatch

	limit            int
	from, to         int64 // steps that had ended before the call, and begun before the return
	called, returned int64 // in the order of all calls and returns
}

// read answers batches until done.
func (h *history) read(t tester, state sharedState, done *atomic.Bool) (batches []*orderedBatch) {
	for !done.Load() {
		n := 1 + rand.IntN(5)
		b := &orderedBatch{limit: 2, from: h.ended.Load(), called: h.order.Add(1)}
		if rand.IntN(2) == 0 {
			b.limit = len(h.ids) + 1
		}
		var err error
		b.SharedBatch, err = state.AnswerBatch(t.Context(), n, b.limit)
		b.returned, b.to = h.order.Add(1), h.begun.Load()
		if why := wrongBatch(b.SharedBatch, n, b.limit); err != nil || why != "" {
			assert.NoError(t, err, "AnswerBatch")
			assert.Empty(t, why)
			return batches
		}
		batches = append(batches, b)
		if len(batches)%10 == 0 && !isPast(t, state, b.LastTimestamp, h.order.Load()) {
			return batches
		}
	}
	return batches
}

// isPast checks that a timestamp of the past is not after the clock of the state. Timestamps may run ahead of it by a
// microsecond for each query.
func isPast(t tester, state sharedState, timestamp time.Time, calls int64) bool {
	status, err := state.Configure(t.Context(), points.ScheduleChange{})
	return assert.NoError(t, err, "Configure") &&
		assert.LessOrEqual(t, timestamp.Sub(status.Time), 5*time.Duration(calls)*time.Microsecond,
			"timestamps must not be in the future")
}

func sortBatches(batches []*orderedBatch) {
	slices.SortFunc(batches, func(a, b *orderedBatch) int {
		return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp), cmp.Compare(a.called, b.called))
	})
}

// requireRealTimeOrder checks that no batch returned before one with an earlier timestamp was called.
func requireRealTimeOrder(t tester, ordered []*orderedBatch) {
	firstReturn := int64(math.MaxInt64) // of those with later timestamps
	for _, b := range slices.Backward(ordered) {
		require.Greater(t, firstReturn, b.called,
			"a batch that is called after another one has returned must have later timestamps")
		firstReturn = min(firstReturn, b.returned)
	}
}

// requireMoments checks that each batch is of one moment between its call and its return, and that these moments are in
// the order of the timestamps. It looks for the earliest moment for each batch, which leaves most choice for the next.
func (h *history) requireMoments(t tester, ordered []*orderedBatch) {
	at := moment{reached: make([]bool, len(h.ids))}
	for i, b := range ordered {
		if b.from > at.step {
			at = moment{b.from, make([]bool, len(h.ids))}
		}
		for {
			after, why := h.fits(at, b)
			if why == "" {
				at = after
				break
			}
			if at.step >= b.to {
				require.Failf(t, "users and min number of a batch must be of one moment, which is between its call and "+
					"its return, and not before that of an earlier timestamp",
					"batch %d of %d, as of step %d of %d..%d: %s", i+1, len(ordered), at.step, b.from, b.to, why)
			}
			at = moment{at.step + 1, make([]bool, len(h.ids))}
		}
	}
}

// A moment is after a step, and if the next step is an update, after it has reached some of the users.
type moment struct {
	step    int64
	reached []bool
}

// fits returns the earliest moment of a batch after the same step. If there is none, it returns why.
func (h *history) fits(at moment, b *orderedBatch) (after moment, why string) {
	now := h.steps[at.step]
	updating := at.step < b.to && h.steps[at.step+1].update
	after = moment{at.step, slices.Clone(at.reached)}
	// advance reports whether user i can have such points. It may reach the user to that end.
	advance := func(i int, ok func(points int) bool) bool {
		if !after.reached[i] && ok(now.points[i]) {
			return true
		}
		after.reached[i] = after.reached[i] || updating
		return after.reached[i] && ok(h.steps[at.step+1].points[i])
	}
	listed := make(map[int64]bool)
	for _, u := range b.Users {
		i, found := slices.BinarySearch(h.ids, u.ID)
		switch {
		case !found || listed[u.ID]:
			return at, fmt.Sprintf("user %d must not be listed", u.ID)
		case u.Points <= now.minNumber:
			return at, fmt.Sprintf("user %d has %d points, with min number %d", u.ID, u.Points, now.minNumber)
		case !advance(i, func(points int) bool { return points == u.Points }):
			return at, fmt.Sprintf("user %d cannot have %d points", u.ID, u.Points)
		}
		listed[u.ID] = true
	}
	for i, id := range h.ids {
		if len(b.Users) < b.limit && !listed[id] && !advance(i, func(points int) bool { return points <= now.minNumber }) {
			return at, fmt.Sprintf("user %d is missing, with min number %d", id, now.minNumber)
		}
	}
	return after, ""
}

// consecutiveTimestamps takes more timestamps than microseconds pass.
func consecutiveTimestamps(t tester, open sharedOpener) {
	const n = 5000
	opened := open(upTo(3))
	states := []sharedState{openState(t, opened), openState(t, opened)}
	last := time.Time{}
	for i := range 10 {
		batch := states[i%2].answer(n, 2)
		require.Equal(t, last, batch.PreviousTimestamp, "each batch must return the last timestamp of the batch before it")
		last = batch.LastTimestamp
	}
}

// crash crashes the database during batches. What the state has confirmed is durable: the timestamps go on, and the
// schedule, the min number and the updates stay.
func crash(t tester, open sharedOpener) {
	const crashes, minNumber = 2, 77
	ids := upTo(100)
	opened := open(ids)
	if opened.Crash == nil {
		t.Skip("there is no SharedStores.Crash")
	}
	update(t, opened.Open(), ids, 1)
	state := openState(t, opened)
	state.claim(points.SyncRequest{Starting: true, TickNow: true, Interval: time.Hour, MinNumber: minNumber})
	state.sync(points.SyncRequest{Interval: time.Hour, Update: &points.SharedUpdate{
		ID: 7, Instance: "a", Users: 100, Outcome: points.UpdateSucceeded,
	}})
	paused := true
	before := state.configure(points.ScheduleChange{Paused: &paused})
	users := len(state.answer(1, len(ids)+1).Users)

	readers := make([]*crashReader, 4)
	var order atomic.Int64
	for i := range readers {
		readers[i] = &crashReader{state: openState(t, opened), order: &order}
	}
	missing := 0
	for range crashes {
		var done atomic.Bool
		var wg sync.WaitGroup
		for _, r := range readers {
			wg.Go(func() { r.read(t, &done) })
		}
		<-time.After(20 * time.Millisecond)
		opened.Crash()
		missing += 1 + state.awaitRecovery()
		<-time.After(20 * time.Millisecond)
		done.Store(true)
		wg.Wait()

		batch := state.answer(1, len(ids)+1)
		missing++ // this one
		require.Len(t, batch.Users, users, "the min number must survive a crash")
		require.True(t, isPast(t, state, batch.LastTimestamp, order.Load()))
		requireSurvives(t, before, state.status())
	}
	var all []*orderedBatch
	for _, r := range readers {
		all = append(all, r.batches...)
		missing += r.failed
	}
	require.NotEmpty(t, all, "batches beside crashes")
	requireNoneTwice(t, all, missing)
}

// requireSurvives compares the status before and after a crash.
func requireSurvives(t tester, before, after points.SharedStatus) {
	require.Equal(t, before.Ticks, after.Ticks, "the ticks must survive a crash")
	require.Equal(t, before.Interval, after.Interval, "the interval must survive a crash")
	require.True(t, after.Paused, "a pause must survive a crash")
	require.Equal(t, before.LastSuccess, after.LastSuccess, "the latest success must survive a crash")
}

// A crashReader answers batches, some of which fail.
type crashReader struct {
	state   sharedState
	order   *atomic.Int64 // counts calls and returns of batches
	batches []*orderedBatch
	failed  int
}

// read answers batches until done.
func (r *crashReader) read(t tester, done *atomic.Bool) {
	const n, limit = 3, 2
	for !done.Load() {
		b := &orderedBatch{limit: limit, called: r.order.Add(1)}
		var err error
		b.SharedBatch, err = r.state.AnswerBatch(t.Context(), n, limit)
		if b.returned = r.order.Add(1); err != nil {
			r.failed++
			<-time.After(time.Millisecond)
			continue
		}
		assert.Empty(t, wrongBatch(b.SharedBatch, n, limit))
		r.batches = append(r.batches, b)
	}
}

// awaitRecovery calls AnswerBatch until it succeeds. It returns the number of calls.
func (s sharedState) awaitRecovery() (calls int) {
	const patience = time.Minute
	for begin := time.Now(); ; <-time.After(10 * time.Millisecond) {
		calls++
		if _, err := s.AnswerBatch(s.t.Context(), 1, 1); err == nil {
			return calls
		}
		require.Less(s.t, time.Since(begin), patience, "AnswerBatch must succeed again after a crash")
	}
}

// requireNoneTwice checks the order of the timestamps of batches. At most so many batches are missing: those that
// failed, those of awaitRecovery, and one for each crash, because timestamps may skip some.
func requireNoneTwice(t tester, all []*orderedBatch, missing int) {
	sortBatches(all)
	requireRealTimeOrder(t, all)
	gaps := 0
	for i, b := range all {
		require.False(t, b.PreviousTimestamp.IsZero(), "a batch must not be the first one again after a crash")
		if i == 0 || b.PreviousTimestamp.Equal(all[i-1].LastTimestamp) {
			continue
		}
		require.Positive(t, b.PreviousTimestamp.Sub(all[i-1].LastTimestamp),
			"a timestamp must not be given twice, nor go back, after a crash")
		gaps++
	}
	require.LessOrEqual(t, gaps, missing, "only batches that failed explain timestamps that no batch has")
}
