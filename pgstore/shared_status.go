package pgstore

import (
	"encoding/json"
	"math"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A sharedStatus is a points.SharedStatus as the functions return it. Times and durations are in microseconds.
type sharedStatus struct {
	Time      int64  `json:"time"`
	Interval  int64  `json:"interval"`
	Paused    bool   `json:"paused"`
	NextTick  *int64 `json:"next_tick"`
	Ticks     uint64 `json:"ticks"`
	Skipped   uint64 `json:"skipped"`
	Failures  int    `json:"failures"`
	Instances []struct {
		ID       int64  `json:"instance_id"`
		Instance string `json:"instance"`
		Started  int64  `json:"started"`
		Seen     int64  `json:"seen"`
	} `json:"instances"`
	Updates     []sharedUpdate `json:"updates"`
	LastSuccess *sharedUpdate  `json:"last_success"`
	LastFailure *sharedUpdate  `json:"last_failure"`
}

type sharedUpdate struct {
	ID         int64  `json:"id"`
	InstanceID int64  `json:"instance_id"`
	Instance   string `json:"instance"`
	Started    int64  `json:"started"`
	Duration   int64  `json:"duration"`
	Users      int64  `json:"users"`
	Outcome    int    `json:"outcome"`
	Error      string `json:"error"`
}

func parseStatus(text string) (points.SharedStatus, error) {
	var s sharedStatus
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return points.SharedStatus{}, err
	}
	status := points.SharedStatus{
		Time: fromMicros(&s.Time), Interval: time.Duration(s.Interval) * time.Microsecond,
		Paused: s.Paused, NextTick: fromMicros(s.NextTick),
		Ticks: s.Ticks, Skipped: s.Skipped, Failures: s.Failures,
		Instances:   make([]points.SharedInstance, len(s.Instances)),
		Updates:     make([]points.SharedUpdate, len(s.Updates)),
		LastSuccess: s.LastSuccess.update(), LastFailure: s.LastFailure.update(),
	}
	for i, server := range s.Instances {
		status.Instances[i] = points.SharedInstance{
			Instance: server.Instance, ID: uint64(server.ID), //nolint:gosec // the same bits
			Started: fromMicros(&server.Started), Seen: fromMicros(&server.Seen),
		}
	}
	for i := range s.Updates {
		status.Updates[i] = s.Updates[i].update()
	}
	return status, nil
}

func (u *sharedUpdate) update() points.SharedUpdate {
	if u == nil {
		return points.SharedUpdate{}
	}
	return points.SharedUpdate{
		ID: uint64(u.ID), InstanceID: uint64(u.InstanceID), //nolint:gosec // the same bits
		Instance: u.Instance, Started: fromMicros(&u.Started),
		Duration: time.Duration(u.Duration) * time.Microsecond, Users: u.Users,
		Outcome: points.UpdateOutcome(u.Outcome), Err: u.Error,
	}
}

// fromMicros returns the time that is this many microseconds after 1970, or the zero time for nil.
func fromMicros(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return time.UnixMicro(*us).UTC()
}

// micros returns d in microseconds, rounded up, so that neither an interval nor the duration of an update becomes 0. It
// rounds down if a Duration could not hold the rounded value.
func micros(d time.Duration) int64 {
	us := d.Microseconds()
	if d%time.Microsecond > 0 && us < math.MaxInt64/int64(time.Microsecond) {
		us++
	}
	return us
}
