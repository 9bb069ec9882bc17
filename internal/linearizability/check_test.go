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
	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
)

// key is the key of all updates in this file.
const key = 235

// old and drawn return users 1, 2 and 3 before and after an update.
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

// A script records a history of users 1, 2 and 3, which starts with their old points and min number 50. Time passes
// only where the script says so.
type script struct {
	*linearizability.Recorder

	cfg  points.Config
	next int       // min number to draw
	last time.Time // latest timestamp
}

func newScript() *script {
	s := &script{Recorder: linearizability.New(old())}
	s.cfg = s.Config(points.Config{MinNumber: func() int { return s.next }})
	return s
}

// query records a query that returns the latest timestamp and these users.
func (s *script) query(users ...points.User) {
	s.during(func() {}, users...)
}

// during records a query that returns these users. meanwhile runs between its call and its return.
func (s *script) during(meanwhile func(), users ...points.User) {
	_, _ = s.Query(func() (points.Result, error) {
		meanwhile()
		previous := s.last
		if now := time.Now().UTC(); now.After(s.last) {
			s.last = now
		} else {
			s.last = s.last.Add(time.Microsecond)
		}
		return points.Result{Users: users, PreviousTimestamp: previous}, nil
	})
}

// queryAt records a query that returns users 2 and 3, and previous.
func (s *script) queryAt(previous time.Time) {
	s.answer(points.Result{Users: old()[1:], PreviousTimestamp: previous})
}

func (s *script) answer(result points.Result) {
	_, _ = s.Query(func() (points.Result, error) { return result, nil })
}

// draw records that n is drawn as a min number, and number that it is set, too.
func (s *script) draw(n int) {
	s.next = n
	s.cfg.MinNumber()
}

func (s *script) number(n int) {
	s.draw(n)
	s.cfg.Hooks.Tick(points.TickInfo{})
}

// update records an update that returns err. meanwhile runs during it.
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
	want string // part of the error; empty if the history is linearizable
}

func (scripts scripts) check(t *testing.T) {
	for _, test := range scripts {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				s.draw(50)
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
		{"sequential", func(s *script) {
			s.query(second, third)
			pass(time.Second)
			s.query(third, second)
			s.query(second, third)
		}, ""},
		{"nested", func(s *script) {
			s.during(func() { s.query(second, third) }, second, third)
			s.query(second, third)
		}, ""},
		{"a failed query", func(s *script) {
			s.query(second, third)
			_, _ = s.Query(func() (points.Result, error) { return points.Result{}, context.Canceled })
			s.query(second, third)
		}, ""},
		{"the first has a previous one", func(s *script) { s.queryAt(time.Now()) }, "it is the first query"},
		{"the same timestamp twice", func(s *script) {
			s.query(second, third)
			previous := s.last
			s.query(second, third)
			s.queryAt(previous)
		}, "the same previous timestamp"},
		{"a timestamp is skipped", func(s *script) {
			s.query(second, third)
			pass(time.Second)
			s.queryAt(s.last)
			pass(time.Second)
			s.queryAt(s.last.Add(time.Millisecond))
		}, "did not run at that time"},
		{"a timestamp in the future", func(s *script) {
			s.query(second, third)
			s.queryAt(time.Now().Add(time.Second))
		}, "did not run at that time"},
		{"the later call is first", func(s *script) {
			s.query(second, third)
			s.queryAt(s.last.Add(2 * time.Microsecond))
			s.queryAt(s.last)
		}, "it is not the next query"},
		{"a batch after a later one", func(s *script) {
			s.answer(points.Result{Users: old()[1:], Batch: 2})
			s.answer(points.Result{Users: old()[1:], Batch: 1, PreviousTimestamp: time.Now()})
		}, "a later batch has been answered"},
	}.check(t)
}

func TestCheckOfUsers(t *testing.T) {
	first, second, third := old()[0], old()[1], old()[2]
	scripts{
		{"no user has more", func(s *script) { s.number(90); s.query() }, ""},
		{"any two users", func(s *script) { s.number(0); s.query(third, first) }, ""},
		{"not more", func(s *script) { s.query(third, first) }, "user 1 does not have more than 50"},
		{"equal is not more", func(s *script) { s.number(60); s.query(third, second) }, "user 2 does not have more than 60"},
		{"missing", func(s *script) { s.query(third) }, "user 2 is missing: it has more than 50"},
		{"twice", func(s *script) { s.query(third, third) }, "user 3 is listed twice"},
		{"too many", func(s *script) { s.number(0); s.query(old()...) }, "more than 2 users"},
		{"unknown", func(s *script) { s.query(points.User{ID: 4, Points: 60}) }, "there is no user 4"},
		{"wrong points", func(s *script) { s.query(points.User{ID: 2, Points: 61}) }, "user 2 cannot have 61 points"},
	}.check(t)
}

func TestCheckOfNumbers(t *testing.T) {
	second, third := old()[1], old()[2]
	scripts{
		{"new", func(s *script) { s.number(70); s.query(third) }, ""},
		{"new during the query, which is before it", func(s *script) { s.during(func() { s.number(70) }, second, third) }, ""},
		{"new during the query, which is after it", func(s *script) { s.during(func() { s.number(70) }, third) }, ""},
		{"drawn and not set", func(s *script) { s.draw(70); s.query(second, third); s.query(third) }, ""},
		{"drawn, and another one after Run has ended", func(s *script) {
			s.draw(70)
			s.query(third)
			s.number(50)
			s.query(second, third)
		}, ""},
		{"drawn, and never set", func(s *script) { s.draw(70); s.number(50); s.query(second, third) }, ""},
		{"out of range is ignored", func(s *script) { s.number(101); s.query(second, third) }, ""},
		{"old", func(s *script) { s.number(70); s.query(second, third) }, "user 2 does not have more than 70"},
		{"old after new", func(s *script) { s.draw(70); s.query(third); s.query(second, third) }, "user 2 does not have more than 70"},
		{"old after two new ones", func(s *script) {
			s.query(second, third)
			s.number(0)
			s.number(70)
			s.query(second, third)
		}, "user 2 does not have more than 70"},
	}.check(t)

	s := newScript()
	s.query(old()[1:]...)
	assert.ErrorContains(t, s.Check(), "there is no min number")
}

func TestCheckOfUpdates(t *testing.T) {
	second, third, first := old()[1], old()[2], drawn()[0]
	update := func(s *script) { s.update(nil, nothing) }
	scripts{
		{"done", func(s *script) { update(s); s.query(first) }, ""},
		{"during the query, which is before it", func(s *script) { s.during(func() { update(s) }, second, third) }, ""},
		{"during the query, which is after it", func(s *script) { s.during(func() { update(s) }, first) }, ""},
		{"user by user", func(s *script) {
			s.update(nil, func() {
				s.query(second, third)
				s.query(first, third)
				s.query(first)
			})
		}, ""},
		{"failed: any part of it", func(s *script) {
			s.update(errors.New("away"), nothing)
			s.query(first, second)
			update(s)
			s.query(first)
		}, ""},
		{"panicked: any part of it", func(s *script) {
			assert.Panics(t, func() { s.update(nil, func() { panic("out of paper") }) })
			s.query(first, second)
			update(s)
			s.query(first)
		}, ""},
		{"old after it", func(s *script) { update(s); s.query(second, third) }, "user 2 cannot have 60"},
		{"new before it", func(s *script) { s.query(first); update(s) }, "user 1 cannot have 99"},
		{"undone", func(s *script) {
			s.update(nil, func() { s.query(first); s.query(first, third) })
		}, "user 3 cannot have 90"},
		{"missing during it", func(s *script) {
			s.update(nil, func() { s.number(5); s.query(drawn()[2]) })
		}, "user 1 is missing"},
		{"two at once", func(s *script) { s.update(nil, func() { update(s) }) }, "start of update 2: another update is running"},
	}.check(t)
}

func TestCheckLimitsTheNumberOfUsers(t *testing.T) {
	require.NoError(t, linearizability.New(make([]points.User, linearizability.MaxUsers)).Check())
	require.ErrorContains(t, linearizability.New(make([]points.User, linearizability.MaxUsers+1)).Check(), "at most 64 users, got 65")
}

func TestConfigKeepsMinNumberAndHooks(t *testing.T) {
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

func TestStoreKeepsCapabilities(t *testing.T) {
	recorder := linearizability.New(old())
	assert.False(t, recorder.Store(updating{}).Capabilities().ImmediateReads)
	assert.True(t, recorder.Store(immediate{}).Capabilities().ImmediateReads)
}

// A sharedScript records a history of a shared state with users 1, 2 and 3 and min number 50.
type sharedScript struct {
	*linearizability.Recorder

	store points.Store
	state points.SharedState
}

// query records a query that fails with err after it has taken its timestamp.
func (s sharedScript) query(err error) {
	_, _ = s.Query(func() (points.Result, error) {
		batch, _ := s.state.AnswerBatch(context.Background(), 1, 2)
		// Batch numbers of several engines are in no order.
		return points.Result{Users: batch.Users, PreviousTimestamp: batch.PreviousTimestamp, Batch: uint64(batch.LastTimestamp.UnixMicro()) % 7}, err
	})
	pass(time.Second)
}

// claim claims the next tick. The claim is recorded, and fails if lost.
func (s sharedScript) claim(number int) {
	pass(time.Minute)
	_, _ = s.state.Sync(context.Background(), points.SyncRequest{Interval: time.Minute, MinNumber: number})
}

// A losingState loses the answers of the Syncs that claim a tick.
type losingState struct {
	points.Store
	points.SharedState
}

func (s losingState) Capabilities() points.Capabilities { return points.Capabilities{SharedState: s} }

func (s losingState) Sync(ctx context.Context, request points.SyncRequest) (points.SyncResult, error) {
	result, _ := s.SharedState.Sync(ctx, request)
	if result.Claimed {
		return points.SyncResult{}, context.DeadlineExceeded
	}
	return result, nil
}

func TestCheckOfSharedState(t *testing.T) {
	for _, test := range []struct {
		name string
		play func(s sharedScript, database *sharedtest.Database)
		want string
	}{
		{"sequential", func(s sharedScript, _ *sharedtest.Database) { s.query(nil); s.query(nil); s.query(nil) }, ""},
		{"a failed query took a timestamp", func(s sharedScript, _ *sharedtest.Database) {
			s.query(nil)
			s.query(context.DeadlineExceeded)
			s.query(nil)
		}, ""},
		{"the first one did", func(s sharedScript, _ *sharedtest.Database) {
			s.query(context.DeadlineExceeded)
			s.query(nil)
		}, ""},
		{"a timestamp that no query took", func(s sharedScript, _ *sharedtest.Database) {
			s.query(context.DeadlineExceeded)
			s.query(nil)
			_, _ = s.state.AnswerBatch(context.Background(), 1, 2)
			pass(time.Second)
			s.query(nil)
		}, "did not run at that time"},
		{"a tick", func(s sharedScript, _ *sharedtest.Database) { s.query(nil); s.claim(10); s.query(nil) }, ""},
		{"a tick of another recorder", func(s sharedScript, database *sharedtest.Database) {
			s.query(nil)
			pass(time.Minute)
			_, _ = database.Open().Capabilities().SharedState.Sync(context.Background(), points.SyncRequest{MinNumber: 80})
			s.query(nil)
		}, "user 2 is missing"},
		{"a tick that may have been claimed", func(s sharedScript, database *sharedtest.Database) {
			store := database.Open()
			losing := s
			losing.state = s.Store(losingState{store, store.Capabilities().SharedState}).Capabilities().SharedState
			losing.claim(80)
			s.query(nil)
		}, ""},
		{"two updates at once", func(s sharedScript, database *sharedtest.Database) {
			database.At = func(ctx context.Context, at sharedtest.Position) {
				if at == sharedtest.InUpdate {
					_, err := s.Store(database.Open()).UpdateAll(ctx, key)
					assert.ErrorIs(t, err, points.ErrUpdateRunning)
				}
			}
			_, err := s.store.UpdateAll(context.Background(), key)
			assert.NoError(t, err)
			s.query(nil)
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				database := sharedtest.New(old())
				s := sharedScript{Recorder: linearizability.New(old())}
				s.store = s.Store(database.Open())
				s.state = s.store.Capabilities().SharedState
				_, err := s.state.Sync(t.Context(), points.SyncRequest{
					Starting: true, TickNow: true, Interval: time.Minute, MinNumber: 50,
				})
				require.NoError(t, err)
				test.play(s, database)
				if err := s.Check(); test.want == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, test.want)
				}
			})
		})
	}
}
