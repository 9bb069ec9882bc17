package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a read that waits for nothing may take, on however busy a machine.
const patience = 5 * time.Second

// immediateReads tests what a store with ImmediateReads promises: a read waits for nothing, not for an update either. So it
// returns also while an update stands still, as it does when it looks at its context and that does not answer.
func immediateReads(t tester, open opener) {
	ids := upTo(many)
	store := open(ids)
	if !store.Capabilities().ImmediateReads {
		t.Skip("the store has no ImmediateReads")
	}
	update(t, store, ids, 1)

	var reads sync.WaitGroup
	ctx := &standstill{Context: t.Context()}
	ctx.meanwhile = func() (returned bool) {
		done := make(chan struct{})
		reads.Go(func() {
			defer close(done)
			_, _ = store.UsersAbove(t.Context(), 50, 2)
		})
		select {
		case <-done:
			return true
		case <-time.After(patience):
			return false
		}
	}
	_, err := store.UpdateAll(ctx, 2)
	reads.Wait()
	require.NoError(t, err, "UpdateAll")
	require.False(t, ctx.blocked,
		"a read of a store with ImmediateReads must not wait for an update: beside one it had not returned after %v", patience)
	requireDrawn(t, store, ids, 2)
}

// A standstill is a context that lets something else happen whenever it is looked at.
type standstill struct {
	context.Context //nolint:containedctx // it is one

	meanwhile func() (returned bool)

	mu      sync.Mutex
	looks   int
	blocked bool // meanwhile has not returned
}

func (s *standstill) Err() error {
	s.look()
	return s.Context.Err()
}

func (s *standstill) Done() <-chan struct{} {
	s.look()
	return s.Context.Done()
}

func (s *standstill) look() {
	const enough = 100
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looks++; s.looks <= enough && !s.blocked {
		s.blocked = !s.meanwhile()
	}
}
