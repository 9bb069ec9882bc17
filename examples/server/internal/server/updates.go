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
// from the others. Its methods started and ended are for points.Hooks.
type updates struct {
	mu     sync.Mutex
	latest []updateRun // the latest one last
}

// keptUpdates is the number of updates that are kept.
const keptUpdates = 1000

// An updateRun is one update.
type updateRun struct {
	StartedAt string  `json:"started_at"`
	EndedAt   *string `json:"ended_at"` // null while it runs
	Users     int64   `json:"users"`    // updated; 0 while it runs
	Failed    bool    `json:"failed"`   // or cancelled
}

// formatTime formats a time as pointshttp does: truncated to microseconds, always with six decimals.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func (u *updates) started(ctx context.Context, info points.UpdateInfo) context.Context {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.latest) == keptUpdates {
		u.latest = slices.Delete(u.latest, 0, 1)
	}
	u.latest = append(u.latest, updateRun{StartedAt: formatTime(info.Started)})
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
	u.latest[len(u.latest)-1] = updateRun{formatTime(info.Started), &ended, info.Users, info.Err != nil}
}

// last returns the last n updates.
func (u *updates) last(n int) []updateRun {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]updateRun{}, u.latest[max(0, len(u.latest)-n):]...)
}

// ServeHTTP answers GET /updates.
func (u *updates) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	body, err := json.Marshal(struct {
		Updates []updateRun `json:"updates"`
	}{u.last(keptUpdates)})
	if err != nil {
		panic(err) // strings and numbers
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(body) //nolint:errcheck // the client has gone
}
