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
	changes   int       // of the min number; counted in a ClientHistory only
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

// A model is what is known of the store and the engine of a history.
type model struct {
	limit    int
	ids      []int64
	versions [][]points.User // the users with these ids: initially, then after each update
	slack    time.Duration   // how far a timestamp may be outside of the query that it was given to
}

func newModel(users []points.User) model {
	m := model{limit: points.DefaultLimit, versions: [][]points.User{slices.Clone(users)}}
	for _, u := range users {
		m.ids = append(m.ids, u.ID)
	}
	return m
}

// An event changes the state, or returns why it is impossible in it.
type event interface {
	apply(m *model, s state) (state, error)
	String() string
}

// minNumber is a new min number.
type minNumber int

func (n minNumber) String() string { return fmt.Sprintf("min number %d", int(n)) }

func (n minNumber) apply(_ *model, s state) (state, error) {
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

func (u updateStart) apply(_ *model, s state) (state, error) {
	if s.updating {
		return s, errors.New("another update is running")
	}
	s.updates, s.updating = int(u), true
	return s, nil
}

func (u updateEnd) String() string { return fmt.Sprintf("end of update %d: %v", int(u.update), u.err) }

func (u updateEnd) apply(_ *model, s state) (state, error) {
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
	place    int       // in the order of the answered queries, counted from 0
	gap      bool      // it may follow a query whose outcome is unknown; see setPlaces
}

func (q *answeredQuery) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "query %d, previous %s:", q.place, q.result.PreviousTimestamp.Format(time.RFC3339Nano))
	for _, u := range q.result.Users {
		fmt.Fprintf(&text, " user %d with %d", u.ID, u.Points)
	}
	return text.String()
}

func (q *answeredQuery) apply(m *model, s state) (state, error) {
	if s.minNumber < 0 {
		return s, errors.New("there is no min number")
	}
	if err := q.follows(m, s); err != nil {
		return s, err
	}
	users, err := m.reached(s, q.result.Users)
	if err != nil {
		return s, err
	}
	s = q.next(s)
	s.users = users
	return s, nil
}

// follows returns why the query cannot be the next one, whatever its users.
func (q *answeredQuery) follows(m *model, s state) error {
	previous := q.result.PreviousTimestamp
	switch {
	case q.place != s.queries:
		return errors.New("it is not the next query")
	case q.place == 0 && !q.gap && !previous.IsZero():
		return errors.New("it is the first query, but has a previous one")
	case q.place > 0 && previous.Sub(s.previous) < time.Microsecond:
		return errors.New("it has the same previous timestamp as the query before")
	case q.place > 0 && (previous.Before(s.from.Add(-m.slack)) || !q.gap && previous.After(s.to.Add(m.slack))):
		return errors.New("the query before did not run at that time")
	case previous.After(q.to.Add(m.slack)):
		return errors.New("its previous timestamp is in the future")
	case q.result.Batch < s.batch:
		return errors.New("a later batch has been answered")
	}
	return nil
}

// next returns the state after the query, except for the users.
func (q *answeredQuery) next(s state) state {
	s.queries++
	s.previous, s.from, s.to = q.result.PreviousTimestamp, q.from, q.to
	s.batch = q.result.Batch
	return s
}

// reached returns the oldest update that each user can be at, given that a query found these users.
func (m *model) reached(s state, found []points.User) (users, error) {
	reached := s.users
	// advance finds the oldest update that can have given user i such points: the oldest leaves most choice later.
	advance := func(i int, ok func(points.User) bool) bool {
		for ; reached[i] <= s.updates; reached[i]++ {
			if ok(m.versions[reached[i]][i]) {
				return true
			}
		}
		return false
	}
	listed := make(map[int64]bool, len(found))
	for _, u := range found {
		i := slices.Index(m.ids, u.ID)
		switch {
		case i < 0:
			return reached, fmt.Errorf("there is no user %d", u.ID)
		case listed[u.ID]:
			return reached, fmt.Errorf("user %d is listed twice", u.ID)
		case u.Points <= s.minNumber:
			return reached, fmt.Errorf("user %d does not have more than %d", u.ID, s.minNumber)
		case !advance(i, func(known points.User) bool { return same(known, u) }):
			return reached, fmt.Errorf("user %d cannot have %d points", u.ID, u.Points)
		}
		listed[u.ID] = true
	}
	switch {
	case len(found) > m.limit:
		return reached, fmt.Errorf("more than %d users", m.limit)
	case len(found) == m.limit:
		return reached, nil
	}
	for i, id := range m.ids {
		if !listed[id] && !advance(i, func(known points.User) bool { return known.Points <= s.minNumber }) {
			return reached, fmt.Errorf("user %d is missing: it has more than %d", id, s.minNumber)
		}
	}
	return reached, nil
}

// same reports whether a query found what is known of a user. The time of the update may be unknown.
func same(known, found points.User) bool {
	return found.Points == known.Points && (known.UpdatedAt.IsZero() || found.UpdatedAt.Equal(known.UpdatedAt))
}
