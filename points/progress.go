package points

import "context"

// progressKey is the context key of a func(done, total int64).
type progressKey struct{}

// WithProgress returns a context for a call that updates or seeds users. During the call, the store calls report. done
// is the number of users so far and total the number of all users, which may be an estimate until the end. Calls come
// one at a time, done never decreases, and on success the last call has done equal to total. A store need not report
// anything. An [Engine] uses WithProgress for Hooks.UpdateProgress and State.
func WithProgress(ctx context.Context, report func(done, total int64)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// ReportProgress calls the report function that [WithProgress] put into ctx, if any. Implementations of
// [Store.UpdateAll] call it with their ctx.
func ReportProgress(ctx context.Context, done, total int64) {
	if report, ok := ctx.Value(progressKey{}).(func(done, total int64)); ok {
		report(done, total)
	}
}
