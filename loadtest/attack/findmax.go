package attack

import "context"

// precision is how close FindMax comes to the highest rate: within a twentieth.
const precision = 20

// FindMax returns the highest rate, in requests per second, for which try returns true, to within a twentieth; 0 if
// there is none. It doubles the rate from first until try returns false, and then bisects. It is for a try that gives
// false for all rates above some limit. An error of try ends the search, and so does the end of ctx.
func FindMax(ctx context.Context, first int, try func(ctx context.Context, rate int) (bool, error)) (int, error) {
	kept, broken := 0, 0 // 0: none yet
	for rate := first; ; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		ok, err := try(ctx, rate)
		if err != nil {
			return 0, err
		}
		if ok {
			kept = rate
		} else {
			broken = rate
		}
		switch {
		case broken == 0 && kept == MaxRate:
			return kept, nil
		case broken == 0:
			rate = min(2*rate, MaxRate)
		case broken-kept <= max(broken/precision, 1):
			return kept, nil
		default:
			rate = (kept + broken) / 2
		}
	}
}
