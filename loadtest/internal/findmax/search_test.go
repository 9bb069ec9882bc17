package findmax

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

// upTo returns the outcome of a rate on a server with the given limit.
func upTo(limit, rate int) Outcome {
	if rate <= limit {
		return Met
	}
	return Missed
}

func TestSearch(t *testing.T) {
	for _, limit := range []int{0, 1, 3, 999, 1000, 1001, 5432, 123_456, attack.MaxRate, 2 * attack.MaxRate} {
		steps, confirmed := 0, 0
		got, err := Search(t.Context(), 1000, func(_ context.Context, step Step) (Outcome, error) {
			steps++
			if step.Confirm {
				confirmed = step.Rate
			}
			return upTo(limit, step.Rate), nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, got.Highest, limit)
		assert.GreaterOrEqual(t, got.Highest+max(got.Highest/precision, 1), min(limit, attack.MaxRate))
		assert.Equal(t, confirmed, got.Highest)
		assert.False(t, got.ClientLimited)
		assert.Less(t, steps, 50)
	}
}

// TestSearchWithNoise fails one in ten steps for no reason. The result stays within 10% in at least 9 of 10 searches,
// where a single failed step would otherwise end the search at half of the limit.
func TestSearchWithNoise(t *testing.T) {
	const limit, searches = 2000, 1000
	near := 0
	for seed := range uint64(searches) {
		random := rand.New(rand.NewPCG(seed, 1))
		got, err := Search(t.Context(), 1000, func(_ context.Context, step Step) (Outcome, error) {
			if random.IntN(10) == 0 {
				return Missed, nil
			}
			return upTo(limit, step.Rate), nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, got.Highest, limit)
		if got.Highest >= limit*9/10 {
			near++
		}
	}
	assert.GreaterOrEqual(t, near, searches*9/10)
}

// TestDisturbance fails two steps in a row of a server that meets all rates up to the limit. The search returns to the
// rate that missed.
func TestDisturbance(t *testing.T) {
	const limit = 5000
	for first := 1; first <= 12; first++ {
		steps := 0
		got, err := Search(t.Context(), 1000, func(_ context.Context, step Step) (Outcome, error) {
			steps++
			if !step.Confirm && (steps == first || steps == first+1) {
				return Missed, nil
			}
			return upTo(limit, step.Rate), nil
		})
		require.NoError(t, err)
		assert.LessOrEqual(t, got.Highest, limit)
		assert.GreaterOrEqual(t, got.Highest, limit*19/20, "disturbed from step %d", first)
		assert.Less(t, steps, 60)
	}
}

// TestConfirmationFails tests rates that meet the SLO in a short step, but not in a longer one.
func TestConfirmationFails(t *testing.T) {
	got, err := Search(t.Context(), 1000, func(_ context.Context, step Step) (Outcome, error) {
		if step.Confirm {
			return upTo(1500, step.Rate), nil
		}
		return upTo(2000, step.Rate), nil
	})
	require.NoError(t, err)
	assert.LessOrEqual(t, got.Highest, 1500)
	assert.Greater(t, got.Highest, 1400)
}

func TestClientLimited(t *testing.T) {
	for name, tt := range map[string]struct {
		server, client int
		limited        bool
	}{
		"the load generator":               {1_000_000, 20_000, true},
		"the server":                       {2000, 1_000_000, false},
		"the load generator at first only": {1900, 2000, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Search(t.Context(), 1000, func(_ context.Context, step Step) (Outcome, error) {
				if step.Rate > tt.client {
					return ClientLimited, nil
				}
				return upTo(tt.server, step.Rate), nil
			})
			require.NoError(t, err)
			assert.Equal(t, tt.limited, got.ClientLimited)
			assert.InEpsilon(t, min(tt.server, tt.client), got.Highest, 0.05)
		})
	}
}

func TestSearchErrors(t *testing.T) {
	failed := errors.New("failed")
	_, err := Search(t.Context(), 1, func(context.Context, Step) (Outcome, error) { return Met, failed })
	require.ErrorIs(t, err, failed)

	ctx, cancel := context.WithCancel(t.Context())
	got, err := Search(ctx, 1, func(context.Context, Step) (Outcome, error) { cancel(); return Met, nil })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, got.Highest, "the highest rate so far")
}

// TestNoSuccess uses a server on which no request succeeds above a rate.
func TestNoSuccess(t *testing.T) {
	for name, tt := range map[string]struct {
		limit int
		rates []int // of the first steps
		want  Result
	}{
		"dead":       {0, []int{50, 1}, Result{NoSuccess: true}},
		"overloaded": {10, []int{50, 1, 50, 1, 25, 25, 1}, Result{Highest: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			var rates []int
			got, err := Search(t.Context(), 50, func(_ context.Context, step Step) (Outcome, error) {
				rates = append(rates, step.Rate)
				if step.Rate > tt.limit {
					return NoSuccess, nil
				}
				return Met, nil
			})
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.rates, rates[:len(tt.rates)])
		})
	}
	got, err := Search(t.Context(), 1, func(context.Context, Step) (Outcome, error) { return NoSuccess, nil })
	require.NoError(t, err)
	assert.True(t, got.NoSuccess)
}
