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
	if len(r.ids) > MaxUsers {
		return fmt.Errorf("linearizability: the store must have at most %d users, got %d", MaxUsers, len(r.ids))
	}
	operations := r.operations()
	setPlaces(operations)
	history := make([]porcupine.Operation, len(operations))
	for i, op := range operations {
		history[i] = porcupine.Operation{Input: op.event, Call: op.call, Return: op.end}
	}
	model := porcupine.Model{
		Init: func() any { return state{minNumber: -1} },
		Step: func(before, what, _ any) (bool, any) { return r.step(before, what) },
	}

	const timeout = 2 * time.Minute
	result := porcupine.CheckOperationsTimeout(model, history, timeout)
	if result == porcupine.Ok {
		return nil
	}
	if result == porcupine.Unknown {
		return fmt.Errorf("linearizability: %d operations could not be checked within %v: record fewer",
			len(history), timeout)
	}
	// Again, with the details for the error.
	_, info := porcupine.CheckOperationsVerbose(model, history, timeout)
	return r.explain(operations, info.PartialLinearizations()[0])
}

func (r *Recorder) step(before, what any) (bool, any) {
	s, _ := before.(state)
	e, _ := what.(event)
	after, err := e.apply(r, s)
	return err == nil, after
}

// setPlaces sets the places of the queries in the order. There is only one way: each returns the timestamp of the one
// before, and timestamps increase.
func setPlaces(history []operation) {
	var queries []*answeredQuery
	for _, op := range history {
		if q, ok := op.event.(*answeredQuery); ok {
			queries = append(queries, q)
		}
	}
	slices.SortFunc(queries, func(a, b *answeredQuery) int {
		return a.result.PreviousTimestamp.Compare(b.result.PreviousTimestamp)
	})
	for place, q := range queries {
		q.place = place
	}
}

// explain returns an error with the length of the longest order and why no operation can follow it.
func (r *Recorder) explain(history []operation, orders [][]int) error {
	var longest []int
	for _, order := range orders {
		if len(order) > len(longest) {
			longest = order
		}
	}
	s := state{minNumber: -1}
	for _, i := range longest {
		s, _ = history[i].event.apply(r, s)
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
			_, err := op.event.apply(r, s)
			fmt.Fprintf(&text, "\n\t%v: %v", op.event, err)
		}
	}
	return errors.New(text.String())
}
