package points

import (
	"context"
	"time"
)

// MaxPoints is the largest number of points that a user can have. The smallest is 0.
const MaxPoints = 100

// A User is one row of the table that an [Engine] answers from.
type User struct {
	// ID is unique within a store. It may be any 64-bit number; gaps are normal.
	ID int64 `json:"id"`

	// Points is in 0..MaxPoints.
	Points int `json:"points"`

	// InsertedAt and UpdatedAt are in UTC, with microsecond precision.
	InsertedAt time.Time `json:"inserted_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

// A Store holds the users. Package storetest checks that an implementation follows the rules below.
//
// Its methods are safe for concurrent use, and return soon after ctx ends.
type Store interface {
	// UsersAbove returns at most limit users that have more than min points, in any order, all read at one moment
	// between the call and its return. It returns fewer only if there are no more such users, and an empty slice
	// rather than nil. The caller owns the slice. min may be any number; limit is at least 1.
	UsersAbove(ctx context.Context, min, limit int) ([]User, error)

	// UpdateAll sets the points of every user to Draw(id, key), exactly once, and returns the number of users updated.
	// It may omit users that are inserted during the call. It may run concurrently with UsersAbove, which sees the part
	// of the update that is committed. If UpdateAll fails or ctx ends, any subset of the users may have been updated,
	// and the returned number may be too low. Two concurrent calls do not interleave: one waits for the other, or fails
	// with an error that wraps ErrUpdateRunning.
	UpdateAll(ctx context.Context, key uint64) (int64, error)

	// Capabilities returns the optional abilities of the store. They never change. A store that wraps another one
	// returns the Capabilities of that store; embedding the Store interface does so.
	Capabilities() Capabilities
}

// Capabilities are the optional abilities of a [Store]. The zero value is correct for every store. More fields may be
// added: name the fields when you set them.
type Capabilities struct {
	// ImmediateReads: reads come from memory, never block, not even during an update, and take less time than waking a
	// goroutine (about 1 µs). Each query of an [Engine] then makes its own read, under a lock, which is faster than
	// batching. The query's context does not interrupt such a read.
	ImmediateReads bool

	// SharedState, if not nil, keeps the state of the engine for several processes. The engine then answers queries with
	// its AnswerBatch instead of UsersAbove, and claims ticks with its Sync.
	SharedState SharedState
}

// A Result is the answer to one query.
type Result struct {
	// Users holds at most Config.Limit users that had more points than the min number at one moment during the query.
	// It is never nil. All queries of a batch share it: do not modify it.
	Users []User

	// PreviousTimestamp is the timestamp of the query before this one, in UTC; zero for the first query of the engine, or
	// of the shared state. Each timestamp is at least a microsecond later than the one before it, so timestamps run ahead
	// of the clock while there is more than one query per microsecond.
	PreviousTimestamp time.Time

	// Batch is the number of the read that this result comes from, counted from 1. Results with the same Batch have the
	// same Users, so anything derived from Users can be cached per batch. With a SharedState, the batches of an engine
	// may be in another order than their timestamps.
	Batch uint64
}
