package pgstore_test

import (
	"context"
	"testing"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// An engine on a table has one order of all queries, ticks and updates; reads see updates half done.
func TestOneOrder(t *testing.T) {
	store, _ := seeded(t, pgstore.Config{BatchSize: 2}, 5)
	linearizability.Test(t, store, []points.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}},
		func(e *points.Engine) func(context.Context) (points.Result, error) { return e.Query })
}
