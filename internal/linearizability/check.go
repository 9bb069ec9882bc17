package linearizability

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Check returns nil if the history is linearizable: in one order of its operations, each query's result was correct at
// its place. Otherwise the error shows how far an order can go. Call it when all calls have returned: every query that
// succeeded must be in the history.
func (r *Recorder) Check() error {
	operations, failed := r.operations()
	// An engine may give the queries of one batch timestamps that are a microsecond apart.
	r.model.slack = time.Duration(len(operations)) * time.Microsecond
	setPlaces(&r.model, operations, failed)
	return r.model.check(operations, state{minNumber: -1})
}

// check returns nil if one order of the operations explains them all.
func (m *model) check(operations []operation, first state) error {
	if len(m.ids) > MaxUsers {
		return fmt.Errorf("linearizability: the store must have at most %d users, got %d", MaxUsers, len(m.ids))
	}
	history := make([]porcupine.Operation, len(operations))
	for i, op := range operations {
		history[i] = porcupine.Operation{Input: op.event, Call: op.call, Return: op.end}
	}
	porcupineModel := porcupine.Model{
		Init: func() any { return first },
		Step: func(before, what, _ any) (bool, any) { return m.step(before, what) },
	}

	const timeout = 2 * time.Minute
	result := porcupine.CheckOperationsTimeout(porcupineModel, history, timeout)
	if result == porcupine.Ok {
		return nil
	}
	if result == porcupine.Unknown {
		return fmt.Errorf("linearizability: %d operations could not be checked within %v: record fewer",
			len(history), timeout)
	}
	// Again, with the details for the error.
	_, info := porcupine.CheckOperationsVerbose(porcupineModel, history, timeout)
	return m.explain(operations, first, info.PartialLinearizations()[0])
}

func (m *model) step(before, what any) (bool, any) {
	s, _ := before.(state)
	e, _ := what.(event)
	after, err := e.apply(m, s)
	return err == nil, after
}

// setPlaces sets the places of the queries in the order, and returns the queries in it. There is only one way: each
// returns the timestamp of the one before, and timestamps increase.
//
// failed holds the times at which queries whose outcome is unknown were called, in order. Each may have taken one place
// in the order, at any later time. They fill the gaps between the answered queries, as far as there are enough of them.
func setPlaces(m *model, history []operation, failed []time.Time) []*answeredQuery {
	var queries []*answeredQuery
	for _, op := range history {
		if q, ok := op.event.(*answeredQuery); ok {
			queries = append(queries, q)
		}
	}
	slices.SortFunc(queries, func(a, b *answeredQuery) int {
		return a.result.PreviousTimestamp.Compare(b.result.PreviousTimestamp)
	})
	gaps := 0
	for place, q := range queries {
		q.place = place
		previous := q.result.PreviousTimestamp
		missing := !previous.IsZero()
		if place > 0 {
			missing = previous.After(queries[place-1].to.Add(m.slack))
		}
		q.gap = missing && gaps < len(failed) && !failed[gaps].After(previous)
		if q.gap {
			gaps++
		}
	}
	return queries
}

// explain returns an error with the length of the longest order and why no operation can follow it.
func (m *model) explain(history []operation, first state, orders [][]int) error {
	var longest []int
	for _, order := range orders {
		if len(order) > len(longest) {
			longest = order
		}
	}
	s := first
	for _, i := range longest {
		s, _ = history[i].event.apply(m, s)
	}
	ends := int64(never) // an operation that was called later cannot be next
	for i, op := range history {
		if !slices.Contains(longest, i) {
			ends = min(ends, op.end)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "linearizability: no order explains the history: after %d operations, none of these can be next:",
		len(longest))
	for i, op := range history {
		if !slices.Contains(longest, i) && op.call <= ends {
			_, err := op.event.apply(m, s)
			fmt.Fprintf(&text, "\n\t%v: %v", op.event, err)
		}
	}
	return errors.New(text.String())
}
