package app

import (
	"context"

	"github.com/pointsapp/pointsapp/points"
)

// joinHooks returns hooks that call those of all, in this order.
func joinHooks(all ...points.Hooks) points.Hooks {
	var joined points.Hooks
	for _, h := range all {
		joined.BatchStart = chain(joined.BatchStart, h.BatchStart)
		joined.BatchEnd = both(joined.BatchEnd, h.BatchEnd)
		joined.Tick = both(joined.Tick, h.Tick)
		joined.UpdateStart = chain(joined.UpdateStart, h.UpdateStart)
		joined.UpdateEnd = both(joined.UpdateEnd, h.UpdateEnd)
		if h.UpdateProgress != nil {
			joined.UpdateProgress = h.UpdateProgress // only one of them has it
		}
	}
	return joined
}

func both[T any](first, second func(T)) func(T) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(info T) {
		first(info)
		second(info)
	}
}

func chain[T any](first, second func(context.Context, T) context.Context) func(context.Context, T) context.Context {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, info T) context.Context { return second(first(ctx, info), info) }
}
