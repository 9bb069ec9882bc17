package linearizability_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// at returns a time of the histories in this file: so many milliseconds after their beginning.
func at(ms float64) time.Time {
	return time.UnixMilli(1_800_000_000_000).Add(time.Duration(ms * float64(time.Millisecond))).UTC()
}

// A played history has users 1, 2 and 3 with their old points, updated at 0 ms, and min number 50.
type played struct {
	*linearizability.ClientHistory

	t *testing.T
}

func updated(ms float64, users ...points.User) []points.User {
	users = slices.Clone(users)
	for i := range users {
		users[i].UpdatedAt = at(ms)
	}
	return users
}

// query records a query that takes a millisecond, and returns the timestamp given to the previous one.
func (p played) query(called, previous float64, users ...points.User) {
	p.long(called, called+1, previous, users...)
}

// long records a query between these times. The first query has no previous timestamp, here 0.
func (p played) long(called, returned, previous float64, users ...points.User) {
	result := points.Result{Users: users}
	if previous != 0 {
		result.PreviousTimestamp = at(previous)
	}
	p.Answered(at(called), at(returned), result)
}

func (p played) update(from, to float64, users ...points.User) {
	require.NoError(p.t, p.Updated(users, at(from), at(to)))
}

type clientScripts []struct {
	name string
	play func(played)
	want string // part of the error; empty if the history is linearizable
}

func (scripts clientScripts) check(t *testing.T) {
	for _, test := range scripts {
		t.Run(test.name, func(t *testing.T) {
			history := linearizability.NewClientHistory(2, updated(0, old()...), 50)
			test.play(played{history, t})
			err := history.Check()
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestClientHistoryOfOrder(t *testing.T) {
	both := updated(0, old()[1:]...)
	clientScripts{
		{"nothing", func(played) {}, ""},
		{"one after the other", func(p played) {
			p.query(10, 0, both...)
			p.query(20, 10.5, both...)
			p.query(30, 20.5, both...)
		}, ""},
		{"overlapping, in any order of their calls", func(p played) {
			p.long(10, 20, 13, both...)
			p.long(12, 19, 0, both...)
			p.long(11, 18, 14, both...)
		}, ""},
		{"a batch, whose last timestamp is that of its end", func(p played) {
			p.query(10, 0, both...)
			p.query(10, 9.999, both...)
		}, ""},
		{"in different order than in time", func(p played) {
			p.query(10, 11.5, both...)
			p.long(11.2, 12, 0, both...)
		}, "previous timestamp is in the future"},
		{"the later call is first", func(p played) {
			p.long(10, 40, 0, both...)
			p.query(20, 25, both...)
			p.query(30, 15, both...)
		}, "the query before did not run at that time"},
		{"two orders, one for each process", func(p played) {
			p.query(10, 0, both...)
			p.query(20, 0, both...)
		}, "same previous timestamp"},
		{"the same timestamp twice", func(p played) {
			p.query(10, 0, both...)
			p.query(20, 10.5, both...)
			p.query(30, 10.5, both...)
		}, "same previous timestamp"},
		{"a query was skipped", func(p played) {
			p.query(10, 0, both...)
			p.query(20, 10.5, both...)
			p.query(30, 10.7, both...)
		}, "the query before did not run at that time"},
		{"forgotten at a restart", func(p played) {
			p.query(10, 5, both...)
		}, "it is the first query"},
		{"a timestamp in the future", func(p played) {
			p.long(10, 30, 0, both...)
			p.long(11, 12, 25, both...)
		}, "previous timestamp is in the future"},
	}.check(t)
}

func TestClientHistoryOfFailedQueries(t *testing.T) {
	both := updated(0, old()[1:]...)
	clientScripts{
		{"without a place", func(p played) {
			p.query(10, 0, both...)
			p.Failed(at(12))
			p.query(20, 10.5, both...)
		}, ""},
		{"with a place", func(p played) {
			p.query(10, 0, both...)
			p.Failed(at(12))
			p.query(20, 15, both...)
		}, ""},
		{"with the first place", func(p played) { p.Failed(at(5)); p.query(10, 7, both...) }, ""},
		{"with a place after later queries", func(p played) {
			p.query(10, 0, both...)
			p.Failed(at(12))
			p.query(20, 10.5, both...)
			p.query(30, 25, both...)
		}, ""},
		{"with two places", func(p played) {
			p.Failed(at(5))
			p.query(10, 0, both...)
			p.query(20, 15, both...)
			p.query(30, 25, both...)
		}, "the query before did not run at that time"},
		{"not called yet", func(p played) {
			p.query(10, 0, both...)
			p.query(20, 15, both...)
			p.Failed(at(16))
		}, "the query before did not run at that time"},
		{"with a place before an answered query that was before it", func(p played) {
			p.Failed(at(5))
			p.query(10, 0, both...)
			p.query(20, 8, both...)
		}, "the query before did not run at that time"},
		{"with a timestamp in the future", func(p played) {
			p.query(10, 0, both...)
			p.Failed(at(12))
			p.query(20, 25, both...)
		}, "previous timestamp is in the future"},
	}.check(t)
}

func TestClientHistoryOfMinNumbers(t *testing.T) {
	second, third := updated(0, old()[1])[0], updated(0, old()[2])[0]
	clientScripts{
		{"new", func(p played) {
			p.query(10, 0, second, third)
			p.MinNumber(70, at(12), at(13))
			p.query(20, 10.5, third)
		}, ""},
		{"at any time in between", func(p played) {
			p.MinNumber(70, at(5), at(25))
			p.query(10, 0, second, third)
			p.query(20, 10.5, third)
		}, ""},
		{"two at once, in their order", func(p played) {
			p.MinNumber(95, at(5), at(25))
			p.MinNumber(70, at(5), at(25))
			p.query(10, 0)
			p.query(20, 10.5, third)
		}, ""},
		{"two at once, the other way round", func(p played) {
			p.MinNumber(70, at(5), at(25))
			p.MinNumber(95, at(5), at(25))
			p.query(10, 0)
			p.query(20, 10.5, third)
		}, "user 3 does not have more than 95"},
		{"old", func(p played) {
			p.MinNumber(70, at(5), at(6))
			p.query(10, 0, second, third)
		}, "user 2 does not have more than 70"},
		{"back", func(p played) {
			p.MinNumber(70, at(5), at(50))
			p.query(10, 0, third)
			p.query(20, 10.5, second, third)
		}, "user 2 does not have more than 70"},
		{"another one in each process", func(p played) {
			p.query(10, 0, second, third)
			p.query(20, 10.5, third)
		}, "user 2 is missing: it has more than 50"},
	}.check(t)
}

func TestClientHistoryOfUsers(t *testing.T) {
	before, after := updated(0, old()...), updated(5, drawn()...)
	clientScripts{
		{"new", func(p played) { p.update(6, 7, after...); p.query(10, 0, after[0]) }, ""},
		{"at any time in between", func(p played) {
			p.update(6, 25, after...)
			p.query(10, 0, before[1], before[2])
			p.query(20, 10.5, after[0])
		}, ""},
		{"in steps", func(p played) {
			p.update(6, 7, after[0])
			p.query(10, 0, after[0], before[1])
			p.update(12, 13, after[1:]...)
			p.query(20, 10.5, after[0])
		}, ""},
		{"old", func(p played) { p.update(6, 7, after...); p.query(10, 0, before[1:]...) }, "user 2 cannot have 60 points"},
		{"partly old", func(p played) { p.update(6, 25, after...); p.query(10, 0, after[0], before[1]) }, "user 2 cannot have 60 points"},
		{"back", func(p played) {
			p.update(6, 25, after...)
			p.query(10, 0, after[0])
			p.query(20, 10.5, before[1:]...)
		}, "user 2 cannot have 60 points"},
		{"of another time", func(p played) { p.query(10, 0, before[1], updated(1, before[2])[0]) }, "user 3 cannot have 90 points"},
		{"steps, the other way round", func(p played) {
			p.update(6, 25, before...)
			p.update(6, 25, after...)
			p.query(10, 0, after[0])
			p.query(20, 10.5, before[1:]...)
		}, "user 2 cannot have 60 points"},
		{"older than the min number", func(p played) { // a snapshot taken before the lock that orders the queries
			p.MinNumber(20, at(5), at(6))
			p.update(6, 7, after...)
			p.query(10, 0, before[1:]...)
		}, "user 2 cannot have 60 points"},
		{"missing", func(p played) { p.query(10, 0, before[2]) }, "user 2 is missing"},
	}.check(t)

	history := linearizability.NewClientHistory(1, before, 50)
	require.EqualError(t, history.Updated([]points.User{{ID: 4}}, at(0), at(1)), "linearizability: there is no user 4")
}

func TestClientHistoryCounts(t *testing.T) {
	history := linearizability.NewClientHistory(1, old(), 50)
	p := played{history, t}
	p.query(10, 0)
	p.query(20, 10.5)
	p.Failed(at(30))
	p.MinNumber(7, at(5), at(6))
	p.update(1, 2, old()...)
	answered, failed, numbers, updates := history.Counts()
	assert.Equal(t, []int{2, 1, 1, 1}, []int{answered, failed, numbers, updates})
}
