package pointshttp

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A phase is a period in which the program is not ready: it is starting or shutting down.
type phase struct {
	name           string
	rejectsQueries bool
}

// SetStarting makes the handler answer queries and /readyz with 503, until SetServing is called. The responses name
// the step, such as "seeding the table".
func (h *Handler) SetStarting(step string) { h.phase.Store(&phase{"starting: " + step, true}) }

// SetServing makes the handler answer queries, and /readyz with 200 if it can answer them. A new handler is in this
// state.
func (h *Handler) SetServing() { h.phase.Store(nil) }

// SetStopping makes the handler answer /readyz with 503, so that load balancers send no further queries. It still
// answers queries if it did before.
func (h *Handler) SetStopping() {
	before := h.phase.Load()
	h.phase.Store(&phase{"shutting down", before != nil && before.rejectsQueries})
}

// Phase returns why /readyz answers 503, as set by SetStarting or SetStopping: "starting: " and the step, or "shutting
// down". It returns "" while the handler serves.
func (h *Handler) Phase() string {
	if p := h.phase.Load(); p != nil {
		return p.name
	}
	return ""
}

// failureWindow is the time after a failed read in which the program is not ready, unless a later read succeeds. It is
// limited because a program that is not ready may get no queries.
const failureWindow = time.Second

func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) {
	if name := h.Phase(); name != "" {
		WriteProblem(w, http.StatusServiceUnavailable, "The server is "+name+".")
		return
	}
	state := h.engine.State()
	if !state.ReadFailed.IsZero() && time.Since(state.ReadFailed) < failureWindow {
		WriteProblem(w, http.StatusServiceUnavailable, "Queries fail; see the server's log.")
		return
	}
	if err := h.pinger.ping(r.Context()); err != nil {
		WriteProblem(w, http.StatusServiceUnavailable, "The store does not answer.")
		return
	}
	body, err := json.Marshal(readinessOf(state))
	if err != nil {
		panic(err) // strings, numbers and times
	}
	writeJSON(w, jsonType, http.StatusOK, body)
}

// readiness is the response to GET /readyz of a program that can answer queries. With a shared state, Paused, NextTick,
// Update.Breaker and Shared are those of all engines; everything else is about this engine.
type readiness struct {
	Status   string   `json:"status"`
	Waiting  int      `json:"waiting"`            // queries
	Paused   bool     `json:"paused,omitzero"`    // no ticks until they are resumed
	NextTick jsonTime `json:"next_tick,omitzero"` // zero while ticks are paused or the engine is not running
	Update   struct {
		RunningSince jsonTime            `json:"running_since,omitzero"`
		Done         int64               `json:"done,omitzero"`  // users, if the store reports progress
		Total        int64               `json:"total,omitzero"` // users, an estimate
		LastSuccess  update              `json:"last_success,omitzero"`
		LastFailure  update              `json:"last_failure,omitzero"`
		Breaker      points.BreakerState `json:"breaker"`
	} `json:"update"`
	Shared *shared `json:"shared,omitempty"` // nil without a shared state
}

type update struct {
	StartedAt jsonTime `json:"started_at"`
	EndedAt   jsonTime `json:"ended_at"`
	Users     int64    `json:"users"`
}

func readinessOf(state points.State) readiness {
	r := readiness{Status: "ready", Waiting: state.Waiting, Paused: state.Paused, NextTick: jsonTime(state.NextTick)}
	r.Update.RunningSince = jsonTime(state.Updater.RunningSince)
	r.Update.Done, r.Update.Total = state.Updater.Done, state.Updater.Total
	r.Update.LastSuccess = updateOf(state.Updater.LastSuccess)
	r.Update.LastFailure = updateOf(state.Updater.LastFailure)
	r.Update.Breaker = state.Updater.Breaker
	r.Shared = sharedOf(state)
	return r
}

// shared describes the shared state of several engines. Its times are those of the shared state's clock.
type shared struct {
	Instance    string       `json:"instance"`  // this engine
	Instances   []instance   `json:"instances"` // all engines
	Ticks       uint64       `json:"ticks"`
	Skipped     uint64       `json:"skipped"`          // ticks whose update was skipped
	Running     sharedUpdate `json:"running,omitzero"` // zero if no update is running
	LastSuccess sharedUpdate `json:"last_success,omitzero"`
	LastFailure sharedUpdate `json:"last_failure,omitzero"`
}

type instance struct {
	Instance  string   `json:"instance"`
	StartedAt jsonTime `json:"started_at"`
	SeenAt    jsonTime `json:"seen_at"`
}

type sharedUpdate struct {
	Instance  string   `json:"instance"`
	StartedAt jsonTime `json:"started_at"`
	EndedAt   jsonTime `json:"ended_at,omitzero"` // zero while it runs
	Users     int64    `json:"users,omitzero"`    // zero while it runs
}

// sharedOf returns nil if the state is not shared, or not known yet.
func sharedOf(state points.State) *shared {
	status := state.Shared
	if status == nil {
		return nil
	}
	s := &shared{
		Instance: state.Instance, Instances: make([]instance, len(status.Instances)),
		Ticks: status.Ticks, Skipped: status.Skipped,
		LastSuccess: sharedUpdateOf(status.LastSuccess), LastFailure: sharedUpdateOf(status.LastFailure),
	}
	for i, engine := range status.Instances {
		s.Instances[i] = instance{engine.Instance, jsonTime(engine.Started), jsonTime(engine.Seen)}
	}
	if running, ok := status.Running(); ok {
		s.Running = sharedUpdate{Instance: running.Instance, StartedAt: jsonTime(running.Started)}
	}
	return s
}

func sharedUpdateOf(u points.SharedUpdate) sharedUpdate {
	if u.Started.IsZero() {
		return sharedUpdate{}
	}
	return sharedUpdate{u.Instance, jsonTime(u.Started), jsonTime(u.Started.Add(u.Duration)), u.Users}
}

func updateOf(info points.UpdateInfo) update {
	if info.Started.IsZero() {
		return update{}
	}
	return update{jsonTime(info.Started), jsonTime(info.Started.Add(info.Duration)), info.Users}
}

// A pinger pings the store at most once per half second, so that many requests for /readyz hardly load it.
type pinger struct {
	pingStore func(context.Context) error // nil: it can always be reached

	mu   sync.Mutex
	at   time.Time // of the last ping
	last error
}

func (p *pinger) ping(ctx context.Context) error {
	const fresh, timeout = 500 * time.Millisecond, 2 * time.Second
	if p.pingStore == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) < fresh {
		return p.last
	}
	// Other requests use the result, too: it must not depend on this one's context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	p.last = p.pingStore(ctx)
	p.at = time.Now()
	return p.last
}
