package points_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

// A decorator adds nothing; one for metrics would override UsersAbove and UpdateAll.
type decorator struct{ points.Store }

// A decorator keeps the capabilities of the store that it wraps, without naming them: each query still reads for itself.
func TestDecoratorKeepsCapabilities(t *testing.T) {
	store, err := memstore.New(10)
	require.NoError(t, err)
	engine := newEngine(t, decorator{store}, points.Config{
		MaxWaiting: 1,
		Hooks:      points.Hooks{BatchEnd: func(info points.BatchInfo) { assert.Equal(t, 1, info.Queries) }},
	})
	var queries sync.WaitGroup
	for range 8 {
		queries.Go(func() {
			for range 200 {
				_, err := engine.Query(t.Context())
				assert.NoError(t, err, "a query that reads for itself does not wait in the queue")
			}
		})
	}
	queries.Wait()
}
