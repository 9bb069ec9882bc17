package app

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// updates remembers when the latest updates ran, so that a load tester can tell an answer's time beside an update from
// one's without. Its methods started and ended are for points.Hooks.
type updates struct {
	mu     sync.Mutex
	latest []updateRun // the latest one last
}

// updateRun is when one update ran.
type updateRun struct {
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"` // null while it runs
	Users     int64      `json:"users"`    // that were updated, once it has ended
	Failed    bool       `json:"failed"`   // it failed, or was stopped
}

func (u *updates) started(ctx context.Context, info points.UpdateInfo) context.Context {
	const keep = 1000
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.latest) == keep {
		u.latest = slices.Delete(u.latest, 0, 1)
	}
	u.latest = append(u.latest, updateRun{StartedAt: info.Started})
	return ctx
}

func (u *updates) ended(info points.UpdateInfo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ended := info.Started.Add(info.Duration)
	u.latest[len(u.latest)-1] = updateRun{info.Started, &ended, info.Users, info.Err != nil}
}

func (u *updates) serve(w http.ResponseWriter) {
	u.mu.Lock()
	runs := append([]updateRun{}, u.latest...)
	u.mu.Unlock()
	body, err := json.Marshal(struct {
		Updates []updateRun `json:"updates"`
	}{runs})
	if err != nil {
		panic(err) // times and a number
	}
	writeJSON(w, jsonType, http.StatusOK, body)
}
