package points

import "context"

// progressKey is the context key of a func(done, total int64).
type progressKey struct{}

// WithProgress returns a context that makes a store call report while it updates or fills the table: done users of
// total, which may be an estimate until both are equal. Calls come one at a time, done never decreases, and the last
// call of a success has done equal to total. A store need not report anything. An [Engine] does this for
// Hooks.UpdateProgress and State.
func WithProgress(ctx context.Context, report func(done, total int64)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// ReportProgress reports the progress of a [Store.UpdateAll] to the function that its caller gave to [WithProgress].
// It does nothing if there is none. It is for implementations of Store, with the ctx that they got.
func ReportProgress(ctx context.Context, done, total int64) {
	if report, ok := ctx.Value(progressKey{}).(func(done, total int64)); ok {
		report(done, total)
	}
}
