package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pointsapp/pointsapp/points"
)

// A store keeps users in one file: in bbolt, a tree of keys and values that has one writer at a time and any number of
// readers, each of whom sees the file as it was when they began.
type store struct {
	db       *bbolt.DB
	updating sync.Mutex // held by the update that runs
}

var _ points.Store = (*store)(nil)

// often is how many users are read or written between two looks at the context.
const often = 1000

// openStore opens the store in a file. A new one gets users with these ids and 0 points.
func openStore(path string, ids []int64) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("customstore: opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if usersOf(tx) != nil {
			return nil
		}
		users, err := tx.CreateBucket([]byte(bucket))
		now := time.Now()
		for i := 0; i < len(ids) && err == nil; i++ {
			err = put(users, points.User{ID: ids[i], InsertedAt: now, UpdatedAt: now})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("customstore: filling %s: %w", path, err)
	}
	return &store{db: db}, nil
}

func (s *store) close() error { return s.db.Close() }

// UsersAbove implements [points.Store]. A transaction is a moment. It reads users in turn until it has enough. To be
// fast if nobody qualifies, too, it would need an index, as pgstore has, or notes of the most points, as memstore has.
func (s *store) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	found := []points.User{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return each(ctx, tx, func(key, value []byte) (goOn bool) {
			if pointsOf(value) > above {
				found = append(found, decode(key, value))
			}
			return len(found) < limit
		})
	})
	if err != nil {
		return nil, fmt.Errorf("customstore: reading users: %w", err)
	}
	return found, nil
}

// Capabilities implements [points.Store]: there are none.
func (s *store) Capabilities() points.Capabilities { return points.Capabilities{} }

// UpdateAll implements [points.Store]. It is one transaction: all users are updated, or none.
func (s *store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	// bbolt would have the second of two updates wait, and its context could not end that.
	if !s.updating.TryLock() {
		return 0, fmt.Errorf("customstore: updating all users: %w", points.ErrUpdateRunning)
	}
	defer s.updating.Unlock()

	var all []points.User
	err := s.db.Update(func(tx *bbolt.Tx) error {
		// First read, then write: a bucket must not change while it is gone through.
		err := each(ctx, tx, func(key, value []byte) bool { all = append(all, decode(key, value)); return true })
		if err != nil {
			return err
		}
		now, drawing, users := time.Now(), points.NewGenerator(key), usersOf(tx)
		for i, u := range all {
			if i%often == 0 {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				points.ReportProgress(ctx, int64(i), int64(len(all)))
			}
			u.Points = drawing.Points(u.ID)
			u.UpdatedAt = later(now, u.UpdatedAt)
			if err := put(users, u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("customstore: updating all users: %w", err)
	}
	points.ReportProgress(ctx, int64(len(all)), int64(len(all)))
	return int64(len(all)), nil
}

// later returns now, or the next microsecond after before if the clock was set back.
func later(now, before time.Time) time.Time {
	if now.UnixMicro() > before.UnixMicro() {
		return now
	}
	return before.Add(time.Microsecond)
}

// each calls do with each user, as it is in the file, until that returns false.
func each(ctx context.Context, tx *bbolt.Tx, do func(key, value []byte) (goOn bool)) error {
	cursor := usersOf(tx).Cursor()
	n := 0
	for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
		if n%often == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if n++; !do(k, v) {
			return nil
		}
	}
	return ctx.Err()
}

// bucket has the users: id -> points, inserted_at and updated_at, in microseconds.
const bucket = "users"

func usersOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(bucket)) }

func put(users *bbolt.Bucket, u points.User) error {
	value := []byte{byte(u.Points)} //nolint:gosec // at most MaxPoints
	value = appendNumber(appendNumber(value, u.InsertedAt.UnixMicro()), u.UpdatedAt.UnixMicro())
	return users.Put(appendNumber(nil, u.ID), value)
}

func pointsOf(value []byte) int { return int(value[0]) }

func decode(key, value []byte) points.User {
	return points.User{
		ID:         number(key),
		Points:     pointsOf(value),
		InsertedAt: time.UnixMicro(number(value[1:])).UTC(),
		UpdatedAt:  time.UnixMicro(number(value[9:])).UTC(),
	}
}

func appendNumber(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // the same bits
}

func number(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) } //nolint:gosec // the same bits
