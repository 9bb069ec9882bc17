package storetest

import (
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// twoUpdatesAtOnce starts several updates together. Of those that are done, one was the last, and all users have its
// points.
func twoUpdatesAtOnce(t tester, open opener) {
	const updates = 3
	ids := upTo(many)
	store := open(ids)
	for round := range uint64(4) {
		var done []uint64 // keys
		var mu sync.Mutex
		var begin, end sync.WaitGroup
		begin.Add(updates)
		for i := range uint64(updates) {
			end.Go(func() {
				key := 10*round + i
				begin.Done()
				begin.Wait()
				n, err := store.UpdateAll(t.Context(), key)
				if err != nil {
					assert.ErrorIs(t, err, points.ErrUpdateRunning, "UpdateAll while another update runs")
					return
				}
				assert.EqualValues(t, len(ids), n, "UpdateAll must return the number of users that it updated")
				mu.Lock()
				done = append(done, key)
				mu.Unlock()
			})
		}
		end.Wait()
		require.NotEmpty(t, done, "of updates that begin together, at least one must be done")
		requireDrawn(t, store, ids, done...)
	}
}
