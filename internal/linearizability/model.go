package linearizability

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A state is what the history so far says about the engine and its users. It is comparable.
type state struct {
	minNumber int       // -1 before the first
	queries   int       // so far
	previous  time.Time // as the latest query returned it
	from, to  time.Time // the latest query got its timestamp in between
	batch     uint64    // of the latest query
	updates   int       // started so far
	updating  bool      // the latest one has not ended
	users     users
}

// users holds for each user the oldest update whose points it can have. It never goes back. 0 stands for the initial
// points.
type users [MaxUsers]int

// An event changes the state, or returns why it is impossible in it.
type event interface {
	apply(r *Recorder, s state) (state, error)
	String() string
}

// minNumber is a new min number.
type minNumber int

func (n minNumber) String() string { return fmt.Sprintf("min number %d", int(n)) }

func (n minNumber) apply(_ *Recorder, s state) (state, error) {
	s.minNumber = int(n)
	return s, nil
}

// An update is two events. Each user changes at some moment between them. Updates are counted from 1.
type (
	updateStart int
	updateEnd   struct {
		update updateStart
		err    error
	}
)

func (u updateStart) String() string { return fmt.Sprintf("start of update %d", int(u)) }

func (u updateStart) apply(_ *Recorder, s state) (state, error) {
	if s.updating {
		return s, errors.New("another update is running")
	}
	s.updates, s.updating = int(u), true
	return s, nil
}

func (u updateEnd) String() string { return fmt.Sprintf("end of update %d: %v", int(u.update), u.err) }

func (u updateEnd) apply(_ *Recorder, s state) (state, error) {
	s.updating = false
	if u.err == nil {
		for i := range s.users {
			s.users[i] = int(u.update)
		}
	}
	return s, nil
}

// An answeredQuery is a query that succeeded.
type answeredQuery struct {
	result   points.Result
	from, to time.Time // of its call and its return
	place    int       // in the order of all queries, counted from 0
}

func (q *answeredQuery) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "query %d, previous %s:", q.place, q.result.PreviousTimestamp.Format(time.RFC3339Nano))
	for _, u := range q.result.Users {
		fmt.Fprintf(&text, " user %d with %d", u.ID, u.Points)
	}
	return text.String()
}

func (q *answeredQuery) apply(r *Recorder, s state) (state, error) {
	// An engine may give the queries of one batch timestamps that are a microsecond apart.
	slack := time.Duration(len(r.history)) * time.Microsecond
	previous := q.result.PreviousTimestamp
	switch {
	case q.place != s.queries:
		return s, errors.New("it is not the next query")
	case s.minNumber < 0:
		return s, errors.New("there is no min number")
	case q.place == 0 && !previous.IsZero():
		return s, errors.New("it is the first query, but has a previous one")
	case q.place > 0 && previous.Sub(s.previous) < time.Microsecond:
		return s, errors.New("it has the same previous timestamp as the query before")
	case q.place > 0 && (previous.Before(s.from.Add(-slack)) || previous.After(s.to.Add(slack))):
		return s, errors.New("the query before did not run at that time")
	case q.result.Batch < s.batch:
		return s, errors.New("a later batch has been answered")
	}
	users, err := r.reached(s, q.result.Users)
	if err != nil {
		return s, err
	}
	s.queries++
	s.previous, s.from, s.to = previous, q.from, q.to
	s.batch = q.result.Batch
	s.users = users
	return s, nil
}

// reached returns the oldest update that each user can be at, given that a query found these users.
func (r *Recorder) reached(s state, found []points.User) (users, error) {
	reached := s.users
	// advance finds the oldest update that can have given user i such points: the oldest leaves most choice later.
	advance := func(i int, ok func(points int) bool) bool {
		for ; reached[i] <= s.updates; reached[i]++ {
			if ok(r.points[reached[i]][i]) {
				return true
			}
		}
		return false
	}
	listed := make(map[int64]bool, len(found))
	for _, u := range found {
		i := slices.Index(r.ids, u.ID)
		switch {
		case i < 0:
			return reached, fmt.Errorf("there is no user %d", u.ID)
		case listed[u.ID]:
			return reached, fmt.Errorf("user %d is listed twice", u.ID)
		case u.Points <= s.minNumber:
			return reached, fmt.Errorf("user %d does not have more than %d", u.ID, s.minNumber)
		case !advance(i, func(points int) bool { return points == u.Points }):
			return reached, fmt.Errorf("user %d cannot have %d points", u.ID, u.Points)
		}
		listed[u.ID] = true
	}
	switch {
	case len(found) > r.limit:
		return reached, fmt.Errorf("more than %d users", r.limit)
	case len(found) == r.limit:
		return reached, nil
	}
	for i, id := range r.ids {
		if !listed[id] && !advance(i, func(points int) bool { return points <= s.minNumber }) {
			return reached, fmt.Errorf("user %d is missing: it has more than %d", id, s.minNumber)
		}
	}
	return reached, nil
}
