package memstore_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

func TestLinearizable(t *testing.T) {
	store, err := memstore.New(5)
	require.NoError(t, err)
	linearizability.Test(t, store, []points.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}},
		func(e *points.Engine) func(context.Context) (points.Result, error) { return e.Query })
}
