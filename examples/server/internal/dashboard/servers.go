package dashboard

import (
	"cmp"
	"slices"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// goneShown is how long a server is shown after it was last seen.
const goneShown = 5 * time.Minute

// A server is one of those that share their state, or did so a short time ago.
type server struct {
	Instance string    `json:"instance"`
	Started  time.Time `json:"started_at"`
	Seen     time.Time `json:"seen_at"`
	This     bool      `json:"this"`     // it serves this page
	Updating bool      `json:"updating"` // it runs an update
	Gone     bool      `json:"gone"`     // it has stopped, or does not reach the database
}

// servers returns the servers of a shared state, the active ones first, then those that are gone and that no server of
// the same name has replaced. It returns nil without a shared state.
func (s *sampler) servers(state points.State) []server {
	if state.Shared == nil {
		return nil
	}
	running, updating := runningUpdate(state)
	active := make(map[uint64]server)
	all := make([]server, 0, len(state.Shared.Instances)+len(s.known))
	for _, instance := range state.Shared.Instances {
		current := server{
			Instance: instance.Instance, Started: instance.Started, Seen: instance.Seen,
			This: instance.ID == state.InstanceID, Updating: updating && instance.ID == running.InstanceID,
		}
		active[instance.ID] = current
		all = append(all, current)
	}
	var gone []server
	for id, old := range s.known {
		if _, ok := active[id]; ok || state.Shared.Time.Sub(old.Seen) > goneShown || replaced(old, all) {
			continue
		}
		old.This, old.Updating, old.Gone = false, false, true
		active[id] = old
		gone = append(gone, old)
	}
	s.known = active
	slices.SortFunc(gone, func(a, b server) int {
		return cmp.Or(b.Seen.Compare(a.Seen), cmp.Compare(a.Instance, b.Instance))
	})
	return append(all, gone...)
}

// replaced reports whether a server of the same name started after old was last seen.
func replaced(old server, active []server) bool {
	return slices.ContainsFunc(active, func(s server) bool {
		return s.Instance == old.Instance && s.Started.After(old.Seen)
	})
}

// startedHere returns when the server of this page started to share its state.
func startedHere(servers []server) (started time.Time, ok bool) {
	if i := slices.IndexFunc(servers, func(s server) bool { return s.This }); i >= 0 {
		return servers[i].Started, true
	}
	return time.Time{}, false
}

// runningSince returns when the running update began, on whichever server; zero if there is none.
func runningSince(state points.State) time.Time {
	if since := state.Updater.RunningSince; !since.IsZero() || state.Shared == nil {
		return since
	}
	running, _ := runningUpdate(state)
	return running.Started
}

// runningUpdate returns the running update of a shared state, without one of this server that has ended, which the
// shared state may not have yet.
func runningUpdate(state points.State) (points.SharedUpdate, bool) {
	running, ok := state.Shared.Running()
	if running.InstanceID == state.InstanceID && state.Updater.RunningSince.IsZero() {
		return points.SharedUpdate{}, false
	}
	return running, ok
}
