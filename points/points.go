package points

import (
	"context"
	"time"
)

// MaxPoints is the most points that a user can have; the least is 0.
const MaxPoints = 100

// A User is one row of the table that an [Engine] answers from.
type User struct {
	// ID is unique among the users of a store. It may be any 64-bit number; gaps are usual.
	ID int64 `json:"id"`

	// Points is in 0..MaxPoints.
	Points int `json:"points"`

	// InsertedAt and UpdatedAt are in UTC, with a precision of a microsecond.
	InsertedAt time.Time `json:"inserted_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

// A Store holds the users. Package storetest tells whether an implementation keeps what is said here.
//
// Its methods are safe for concurrent use, and return soon after ctx ends.
type Store interface {
	// UsersAbove returns at most limit users that have strictly more points than min, in any order, all as they were
	// at one moment between the call and its return. It returns fewer only if there are no more of them, and an empty
	// slice rather than nil. The slice belongs to the caller. min may be any number; limit is at least 1.
	UsersAbove(ctx context.Context, min, limit int) ([]User, error)

	// UpdateAll gives every user Draw(id, key) points and returns how many it updated: each user that was there when
	// it began, once. It may be called beside UsersAbove, which sees what of the update has been committed. When it
	// fails or ctx ends, any part of the users may have been updated. Two calls at once do not mix: one waits for the
	// other, or fails with an error that wraps ErrUpdateRunning.
	UpdateAll(ctx context.Context, key uint64) (int64, error)
}

// An Immediate store answers reads from memory, without waiting for anything, in less time than it takes to wake a
// goroutine (about 1 µs). An [Engine] then has each caller read for itself, one after the other under a lock, which is
// faster than batching such reads. A read of an Immediate store is not cut short by the caller's context.
type Immediate interface {
	Store

	// ImmediateReads does nothing: that a store has it is the promise.
	ImmediateReads()
}

// A Result is the answer to one query.
type Result struct {
	// Users holds at most Config.Limit users that had more points than the hidden number at one moment during the
	// query. It is never nil. All callers of a batch share it: it must not be modified.
	Users []User

	// Previous is when the query before this one was stamped, in UTC: zero for the engine's first query. Over all
	// queries it strictly increases, by at least a microsecond: while more than one query comes in a microsecond, it
	// runs ahead of the clock.
	Previous time.Time

	// Batch is the number of the store read that answered, counted from 1. Results with the same Batch have the same
	// Users, so what is computed from Users can be kept for the batch.
	Batch uint64
}
