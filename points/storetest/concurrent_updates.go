package storetest

import (
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// concurrentUpdates starts several updates at the same time. At least one must succeed, and all users must have the
// points of the same one.
func concurrentUpdates(t tester, open opener) {
	const updates = 3
	ids := upTo(many)
	store := open(ids)
	for round := range uint64(4) {
		var done []uint64 // keys
		var mu sync.Mutex
		var start, end sync.WaitGroup
		start.Add(updates)
		for i := range uint64(updates) {
			end.Go(func() {
				key := 10*round + i
				start.Done()
				start.Wait()
				n, err := store.UpdateAll(t.Context(), key)
				if err != nil {
					assert.ErrorIs(t, err, points.ErrUpdateRunning, "UpdateAll while another update is running")
					return
				}
				assert.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")
				mu.Lock()
				done = append(done, key)
				mu.Unlock()
			})
		}
		end.Wait()
		require.NotEmpty(t, done, "of updates that start together, at least one must succeed")
		requireDrawn(t, store, ids, done...)
	}
}
