package points

import "context"

// progressKey is the key of a context's func(done, total int64).
type progressKey struct{}

// WithProgress returns a context for [Store.UpdateAll], from which report learns how far the update is: done users of
// total, which may be an estimate until both are equal. Stores need not tell. Calls come one at a time, done never
// decreases, and the last one of an update that succeeds has done the number of users updated. An [Updater] does this
// for Hooks.UpdateProgress and its State.
func WithProgress(ctx context.Context, report func(done, total int64)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// ReportProgress is for implementations of [Store.UpdateAll], which got ctx: it tells whoever called them how far they
// are, as [WithProgress] says, or does nothing if nobody wants to know.
func ReportProgress(ctx context.Context, done, total int64) {
	if report, ok := ctx.Value(progressKey{}).(func(done, total int64)); ok {
		report(done, total)
	}
}
