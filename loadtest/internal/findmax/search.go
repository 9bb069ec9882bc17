// Package findmax searches for the highest rate at which a run succeeds.
//
//	highest, err := findmax.Search(ctx, 1000, func(ctx context.Context, rate int) (bool, error) {
//		return meetsSLO(ctx, rate), nil
//	})
package findmax

import (
	"context"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

// precision is the inverse of the relative error of the result: 1/20.
const precision = 20

// Search returns the highest rate, in requests per second, for which try returns true, within 5%; 0 if there is none.
// It doubles the rate from first until try returns false, and then bisects. It assumes that try returns false for all
// rates above some limit. When try returns an error or ctx ends, it returns the highest rate so far and the error.
func Search(ctx context.Context, first int, try func(ctx context.Context, rate int) (bool, error)) (int, error) {
	good, bad := 0, 0 // highest rate that succeeded and lowest rate that failed; 0 means none yet
	for rate := first; ; {
		if err := ctx.Err(); err != nil {
			return good, err
		}
		ok, err := try(ctx, rate)
		if err != nil {
			return good, err
		}
		if ok {
			good = rate
		} else {
			bad = rate
		}
		switch {
		case bad == 0 && good == attack.MaxRate:
			return good, nil
		case bad == 0:
			rate = min(2*rate, attack.MaxRate)
		case bad-good <= max(bad/precision, 1):
			return good, nil
		default:
			rate = (good + bad) / 2
		}
	}
}
