package points

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// This file is the part of an engine on a SharedState that records its updates there.

// A sharedUpdate is an update of this engine until the shared state has recorded its outcome.
type sharedUpdate struct {
	SharedUpdate

	info UpdateInfo
	sent bool // a Sync has recorded it as it is now
}

// addUpdate adds an update that has begun, or one that was skipped before it began. It returns its ID.
func (s *shared) addUpdate(info UpdateInfo, outcome UpdateOutcome) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id = rand.Uint64()
	s.updates = append(s.updates, &sharedUpdate{
		SharedUpdate: SharedUpdate{ID: id, Instance: s.instance, InstanceID: s.id, Outcome: outcome}, info: info,
	})
	if len(s.updates) > MaxSharedUpdates { // no Sync has succeeded for long: the state would forget the oldest anyway
		oldest := slices.IndexFunc(s.updates, func(u *sharedUpdate) bool { return u.Outcome != UpdateUnfinished })
		s.updates = slices.Delete(s.updates, oldest, oldest+1)
	}
	s.requestSync()
	return id
}

// endUpdate sets the outcome of an update that was added.
func (s *shared) endUpdate(info UpdateInfo, outcome UpdateOutcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.ID == info.ID {
			u.Duration, u.Users, u.Outcome, u.info, u.sent = info.Duration, info.Users, outcome, info, false
			if outcome == UpdateFailed {
				u.Err = strings.ReplaceAll(strings.ToValidUTF8(info.Err.Error(), "?"), "\x00", "?")
			}
		}
	}
	s.requestSync()
}

// nextUpdate returns the update for the next Sync: the oldest that is to be recorded, or the running one; nil if there
// is none.
func (s *shared) nextUpdate() *SharedUpdate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.updates) == 0 {
		return nil
	}
	update := s.updates[max(0, slices.IndexFunc(s.updates, isUnsent))].SharedUpdate
	return &update
}

func isUnsent(u *sharedUpdate) bool { return !u.sent }

// setRecorded notes that a Sync has recorded an update. If there are more to be recorded, the next Sync is due at once.
func (s *shared) setRecorded(update SharedUpdate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.updates, func(u *sharedUpdate) bool { return u.SharedUpdate == update })
	switch {
	case i < 0: // it has ended meanwhile, or it was dropped
	case update.Outcome == UpdateUnfinished:
		s.updates[i].sent = true
	default:
		s.updates = slices.Delete(s.updates, i, i+1)
	}
	if slices.ContainsFunc(s.updates, isUnsent) {
		s.requestSync()
	}
}

// failures returns the number of consecutive failed updates of all engines, and the latest one, with its times by this
// process's clock.
func (s *shared) failures() (failures int, last UpdateInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != nil && s.status.Failures > 0 {
		failed := s.status.LastFailure
		failures = s.status.Failures
		last = UpdateInfo{Started: s.toProcessClock(failed.Started), Duration: failed.Duration}
	}
	for _, u := range s.updates { // which the status does not contain yet
		switch u.Outcome { //nolint:exhaustive // the others say nothing about the store
		case UpdateSucceeded:
			failures = 0
		case UpdateFailed:
			failures++
			last = u.info
		}
	}
	return failures, last
}
