package points_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

func TestBreakerStateText(t *testing.T) {
	for state, want := range map[points.BreakerState]string{
		points.BreakerClosed:   "closed",
		points.BreakerOpen:     "open",
		points.BreakerHalfOpen: "half-open",
	} {
		assert.Equal(t, want, state.String())
		text, err := json.Marshal(state)
		require.NoError(t, err)
		assert.JSONEq(t, `"`+want+`"`, string(text))
	}
}
