package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

func getUpdates(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/updates", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

func TestUpdatesList(t *testing.T) {
	t.Parallel()
	h := &updates{state: func() points.State { return points.State{} }}
	assert.JSONEq(t, `{"updates":[]}`, getUpdates(t, h))

	first := points.UpdateInfo{Started: time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)}
	h.started(t.Context(), first)
	assert.JSONEq(t, `{"updates":[{"started_at":"2026-01-01T10:00:00.000000Z","ended_at":null,"users":0,"failed":false}]}`,
		getUpdates(t, h))

	first.Users, first.Duration = 7, 1200*time.Millisecond+999*time.Nanosecond
	h.ended(first)
	second := points.UpdateInfo{Started: first.Started.Add(time.Minute)}
	h.started(t.Context(), second)
	second.Err = errors.New("lost")
	h.ended(second)
	assert.JSONEq(t, `{"updates":[
		{"started_at":"2026-01-01T10:00:00.000000Z","ended_at":"2026-01-01T10:00:01.200000Z","users":7,"failed":false},
		{"started_at":"2026-01-01T10:01:00.000000Z","ended_at":"2026-01-01T10:01:00.000000Z","users":0,"failed":true}]}`,
		getUpdates(t, h))
}

// An update that the store skips, as another process is updating the table, is neither an update nor a failure.
func TestUpdatesOmitsSkippedOnes(t *testing.T) {
	t.Parallel()
	h := &updates{state: func() points.State { return points.State{} }}
	info := points.UpdateInfo{Started: time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)}
	h.started(t.Context(), info)
	info.Err = fmt.Errorf("locked: %w", points.ErrUpdateRunning)
	h.ended(info)
	assert.JSONEq(t, `{"updates":[]}`, getUpdates(t, h))
}

// The live page also has what started an update. With a shared state, a server knows that of its own updates.
func TestCauses(t *testing.T) {
	t.Parallel()
	causes := func(h *updates) []string {
		_, all := h.forPage(10)
		var parsed []struct {
			StartedAt string `json:"started_at"`
			Cause     string `json:"cause"`
		}
		text, err := json.Marshal(all)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &parsed))
		causes := make([]string, len(parsed))
		for i, update := range parsed {
			assert.NotEmpty(t, update.StartedAt)
			causes[i] = update.Cause
		}
		return causes
	}
	control := context.WithValue(t.Context(), updateStartedKey{}, func() {})
	var status *points.SharedStatus
	h := &updates{state: func() points.State { return points.State{Shared: status} }}
	h.started(t.Context(), points.UpdateInfo{})
	h.ended(points.UpdateInfo{})
	h.started(control, points.UpdateInfo{})
	assert.Equal(t, []string{"tick", "control"}, causes(h))
	h.ended(points.UpdateInfo{})
	assert.Equal(t, []string{"tick", "control"}, causes(h))

	h = &updates{state: h.state}
	at := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	status = &points.SharedStatus{Updates: []points.SharedUpdate{
		{ID: 3, Started: at.Add(2)}, {ID: 2, Started: at.Add(1)}, {ID: 1, Started: at},
	}}
	h.startedShared(t.Context(), points.UpdateInfo{ID: 1})
	h.startedShared(control, points.UpdateInfo{ID: 3})
	assert.Equal(t, []string{"tick", "", "control"}, causes(h))
}

// However long a server runs, it remembers the latest thousand.
func TestUpdatesForgets(t *testing.T) {
	t.Parallel()
	h := &updates{state: func() points.State { return points.State{} }}
	for i := range 1002 {
		info := points.UpdateInfo{Started: time.Unix(int64(i), 0), Users: int64(i)}
		h.started(t.Context(), info)
		h.ended(info)
	}
	var list struct {
		Updates []updateRun `json:"updates"`
	}
	require.NoError(t, json.Unmarshal([]byte(getUpdates(t, h)), &list))
	require.Len(t, list.Updates, 1000)
	assert.EqualValues(t, 2, list.Updates[0].Users)
	assert.EqualValues(t, 1001, list.Updates[999].Users)
}

// With a shared state the list has the updates of all servers, including those that the state has dropped. An update
// whose server died has failed; a skipped one is no update.
func TestUpdatesOfSharedState(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 10, 0, second, 0, time.UTC) }
	one := points.SharedInstance{Instance: "one", ID: 1, Started: at(0)}
	two := points.SharedInstance{Instance: "two", ID: 2, Started: at(0)}
	var status *points.SharedStatus
	h := &updates{state: func() points.State { return points.State{Shared: status} }}
	assert.JSONEq(t, `{"updates":[]}`, getUpdates(t, h))

	first := points.SharedUpdate{ID: 1, Instance: "one", InstanceID: 1, Started: at(1)}
	status = &points.SharedStatus{Instances: []points.SharedInstance{one, two}, Updates: []points.SharedUpdate{first}}
	assert.JSONEq(t, `{"updates":[
		{"instance":"one","started_at":"2026-01-01T10:00:01.000000Z","ended_at":null,"users":0,"failed":false}]}`,
		getUpdates(t, h))

	first.Duration, first.Users, first.Outcome = time.Second, 7, points.UpdateSucceeded
	second := points.SharedUpdate{ID: 2, Instance: "two", InstanceID: 2, Started: at(3)}
	skipped := points.SharedUpdate{ID: 3, Instance: "one", InstanceID: 1, Started: at(4)}
	status = &points.SharedStatus{
		Instances: []points.SharedInstance{one, two}, Updates: []points.SharedUpdate{skipped, second, first},
	}
	assert.Contains(t, getUpdates(t, h), "10:00:04", "it is about to be skipped")
	status = &points.SharedStatus{
		Instances: []points.SharedInstance{one, two}, Updates: []points.SharedUpdate{second, first},
	}
	const firstRun = `{"instance":"one","started_at":"2026-01-01T10:00:01.000000Z","ended_at":"2026-01-01T10:00:02.000000Z","users":7,"failed":false}`
	const secondRun = `{"instance":"two","started_at":"2026-01-01T10:00:03.000000Z","ended_at":null,"users":0,"failed":`
	assert.JSONEq(t, `{"updates":[`+firstRun+`,`+secondRun+`false}]}`, getUpdates(t, h))
	later := make([]points.SharedUpdate, points.MaxSharedUpdates) // cancelled before they began
	for i := range later {
		later[i] = points.SharedUpdate{ID: 100, Started: at(10), Outcome: points.UpdateCancelled}
	}
	status = &points.SharedStatus{Instances: []points.SharedInstance{one, two}, Updates: later}
	assert.JSONEq(t, `{"updates":[`+firstRun+`,`+secondRun+`false}]}`, getUpdates(t, h))
	status = &points.SharedStatus{Instances: []points.SharedInstance{one}, Updates: later}
	assert.JSONEq(t, `{"updates":[`+firstRun+`,`+secondRun+`true}]}`, getUpdates(t, h))

	second.Duration, second.Outcome = time.Minute, points.UpdateFailed // it had only been silent
	status = &points.SharedStatus{Updates: []points.SharedUpdate{second}}
	assert.Contains(t, getUpdates(t, h), `"ended_at":"2026-01-01T10:01:03.000000Z","users":0,"failed":true}]}`)
}
