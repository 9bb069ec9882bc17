package linearizability

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// state is the engine's and its users', as far as the history tells. It is comparable.
type state struct {
	number   int       // the hidden number; -1 if there is none yet
	queries  int       // answered so far
	previous time.Time // what the latest of them was told
	from, to time.Time // when the latest of them was stamped
	batch    uint64
	updates  int  // begun so far
	updating bool // the latest has not ended
	users    users
}

// users holds for each user the oldest update whose points it can have: it never goes back. 0 is the beginning.
type users [MaxUsers]int

// An event changes the state, or cannot have happened in it.
type event interface {
	happen(r *Recorder, s state) (state, error)
	String() string
}

// number is a new hidden number.
type number int

func (n number) String() string { return fmt.Sprintf("hidden number %d", int(n)) }

func (n number) happen(_ *Recorder, s state) (state, error) {
	s.number = int(n)
	return s, nil
}

// An update is two events, and each user changes at some moment between them. It is known by its place among all
// updates, counted from 1.
type (
	updateBegins int
	updateEnds   struct {
		update updateBegins
		err    error
	}
)

func (u updateBegins) String() string { return fmt.Sprintf("update %d begins", int(u)) }

func (u updateBegins) happen(_ *Recorder, s state) (state, error) {
	if s.updating {
		return s, errors.New("another one runs")
	}
	s.updates, s.updating = int(u), true
	return s, nil
}

func (u updateEnds) String() string { return fmt.Sprintf("update %d ends: %v", int(u.update), u.err) }

func (u updateEnds) happen(_ *Recorder, s state) (state, error) {
	s.updating = false
	if u.err == nil {
		for i := range s.users {
			s.users[i] = int(u.update)
		}
	}
	return s, nil
}

// query is a query that was answered.
type query struct {
	result   points.Result
	from, to time.Time // of its call and its answer
	place    int       // in the order of all queries, counted from 0
}

func (q *query) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "query %d, told of %s:", q.place, q.result.Previous.Format(time.RFC3339Nano))
	for _, u := range q.result.Users {
		fmt.Fprintf(&text, " user %d with %d", u.ID, u.Points)
	}
	return text.String()
}

func (q *query) happen(r *Recorder, s state) (state, error) {
	// An engine may stamp a microsecond apart what it answers at one moment.
	slack := time.Duration(len(r.history)) * time.Microsecond
	previous := q.result.Previous
	switch {
	case q.place != s.queries:
		return s, errors.New("it is not next")
	case s.number < 0:
		return s, errors.New("there is no hidden number")
	case q.place == 0 && !previous.IsZero():
		return s, errors.New("it is the first, and was told of one before")
	case q.place > 0 && previous.Sub(s.previous) < time.Microsecond:
		return s, errors.New("it was told the same as the one before")
	case q.place > 0 && (previous.Before(s.from.Add(-slack)) || previous.After(s.to.Add(slack))):
		return s, errors.New("the query before was not stamped then")
	case q.result.Batch < s.batch:
		return s, errors.New("its batch was over")
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

// reached returns which updates have reached the users at least, if these were found.
func (r *Recorder) reached(s state, found []points.User) (users, error) {
	reached := s.users
	// reach finds the oldest update that can have given the i-th user such points: that allows the most afterwards.
	reach := func(i int, such func(points int) bool) bool {
		for ; reached[i] <= s.updates; reached[i]++ {
			if such(r.points[reached[i]][i]) {
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
			return reached, fmt.Errorf("user %d comes twice", u.ID)
		case u.Points <= s.number:
			return reached, fmt.Errorf("user %d is not above %d", u.ID, s.number)
		case !reach(i, func(points int) bool { return points == u.Points }):
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
		if !listed[id] && !reach(i, func(points int) bool { return points <= s.number }) {
			return reached, fmt.Errorf("user %d is missing: it is above %d", id, s.number)
		}
	}
	return reached, nil
}
