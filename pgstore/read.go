package pgstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// headPages is how many pages of the table a read looks at first: some 2,000 users, or more. If their points are
// random, that at least two of them have 100 points has a probability of 1 - 1e-7.
const headPages = 32

// steer makes the planner use the BRIN index, or another bitmap, wherever there is one, whatever the statistics say; a
// table without one is scanned. With all these off, a scan has so high a cost that it would be compiled first: no jit.
const steer = "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true), " +
	"set_config('enable_indexonlyscan', 'off', true), set_config('jit', 'off', true)"

// UsersAbove implements [points.Store]. It looks at the head of the table first, where there nearly always are enough
// users, and then, in a read of its own, at the whole table by way of its BRIN index.
//
// Neither statement depends on statistics, nor on parameters for its plan: a generic plan is as good as a custom one,
// and saves the planning.
func (s *Store) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	if above >= points.MaxPoints || limit < 1 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("pgstore: reading table %s: %w", s.name, err)
		}
		return []points.User{}, nil
	}
	above = max(above, -1) // also for a points column that is a smallint
	var users []points.User
	t, err := s.table(ctx)
	if err == nil {
		err = s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) (err error) {
			users, err = t.readHead(ctx, conn, above, limit)
			if err == nil && len(users) < limit {
				users, err = t.readAll(ctx, conn, above, limit)
			}
			return err
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("pgstore: reading table %s: %w", s.name, err)
	}
	return users, nil
}

// headQuery hides points from the planner: by the index it would go over all of the table for a part of it.
func (t *table) headQuery(limit int) string {
	return "SELECT id, points, inserted_at, updated_at FROM " + t.qualified +
		" WHERE ctid < '(" + strconv.Itoa(headPages) + ",0)'::tid AND points + 0 > $1 LIMIT " + strconv.Itoa(limit)
}

func (t *table) allQuery(limit int) string {
	return "SELECT id, points, inserted_at, updated_at FROM " + t.qualified + " WHERE points > $1 LIMIT " + strconv.Itoa(limit)
}

func (t *table) readHead(ctx context.Context, conn *pgx.Conn, above, limit int) ([]points.User, error) {
	rows, err := conn.Query(ctx, t.headQuery(limit), above)
	if err != nil {
		return nil, err
	}
	return collect(rows, limit)
}

func (t *table) readAll(ctx context.Context, conn *pgx.Conn, above, limit int) (users []points.User, err error) {
	batch := &pgx.Batch{} // one transaction
	batch.Queue(steer)
	batch.Queue(t.allQuery(limit), above)
	results := conn.SendBatch(ctx, batch)
	defer func() {
		if closeErr := results.Close(); err == nil && closeErr != nil {
			users, err = nil, closeErr
		}
	}()
	if _, err := results.Exec(); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return collect(rows, limit)
}

func collect(rows pgx.Rows, limit int) ([]points.User, error) {
	defer rows.Close()
	users := make([]points.User, 0, min(limit, 16))
	for rows.Next() {
		var u points.User
		if err := rows.Scan(&u.ID, &u.Points, &u.InsertedAt, &u.UpdatedAt); err != nil {
			return nil, err
		}
		u.InsertedAt, u.UpdatedAt = u.InsertedAt.UTC(), u.UpdatedAt.UTC()
		users = append(users, u)
	}
	return users, rows.Err()
}
