package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/pointsapp/pointsapp/points"
)

// A store keeps users in a file, with bbolt: a B+tree of keys and values with one writer at a time and any number of
// readers, each of which sees a snapshot.
type store struct {
	db       *bbolt.DB
	updating sync.Mutex // held by the running update
}

var _ points.Store = (*store)(nil)

// checkEvery is the number of users between two checks of the context.
const checkEvery = 1000

// openStore opens the store in a file. A new file gets users with these ids and 0 points each.
func openStore(path string, ids []int64) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("customstore: opening %s: another process is using the file: %w", path, err)
	case err != nil:
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
		return nil, fmt.Errorf("customstore: seeding %s: %w", path, err)
	}
	return &store{db: db}, nil
}

func (s *store) close() error { return s.db.Close() }

// UsersAbove implements [points.Store]. It scans users in one transaction, and so at one moment, until it has found
// enough. To be fast if there are few such users, it would need an index, as pgstore has, or block maxima, as memstore
// has.
func (s *store) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	found := []points.User{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return each(ctx, tx, func(key, value []byte) (more bool) {
			if pointsOf(value) > min {
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

// Capabilities implements [points.Store]: it returns the zero value.
func (s *store) Capabilities() points.Capabilities { return points.Capabilities{} }

// UpdateAll implements [points.Store]. It is one transaction: it updates all users or none.
func (s *store) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	// bbolt would make a second update wait, and its context could not interrupt that.
	if !s.updating.TryLock() {
		return 0, fmt.Errorf("customstore: updating all users: %w", points.ErrUpdateRunning)
	}
	defer s.updating.Unlock()

	var all []points.User
	err := s.db.Update(func(tx *bbolt.Tx) error {
		// A bucket must not change during an iteration, so read all users first.
		err := each(ctx, tx, func(key, value []byte) bool { all = append(all, decode(key, value)); return true })
		if err != nil {
			return err
		}
		now, generator, users := time.Now(), points.NewGenerator(key), usersOf(tx)
		for i, u := range all {
			if i%checkEvery == 0 {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				points.ReportProgress(ctx, int64(i), int64(len(all)))
			}
			u.Points = generator.Points(u.ID)
			u.UpdatedAt = nowAfter(now, u.UpdatedAt)
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

// nowAfter returns now, but at least a microsecond after previous, also if the clock was set back.
func nowAfter(now, previous time.Time) time.Time {
	if now.UnixMicro() > previous.UnixMicro() {
		return now
	}
	return previous.Add(time.Microsecond)
}

// each calls do with the encoded users, until it returns false.
func each(ctx context.Context, tx *bbolt.Tx, do func(key, value []byte) (more bool)) error {
	cursor := usersOf(tx).Cursor()
	n := 0
	for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if n++; !do(k, v) {
			return nil
		}
	}
	return ctx.Err()
}

// bucket maps the id of each user to its points, inserted_at and updated_at, in microseconds.
const bucket = "users"

func usersOf(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(bucket)) }

func put(users *bbolt.Bucket, u points.User) error {
	value := []byte{byte(u.Points)} //nolint:gosec // at most MaxPoints
	value = appendInt64(appendInt64(value, u.InsertedAt.UnixMicro()), u.UpdatedAt.UnixMicro())
	return users.Put(appendInt64(nil, u.ID), value)
}

func pointsOf(value []byte) int { return int(value[0]) }

func decode(key, value []byte) points.User {
	return points.User{
		ID:         decodeInt64(key),
		Points:     pointsOf(value),
		InsertedAt: time.UnixMicro(decodeInt64(value[1:])).UTC(),
		UpdatedAt:  time.UnixMicro(decodeInt64(value[9:])).UTC(),
	}
}

func appendInt64(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // the same bits
}

func decodeInt64(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) } //nolint:gosec // the same bits
