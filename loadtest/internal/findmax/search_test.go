package findmax

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

func TestSearch(t *testing.T) {
	for _, limit := range []int{0, 1, 3, 999, 1000, 1001, 5432, 123_456, attack.MaxRate, 2 * attack.MaxRate} {
		steps := 0
		got, err := Search(t.Context(), 1000, func(_ context.Context, rate int) (bool, error) {
			steps++
			return rate <= limit, nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, got, limit)
		assert.GreaterOrEqual(t, got+max(got/precision, 1), min(limit, attack.MaxRate))
		assert.Less(t, steps, 30)
	}
}

func TestSearchErrors(t *testing.T) {
	failed := errors.New("failed")
	_, err := Search(t.Context(), 1, func(context.Context, int) (bool, error) { return true, failed })
	require.ErrorIs(t, err, failed)

	ctx, cancel := context.WithCancel(t.Context())
	highest, err := Search(ctx, 1, func(context.Context, int) (bool, error) { cancel(); return true, nil })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, highest, "the highest rate so far")
}
