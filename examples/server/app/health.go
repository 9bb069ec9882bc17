package app

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

func (h *Handler) readyz(w http.ResponseWriter, r *http.Request) {
	if p := h.phase.Load(); p != nil {
		writeUnavailable(w, "The server is "+p.what+".")
		return
	}
	if err := h.probe.check(r.Context()); err != nil {
		writeUnavailable(w, "The database does not answer.")
		return
	}
	body, err := json.Marshal(readinessOf(h.engine.State()))
	if err != nil {
		panic(err) // strings, numbers and times
	}
	writeJSON(w, jsonType, http.StatusOK, body)
}

// readiness is what /readyz says of a server that can answer.
type readiness struct {
	Status   string    `json:"status"`
	Waiting  int       `json:"waiting"` // queries
	NextTick time.Time `json:"next_tick,omitzero"`
	Update   struct {
		RunningSince time.Time `json:"running_since,omitzero"`
		Done         int64     `json:"done,omitzero"`  // users, if the store tells
		Total        int64     `json:"total,omitzero"` // users, as an estimate
		LastSuccess  update    `json:"last_success,omitzero"`
		LastFailure  update    `json:"last_failure,omitzero"`
		Breaker      string    `json:"breaker"`
	} `json:"update"`
}

type update struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	Users   int64     `json:"users"`
}

func readinessOf(state points.State) readiness {
	r := readiness{Status: "ready", Waiting: state.Waiting, NextTick: state.NextTick}
	r.Update.RunningSince = state.Updater.RunningSince
	r.Update.Done, r.Update.Total = state.Updater.Done, state.Updater.Total
	r.Update.LastSuccess = updateOf(state.Updater.LastSuccess)
	r.Update.LastFailure = updateOf(state.Updater.LastFailure)
	r.Update.Breaker = state.Updater.Breaker.String()
	return r
}

func updateOf(info points.UpdateInfo) update {
	if info.Started.IsZero() {
		return update{}
	}
	return update{info.Started, info.Started.Add(info.Duration), info.Users}
}

// A probe asks the store whether it can be reached, on behalf of all who want to know at that time: however many ask,
// they cost the store next to nothing.
type probe struct {
	ping func(context.Context) error // nil: it always can

	mu   sync.Mutex
	at   time.Time // of the latest answer
	last error
}

func (p *probe) check(ctx context.Context) error {
	const keep, timeout = 500 * time.Millisecond, 2 * time.Second
	if p.ping == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) < keep {
		return p.last
	}
	// The answer is for others, too: it does not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	p.last = p.ping(ctx)
	p.at = time.Now()
	return p.last
}
