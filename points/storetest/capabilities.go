package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// readTimeout is more than a read without waiting takes on any machine, however busy.
const readTimeout = 5 * time.Second

// immediateReads tests Capabilities.ImmediateReads: a read does not wait, not for an update either. So it returns while
// an update is blocked, here in a call of a method of its context.
func immediateReads(t tester, open opener) {
	ids := upTo(many)
	store := open(ids)
	if !store.Capabilities().ImmediateReads {
		t.Skip("the store has no ImmediateReads")
	}
	update(t, store, ids, 1)

	var reads sync.WaitGroup
	ctx := &blockingContext{Context: t.Context()}
	ctx.block = func() (returned bool) {
		done := make(chan struct{})
		reads.Go(func() {
			defer close(done)
			_, _ = store.UsersAbove(t.Context(), 50, 2)
		})
		select {
		case <-done:
			return true
		case <-time.After(readTimeout):
			return false
		}
	}
	_, err := store.UpdateAll(ctx, 2)
	reads.Wait()
	require.NoError(t, err, "UpdateAll")
	require.False(t, ctx.blocked,
		"a read of a store with ImmediateReads must not wait for an update: it had not returned after %v", readTimeout)
	requireDrawn(t, store, ids, 2)
}

// A blockingContext calls block in each of its first calls of Err and Done.
type blockingContext struct {
	context.Context //nolint:containedctx // it is one

	block func() (returned bool)

	mu      sync.Mutex
	calls   int
	blocked bool // block has failed
}

func (c *blockingContext) Err() error {
	c.onCall()
	return c.Context.Err()
}

func (c *blockingContext) Done() <-chan struct{} {
	c.onCall()
	return c.Context.Done()
}

func (c *blockingContext) onCall() {
	const enough = 100
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; c.calls <= enough && !c.blocked {
		c.blocked = !c.block()
	}
}
