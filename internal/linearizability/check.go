package linearizability

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Check returns nil if one order explains the history, and each query's answer was true at its place in it; else it
// says how far an order can go. It is for a history that has ended: every query that was answered must be in it.
func (r *Recorder) Check() error {
	if len(r.ids) > MaxUsers {
		return fmt.Errorf("history: at most %d users can be followed: these are %d", MaxUsers, len(r.ids))
	}
	operations := r.operations()
	rank(operations)
	history := make([]porcupine.Operation, len(operations))
	for i, op := range operations {
		history[i] = porcupine.Operation{Input: op.event, Call: op.call, Return: op.end}
	}
	model := porcupine.Model{
		Init: func() any { return state{number: -1} },
		Step: func(before, what, _ any) (bool, any) { return r.step(before, what) },
	}

	const patience = 2 * time.Minute
	result := porcupine.CheckOperationsTimeout(model, history, patience)
	if result == porcupine.Ok {
		return nil
	}
	if result == porcupine.Unknown {
		return fmt.Errorf("history: %d operations could not be judged within %v: record fewer", len(history), patience)
	}
	// Once more, now with all that the explanation needs.
	_, info := porcupine.CheckOperationsVerbose(model, history, patience)
	return r.explain(operations, info.PartialLinearizations()[0])
}

func (r *Recorder) step(before, what any) (bool, any) {
	s, _ := before.(state)
	e, _ := what.(event)
	after, err := e.happen(r, s)
	return err == nil, after
}

// rank gives the queries their places in the order. There is no choice: the k-th is told the stamp of the one before,
// and stamps increase.
func rank(history []operation) {
	var queries []*query
	for _, op := range history {
		if q, ok := op.event.(*query); ok {
			queries = append(queries, q)
		}
	}
	slices.SortFunc(queries, func(a, b *query) int { return a.result.Previous.Compare(b.result.Previous) })
	for place, q := range queries {
		q.place = place
	}
}

// explain tells how far the longest of the orders goes, and why nothing can follow.
func (r *Recorder) explain(history []operation, orders [][]int) error {
	var longest []int
	for _, order := range orders {
		if len(order) > len(longest) {
			longest = order
		}
	}
	s := state{number: -1}
	for _, i := range longest {
		s, _ = history[i].event.happen(r, s)
	}
	ends := int64(math.MaxInt64) // whatever began later cannot be next
	for i, op := range history {
		if !slices.Contains(longest, i) {
			ends = min(ends, op.end)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "history: no order explains it: after %d operations, none of these can be next:", len(longest))
	for i, op := range history {
		if !slices.Contains(longest, i) && op.call <= ends {
			_, err := op.event.happen(r, s)
			fmt.Fprintf(&text, "\n\t%v: %v", op.event, err)
		}
	}
	return errors.New(text.String())
}
