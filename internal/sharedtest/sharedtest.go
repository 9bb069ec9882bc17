// Package sharedtest is a points.SharedState in memory, for tests: a Database, and the stores that processes open on
// it. With a Fault it is a mutant, which a test of shared states must reject.
package sharedtest

import (
	"context"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/points"
)

// A Fault makes a database incorrect.
type Fault string

// The faults of databases.
const (
	None              Fault = ""
	SnapshotIsOlder   Fault = "the users are read in a snapshot that is older than the order lock"
	RepeatableRead    Fault = "the users and the min number are read in a snapshot that is older than the order lock"
	StateInProcess    Fault = "each process has its own order"
	NoBound           Fault = "a crash resets the timestamps"
	ClaimedTwice      Fault = "whether a tick is due is not checked again under the lock"
	MinDuringBatch    Fault = "a tick sets the min number while a batch is in progress"
	NotConsecutive    Fault = "a batch takes one timestamp"
	InTheFuture       Fault = "timestamps are an hour ahead"
	ForgetsInterval   Fault = "each start of an engine sets the interval"
	StartSetsInterval Fault = "only a start sets the interval of a schedule without one"
	TicksWhilePaused  Fault = "a pause stops no ticks"
	ChangesOutcome    Fault = "the outcome of an update changes"
	CountsTwice       Fault = "an update that is recorded again counts again"
	StoppingClaims    Fault = "an engine that stops claims a tick"
	DelaysSecond      Fault = "a first tick that comes at once delays the second one"
	TickNowAlways     Fault = "each start of an engine ticks at once"
	KeepsInstances    Fault = "an engine that has stopped calling Sync is kept"
	NameIsIdentity    Fault = "two engines with one name count as one"
	ListsSkipped      Fault = "skipped updates push others out of the list"
	ResumesAtOnce     Fault = "a resumed schedule ticks when it would have without the pause"
	LosesSchedule     Fault = "a crash loses the schedule"
	ForgetsSuccess    Fault = "the latest success is forgotten with its update"
	IgnoresContext    Fault = "calls ignore their context"
	WaitsForUpdate    Fault = "there is no tick before the update of the latest one is recorded"
)

// A Position is where a call waits if a test says so.
type Position int

// The positions of calls.
const (
	BeforeLock  Position = iota // a call is about to take the order lock
	BeforeUsers                 // a batch has its timestamps and the min number, and holds the order lock
	InUpdate                    // an update is about to change a user
)

// A Database has users and a shared state. Its exported fields may be set before it is used.
type Database struct {
	Fault Fault
	At    func(ctx context.Context, at Position) // called at each position; nil: nothing happens there

	order    chan struct{} // full while a call holds the order lock
	updating sync.Mutex    // held by an update

	mu        sync.Mutex // guards everything below
	users     []points.User
	minNumber int
	clock     clock
	schedule  schedule
	instances map[any]points.SharedInstance
	updates   []points.SharedUpdate // all of them, latest first
	claimed   bool                  // for WaitsForUpdate
	status    points.SharedStatus   // Failures, Skipped, LastSuccess and LastFailure alone
}

// A clock gives timestamps, in µs since 1970.
type clock struct {
	last  int64 // of the latest query; a crash loses it
	reset bool  // by a crash
	bound int64 // durable: last is never above it
}

// A schedule determines when ticks happen.
type schedule struct {
	configured time.Duration // by the latest start of an engine
	interval   time.Duration
	paused     bool
	next       time.Time // also while paused
	ticks      uint64
}

// New returns a database with these users and min number 50.
func New(users []points.User) *Database {
	return &Database{
		order: make(chan struct{}, 1), users: users, minNumber: initialMin, instances: make(map[any]points.SharedInstance),
	}
}

const initialMin = 50

// Open opens a store on the database, as a process does.
func (d *Database) Open() points.Store { return &store{database: d} }

// Crash loses what is not durable. Calls in progress go on.
func (d *Database) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock.last, d.clock.reset = 0, true
	if d.Fault == LosesSchedule {
		d.schedule.paused = false
	}
}

func (d *Database) at(ctx context.Context, at Position) {
	if d.At != nil {
		d.At(ctx, at)
	}
}

// lock takes the order lock.
func (d *Database) lock(ctx context.Context) error {
	if d.Fault == IgnoresContext {
		ctx = context.WithoutCancel(ctx)
	}
	d.at(ctx, BeforeLock)
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case d.order <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Database) unlock() { <-d.order }

// now returns the time of the database.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// A store is a process's connection to a database.
type store struct {
	database *Database
	own      clock // for StateInProcess
}

func (s *store) Capabilities() points.Capabilities { return points.Capabilities{SharedState: s} }

func (s *store) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.database.mu.Lock()
	defer s.database.mu.Unlock()
	return usersAbove(s.database.users, min, limit), nil
}

func usersAbove(users []points.User, min, limit int) []points.User {
	found := []points.User{}
	for _, u := range users {
		if u.Points > min && len(found) < limit {
			found = append(found, u)
		}
	}
	return found
}

// UpdateAll updates user by user.
func (s *store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	d := s.database
	if !d.updating.TryLock() {
		return 0, points.ErrUpdateRunning
	}
	defer d.updating.Unlock()
	updated := now()
	for i := range d.users {
		d.at(ctx, InUpdate)
		if err := ctx.Err(); err != nil {
			return int64(i), err
		}
		d.mu.Lock()
		d.users[i].Points, d.users[i].UpdatedAt = points.Draw(d.users[i].ID, key), updated
		d.mu.Unlock()
	}
	return int64(len(d.users)), nil
}
