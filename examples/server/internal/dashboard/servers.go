package dashboard

import (
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A server is one of those that share their state.
type server struct {
	Instance string    `json:"instance"`
	Started  time.Time `json:"started_at"`
	Seen     time.Time `json:"seen_at"`
	This     bool      `json:"this"`     // it serves this page
	Updating bool      `json:"updating"` // it runs an update
}

// servers returns the servers of a shared state, nil if there is none.
func servers(state points.State) []server {
	if state.Shared == nil {
		return nil
	}
	running, updating := state.Shared.Running()
	all := make([]server, len(state.Shared.Instances))
	for i, instance := range state.Shared.Instances {
		all[i] = server{
			Instance: instance.Instance, Started: instance.Started, Seen: instance.Seen,
			This: instance.ID == state.InstanceID, Updating: updating && instance.ID == running.InstanceID,
		}
	}
	return all
}

// runningSince returns when the running update began, on whichever server; zero if there is none.
func runningSince(state points.State) time.Time {
	if since := state.Updater.RunningSince; !since.IsZero() || state.Shared == nil {
		return since
	}
	running, _ := state.Shared.Running()
	return running.Started
}
