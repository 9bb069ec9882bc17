package points

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A waitQueue behaves like a slice under any sequence of operations.
func TestWaitQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q waitQueue
		var want []*waiter
		t.Repeat(map[string]func(*rapid.T){
			"push": func(*rapid.T) {
				w := new(waiter)
				q.push(w)
				want = append(want, w)
			},
			"remove": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("the queue is empty")
				}
				i := rapid.IntRange(0, len(want)-1).Draw(t, "index")
				q.remove(want[i])
				require.Nil(t, want[i].queue)
				want = append(want[:i:i], want[i+1:]...)
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), q.length)
				var last *waiter
				i := 0
				for w := q.first; w != nil; w = w.next {
					require.Same(t, want[i], w)
					require.Same(t, &q, w.queue)
					require.Same(t, last, w.prev)
					last = w
					i++
				}
				require.Equal(t, len(want), i)
				require.Same(t, last, q.last)
			},
		})
	})
}
