package linearizability_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// key is the key of every update here.
const key = 235

// old and drawn return users 1, 2 and 3 at the beginning and after an update.
func old() []points.User {
	return []points.User{{ID: 1, Points: 10}, {ID: 2, Points: 60}, {ID: 3, Points: 90}}
}

func drawn() []points.User {
	return []points.User{{ID: 1, Points: 99}, {ID: 2, Points: 5}, {ID: 3, Points: 28}}
}

func TestKey(t *testing.T) {
	for _, u := range drawn() {
		assert.Equal(t, u.Points, points.Draw(u.ID, key))
	}
}

// script plays a history of users 1, 2 and 3, at first with their old points, and with hidden number 50. Time passes
// only where a script says so.
type script struct {
	*linearizability.Recorder

	last time.Time // the latest stamp
}

// told records a query that is told of the latest one and finds users.
func (s *script) told(users ...points.User) {
	s.during(func() {}, users...)
}

// during records a query that finds users, and all of meanwhile happens between its call and its answer.
func (s *script) during(meanwhile func(), users ...points.User) {
	_, _ = s.Query(func() (points.Result, error) {
		meanwhile()
		previous := s.last
		if now := time.Now().UTC(); now.After(s.last) {
			s.last = now
		} else {
			s.last = s.last.Add(time.Microsecond)
		}
		return points.Result{Users: users, Previous: previous}, nil
	})
}

// toldAt records a query of users 2 and 3 that is told of previous.
func (s *script) toldAt(previous time.Time) {
	s.answer(points.Result{Users: old()[1:], Previous: previous})
}

func (s *script) answer(result points.Result) {
	_, _ = s.Query(func() (points.Result, error) { return result, nil })
}

func (s *script) number(n int) {
	s.Drawn(n)
	s.Placed()
}

// update records an update during which meanwhile happens. It ends with err.
func (s *script) update(err error, meanwhile func()) {
	_, _ = s.Store(updating{err, meanwhile}).UpdateAll(context.Background(), key)
}

type updating struct {
	err       error
	meanwhile func()
}

func (updating) Capabilities() points.Capabilities { return points.Capabilities{} }

func (updating) UsersAbove(context.Context, int, int) ([]points.User, error) { return nil, nil }

func (s updating) UpdateAll(context.Context, uint64) (int64, error) {
	s.meanwhile()
	return 3, s.err
}

func nothing() {}

func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // moves a bubble's clock
}

type scripts []struct {
	name string
	play func(*script)
	want string // part of the error; empty if the history is right
}

func (scripts scripts) check(t *testing.T) {
	for _, test := range scripts {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{Recorder: linearizability.New(old())}
				s.Drawn(50)
				test.play(s)
				err := s.Check()
				if test.want == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, test.want)
				}
			})
		})
	}
}

func TestCheckOfOrder(t *testing.T) {
	second, third := old()[1], old()[2]
	scripts{
		{"nothing", func(*script) {}, ""},
		{"one after the other", func(s *script) {
			s.told(second, third)
			pass(time.Second)
			s.told(third, second)
			s.told(second, third)
		}, ""},
		{"one within the other", func(s *script) {
			s.during(func() { s.told(second, third) }, second, third)
			s.told(second, third)
		}, ""},
		{"a query that failed", func(s *script) {
			s.told(second, third)
			_, _ = s.Query(func() (points.Result, error) { return points.Result{}, context.Canceled })
			s.told(second, third)
		}, ""},
		{"the first is told of one before", func(s *script) { s.toldAt(time.Now()) }, "it is the first"},
		{"two are told the same", func(s *script) {
			s.told(second, third)
			previous := s.last
			s.told(second, third)
			s.toldAt(previous)
		}, "told the same"},
		{"a stamp is passed over", func(s *script) {
			s.told(second, third)
			pass(time.Second)
			s.toldAt(s.last)
			pass(time.Second)
			s.toldAt(s.last.Add(time.Millisecond))
		}, "not stamped then"},
		{"a stamp is yet to come", func(s *script) {
			s.told(second, third)
			s.toldAt(time.Now().Add(time.Second))
		}, "not stamped then"},
		{"the later call comes first", func(s *script) {
			s.told(second, third)
			s.toldAt(s.last.Add(2 * time.Microsecond))
			s.toldAt(s.last)
		}, "it is not next"},
		{"a batch that was over", func(s *script) {
			s.answer(points.Result{Users: old()[1:], Batch: 2})
			s.answer(points.Result{Users: old()[1:], Batch: 1, Previous: time.Now()})
		}, "its batch was over"},
	}.check(t)
}

func TestCheckOfUsers(t *testing.T) {
	first, second, third := old()[0], old()[1], old()[2]
	scripts{
		{"none is above", func(s *script) { s.number(90); s.told() }, ""},
		{"any two", func(s *script) { s.number(0); s.told(third, first) }, ""},
		{"not above", func(s *script) { s.told(third, first) }, "user 1 is not above 50"},
		{"equal is not above", func(s *script) { s.number(60); s.told(third, second) }, "user 2 is not above 60"},
		{"missing", func(s *script) { s.told(third) }, "user 2 is missing: it is above 50"},
		{"twice", func(s *script) { s.told(third, third) }, "user 3 comes twice"},
		{"too many", func(s *script) { s.number(0); s.told(old()...) }, "more than 2 users"},
		{"unknown", func(s *script) { s.told(points.User{ID: 4, Points: 60}) }, "there is no user 4"},
		{"wrong points", func(s *script) { s.told(points.User{ID: 2, Points: 61}) }, "user 2 cannot have 61 points"},
	}.check(t)
}

func TestCheckOfNumbers(t *testing.T) {
	second, third := old()[1], old()[2]
	scripts{
		{"new", func(s *script) { s.number(70); s.told(third) }, ""},
		{"new meanwhile, after it", func(s *script) { s.during(func() { s.number(70) }, second, third) }, ""},
		{"new meanwhile, before it", func(s *script) { s.during(func() { s.number(70) }, third) }, ""},
		{"drawn and not placed", func(s *script) { s.Drawn(70); s.told(second, third); s.told(third) }, ""},
		{"out of range is none", func(s *script) { s.number(101); s.told(second, third) }, ""},
		{"old", func(s *script) { s.number(70); s.told(second, third) }, "user 2 is not above 70"},
		{"old after new", func(s *script) { s.Drawn(70); s.told(third); s.told(second, third) }, "user 2 is not above 70"},
		{"old after all", func(s *script) {
			s.told(second, third)
			s.number(0)
			s.number(70)
			s.told(second, third)
		}, "user 2 is not above 70"},
	}.check(t)

	s := &script{Recorder: linearizability.New(old())}
	s.told(old()[1:]...)
	assert.ErrorContains(t, s.Check(), "there is no hidden number")
}

func TestCheckOfUpdates(t *testing.T) {
	second, third, first := old()[1], old()[2], drawn()[0]
	update := func(s *script) { s.update(nil, nothing) }
	scripts{
		{"done", func(s *script) { update(s); s.told(first) }, ""},
		{"meanwhile, after it", func(s *script) { s.during(func() { update(s) }, second, third) }, ""},
		{"meanwhile, before it", func(s *script) { s.during(func() { update(s) }, first) }, ""},
		{"user by user", func(s *script) {
			s.update(nil, func() {
				s.told(second, third)
				s.told(first, third)
				s.told(first)
			})
		}, ""},
		{"failed, so any part of it", func(s *script) {
			s.update(errors.New("away"), nothing)
			s.told(first, second)
			update(s)
			s.told(first)
		}, ""},
		{"panicked, so any part of it", func(s *script) {
			assert.Panics(t, func() { s.update(nil, func() { panic("out of paper") }) })
			s.told(first, second)
			update(s)
			s.told(first)
		}, ""},
		{"old after it", func(s *script) { update(s); s.told(second, third) }, "user 2 cannot have 60"},
		{"new before it", func(s *script) { s.told(first); update(s) }, "user 1 cannot have 99"},
		{"back again", func(s *script) {
			s.update(nil, func() { s.told(first); s.told(first, third) })
		}, "user 3 cannot have 90"},
		{"missing meanwhile", func(s *script) {
			s.update(nil, func() { s.number(5); s.told(drawn()[2]) })
		}, "user 1 is missing"},
		{"two at once", func(s *script) { s.update(nil, func() { update(s) }) }, "update 2 begins: another one runs"},
	}.check(t)
}

func TestCheckFollowsSomeUsers(t *testing.T) {
	require.NoError(t, linearizability.New(make([]points.User, linearizability.MaxUsers)).Check())
	require.ErrorContains(t, linearizability.New(make([]points.User, linearizability.MaxUsers+1)).Check(), "at most 64 users")
}

func TestConfigKeepsWhatItIsGiven(t *testing.T) {
	numbers, ticks := 0, 0
	cfg := linearizability.New(old()).Config(points.Config{
		MinNumber: func() int { numbers++; return 7 },
		Hooks:     points.Hooks{Tick: func(points.TickInfo) { ticks++ }},
	})
	assert.Equal(t, 7, cfg.MinNumber())
	cfg.Hooks.Tick(points.TickInfo{})
	assert.Equal(t, []int{1, 1}, []int{numbers, ticks})

	number := linearizability.New(old()).Config(points.Config{}).MinNumber()
	assert.True(t, number >= 0 && number <= points.MaxPoints)
}

type immediate struct{ updating }

func (immediate) Capabilities() points.Capabilities { return points.Capabilities{ImmediateReads: true} }

func TestStoreStaysImmediate(t *testing.T) {
	recorder := linearizability.New(old())
	assert.False(t, recorder.Store(updating{}).Capabilities().ImmediateReads)
	assert.True(t, recorder.Store(immediate{}).Capabilities().ImmediateReads)
}
