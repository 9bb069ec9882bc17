package pgstore_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// Engines of several servers with a shared state have one order.
func TestOneOrderOfServers(t *testing.T) {
	for name, setup := range setups() {
		if setup.sharded {
			continue
		}
		t.Run(name, func(t *testing.T) {
			pool := setup.open(t)
			openShared(t, pool, pgstore.Config{})
			execSQL(t, pool, "INSERT INTO users (id) SELECT generate_series(1, 5)")
			linearizability.TestShared(t, func() points.Store {
				return sharedStore(t, otherPool(t, pool), pgstore.Config{BatchSize: 2})
			}, []points.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}})
		})
	}
}

// An engine on a table has one order of all queries, ticks and updates; reads see updates half done.
func TestOneOrder(t *testing.T) {
	for name, setup := range setups() {
		t.Run(name, func(t *testing.T) {
			store := openOn(t, setup.open(t), pgstore.Config{BatchSize: 2}, nil)
			require.NoError(t, store.Seed(t.Context(), 5))
			linearizability.Test(t, store, []points.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}},
				func(e *points.Engine) func(context.Context) (points.Result, error) { return e.Query })
		})
	}
}
