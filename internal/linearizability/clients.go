package linearizability

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A ClientHistory is a history of several processes with one shared state, seen from outside: clients record their
// queries, and a database records the min numbers and the points. The times of all of them must be of one clock. It is
// safe for concurrent use.
//
//	history := linearizability.NewClientHistory(20, users, minNumber) // before the first query
//	// ... each of 20 clients:
//	history.Answered(called, returned, result)
//	// ... from the database's records, in their order:
//	history.MinNumber(55, from, to)
//	history.Updated(users, from, to)
//	// ... when all calls have returned:
//	err := history.Check()
type ClientHistory struct {
	mu      sync.Mutex
	model   model
	first   state
	numbers int // changes of the min number so far
	history []operation
	failed  []time.Time // calls of queries whose outcome is unknown
}

// NewClientHistory returns the history of so many concurrent clients. In the beginning the store holds exactly users,
// with this min number, and no query has been made.
func NewClientHistory(clients int, users []points.User, minNumber int) *ClientHistory {
	h := &ClientHistory{model: newModel(users), first: state{minNumber: minNumber}}
	// The queries of one batch have the microseconds up to the time of the last one.
	h.model.slack = time.Duration(clients) * time.Microsecond
	return h
}

// Answered records a query that succeeded, from just before its call until just after its return.
func (h *ClientHistory) Answered(called, returned time.Time, result points.Result) {
	h.record(&answeredQuery{result: result, from: called.Round(0), to: returned.Round(0)}, called, returned)
}

// Failed records a query that failed. Its outcome is unknown: it may have a place in the order at any time after the
// call, or none.
func (h *ClientHistory) Failed(called time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = append(h.failed, called.Round(0))
}

// MinNumber records that n became the min number at some time between from and to. Call it in the order of the changes.
func (h *ClientHistory) MinNumber(n int, from, to time.Time) {
	h.mu.Lock()
	h.numbers++
	change := numberChange{n, h.numbers}
	h.mu.Unlock()
	h.record(change, from, to)
}

// Updated records that these users took the place of those with the same ids, in one step at some time between from and
// to. Call it in the order of the steps.
func (h *ClientHistory) Updated(users []points.User, from, to time.Time) error {
	h.mu.Lock()
	version := slices.Clone(h.model.versions[len(h.model.versions)-1])
	for _, u := range users {
		i := slices.Index(h.model.ids, u.ID)
		if i < 0 {
			h.mu.Unlock()
			return fmt.Errorf("linearizability: there is no user %d", u.ID)
		}
		version[i] = u
	}
	h.model.versions = append(h.model.versions, version)
	change := usersChange(len(h.model.versions) - 1)
	h.mu.Unlock()
	h.record(change, from, to)
	return nil
}

func (h *ClientHistory) record(e event, from, to time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.history = append(h.history, operation{e, from.UnixNano(), to.UnixNano()})
}

// Check returns nil if one order of the operations explains all answers:
//
//   - A query returns the timestamp of the query before it. Timestamps increase, and are between the call and the
//     return of their query. Only a failed query explains the timestamp of no query.
//   - The order agrees with real time.
//   - Users and min number are those of the query's place in the order.
//
// Otherwise the error says why there is none. Call it when all calls have returned.
func (h *ClientHistory) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortFunc(h.failed, time.Time.Compare)
	// There is only one order of the queries, so a mistake in it needs no search.
	s := h.first
	queries := setPlaces(&h.model, h.history, h.failed)
	for i, q := range queries {
		if err := q.follows(&h.model, s); err != nil {
			return fmt.Errorf("linearizability: %w:%s", err, describe(queries[max(i-3, 0):i+1]))
		}
		s = q.next(s)
	}
	return h.model.check(h.history, h.first)
}

// describe returns queries, one a line.
func describe(queries []*answeredQuery) string {
	var text strings.Builder
	for _, q := range queries {
		const clock = "15:04:05.000000"
		fmt.Fprintf(&text, "\n\tfrom %s to %s: %v", q.from.UTC().Format(clock), q.to.UTC().Format(clock), q)
	}
	return text.String()
}

// Counts returns the numbers of answered and failed queries, changes of the min number, and steps of updates.
func (h *ClientHistory) Counts() (answered, failed, numbers, updates int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	updates = len(h.model.versions) - 1
	return len(h.history) - h.numbers - updates, len(h.failed), h.numbers, updates
}

// A numberChange is the change of the min number with this place, counted from 1.
type numberChange struct{ n, place int }

func (c numberChange) String() string { return fmt.Sprintf("min number %d", c.n) }

func (c numberChange) apply(_ *model, s state) (state, error) {
	if c.place != s.changes+1 {
		return s, errors.New("an earlier change comes first")
	}
	s.minNumber, s.changes = c.n, c.place
	return s, nil
}

// A usersChange is the change to this version of the users.
type usersChange int

func (c usersChange) String() string { return fmt.Sprintf("step %d of the updates", int(c)) }

func (c usersChange) apply(m *model, s state) (state, error) {
	if int(c) != s.updates+1 {
		return s, errors.New("an earlier step comes first")
	}
	s.updates = int(c)
	for i := range m.ids {
		s.users[i] = int(c)
	}
	return s, nil
}
