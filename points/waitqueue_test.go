package points

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A line does what a slice would do, whoever joins and leaves.
func TestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l line
		var want []*caller
		t.Repeat(map[string]func(*rapid.T){
			"join": func(*rapid.T) {
				c := new(caller)
				l.join(c)
				want = append(want, c)
			},
			"leave": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("nobody is in the line")
				}
				i := rapid.IntRange(0, len(want)-1).Draw(t, "who")
				l.leave(want[i])
				require.Nil(t, want[i].line)
				want = append(want[:i:i], want[i+1:]...)
			},
			"": func(t *rapid.T) {
				require.Equal(t, len(want), l.length)
				var last *caller
				i := 0
				for c := l.first; c != nil; c = c.next {
					require.Same(t, want[i], c)
					require.Same(t, &l, c.line)
					require.Same(t, last, c.prev)
					last = c
					i++
				}
				require.Equal(t, len(want), i)
				require.Same(t, last, l.last)
			},
		})
	})
}
