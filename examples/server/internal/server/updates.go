package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// updates keeps the start and end of the latest updates, so that a load tester can tell the requests during an update
// from the others. With a shared state these are the updates of all servers, from watch. Otherwise they are those of
// this server, from the hooks started and ended.
type updates struct {
	state func() points.State // of the engine

	mu     sync.Mutex
	latest []updateRun  // the latest one last
	causes []knownCause // with a shared state, of the updates of this server; the latest one last
}

// A knownCause is the cause of an update in a shared state, which does not keep it.
type knownCause struct {
	id    uint64 // points.SharedUpdate.ID
	cause string
}

// keptUpdates is the number of updates that are kept.
const keptUpdates = 1000

// An updateRun is one update.
type updateRun struct {
	Instance  string  `json:"instance,omitempty"` // of the server, with a shared state
	StartedAt string  `json:"started_at"`
	EndedAt   *string `json:"ended_at"` // null while it runs, or if its server died
	Users     int64   `json:"users"`    // updated; 0 while it runs
	Failed    bool    `json:"failed"`   // or cancelled, or its server died

	shared points.SharedUpdate // with a shared state
	cause  string              // "tick", also for the update at the start, or "control"; "" if this server does not know
}

// causeOf returns the cause of an update, from the context of its start.
func causeOf(ctx context.Context) string {
	if ctx.Value(updateStartedKey{}) != nil {
		return "control"
	}
	return "tick"
}

// keepLatest appends to a list, which forgets the oldest one.
func keepLatest[T any](latest []T, next T) []T {
	if len(latest) == keptUpdates {
		latest = slices.Delete(latest, 0, 1)
	}
	return append(latest, next)
}

// formatTime formats a time as pointshttp does: truncated to microseconds, always with six decimals.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func (u *updates) started(ctx context.Context, info points.UpdateInfo) context.Context {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.latest = keepLatest(u.latest, updateRun{StartedAt: formatTime(info.Started), cause: causeOf(ctx)})
	return ctx
}

// startedShared is the hook for the start of an update with a shared state.
func (u *updates) startedShared(ctx context.Context, info points.UpdateInfo) context.Context {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.causes = keepLatest(u.causes, knownCause{info.ID, causeOf(ctx)})
	return ctx
}

func (u *updates) ended(info points.UpdateInfo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if errors.Is(info.Err, points.ErrUpdateRunning) { // of another process: this one updated nothing
		u.latest = u.latest[:len(u.latest)-1]
		return
	}
	ended := formatTime(info.Started.Add(info.Duration))
	run := &u.latest[len(u.latest)-1]
	run.EndedAt, run.Users, run.Failed = &ended, info.Users, info.Err != nil
}

// watch keeps the updates of all servers until ctx ends. The shared state has only the latest few.
func (u *updates) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second) // as often as the engine asks the shared state
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			u.last(0)
		case <-ctx.Done():
			return
		}
	}
}

// merge adds the updates of a shared state, and changes those that are known. It drops those that changed nothing: they
// were cancelled before they began, or skipped, and so are not in the status anymore. It must be called with u.mu held.
func (u *updates) merge(status *points.SharedStatus) {
	for _, update := range slices.Backward(status.Updates) {
		i := slices.IndexFunc(u.latest, func(run updateRun) bool { return run.shared.ID == update.ID })
		switch {
		case i >= 0:
			u.latest[i] = u.sharedRun(update)
		case !changedNothing(update):
			u.latest = keepLatest(u.latest, u.sharedRun(update))
		}
	}
	u.latest = slices.DeleteFunc(u.latest, func(run updateRun) bool {
		return changedNothing(run.shared) || run.EndedAt == nil && isMissing(run.shared, status.Updates)
	})
	for i := range u.latest {
		if run := &u.latest[i]; run.EndedAt == nil { // it may be too old to be in the status
			run.Failed = !status.IsRunning(run.shared)
		}
	}
	slices.SortStableFunc(u.latest, func(a, b updateRun) int { return a.shared.Started.Compare(b.shared.Started) })
}

func changedNothing(update points.SharedUpdate) bool {
	return update.Outcome == points.UpdateCancelled && update.Users == 0
}

// isMissing reports whether an update is not among the latest, latest first, although it is not too old for that.
func isMissing(update points.SharedUpdate, latest []points.SharedUpdate) bool {
	if slices.ContainsFunc(latest, func(u points.SharedUpdate) bool { return u.ID == update.ID }) {
		return false
	}
	return len(latest) < points.MaxSharedUpdates || update.Started.After(latest[len(latest)-1].Started)
}

func (u *updates) sharedRun(update points.SharedUpdate) updateRun {
	run := updateRun{
		Instance: update.Instance, StartedAt: formatTime(update.Started), Users: update.Users, shared: update,
	}
	if i := slices.IndexFunc(u.causes, func(k knownCause) bool { return k.id == update.ID }); i >= 0 {
		run.cause = u.causes[i].cause
	}
	if update.Outcome != points.UpdateUnfinished {
		ended := formatTime(update.Started.Add(update.Duration))
		run.EndedAt, run.Failed = &ended, update.Outcome != points.UpdateSucceeded
	}
	return run
}

// last returns the state of the engine, and the last n updates at that time.
func (u *updates) last(n int) (points.State, []updateRun) {
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.state() // with u.mu held, so that no later state has been merged
	if state.Shared != nil {
		u.merge(state.Shared)
	}
	return state, append([]updateRun{}, u.latest[max(0, len(u.latest)-n):]...)
}

// A pageUpdate is an update on the live page. /updates has no causes, so that it is the same on all servers.
type pageUpdate struct {
	updateRun

	Cause string `json:"cause"`
}

// forPage is last for the live page.
func (u *updates) forPage(n int) (points.State, any) {
	state, runs := u.last(n)
	all := make([]pageUpdate, len(runs))
	for i, run := range runs {
		all[i] = pageUpdate{run, run.cause}
	}
	return state, all
}

// ServeHTTP answers GET /updates.
func (u *updates) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, latest := u.last(keptUpdates)
	body, err := json.Marshal(struct {
		Updates []updateRun `json:"updates"`
	}{latest})
	if err != nil {
		panic(err) // strings and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(body) //nolint:errcheck // the client has gone
}
