package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// seedBatch is how many users Seed inserts at a time: few enough for a progress bar to move.
const seedBatch = 50_000

// seedPoll is the time between two checks whether another Seed has ended.
const seedPoll = 100 * time.Millisecond

// Seed inserts n users with 0 points if the table is empty, and otherwise does nothing. n must not be negative. It is
// one transaction: if it fails, or its process dies, the table stays empty. It reports progress
// ([points.WithProgress]). Reads do not see the users before Seed ends.
//
// Several processes may call Seed at once: one seeds the table while the others wait, without a connection, and log its
// session. Seed locks an empty table against other writers (SHARE ROW EXCLUSIVE MODE). To get the lock it waits for
// open transactions that have written to the table. If one of them has inserted users, Seed inserts none. It fails if
// triggers or rules redirect, add or drop rows.
func (s *Store) Seed(ctx context.Context, n int64) error {
	if n < 0 {
		return fmt.Errorf("pgstore: the number of users must not be negative, got %d", n)
	}
	for report := time.Now().Add(s.waitReport); ; {
		err := s.trySeed(ctx, n)
		if err == nil {
			return nil
		}
		if errors.Is(err, errLocked) {
			if time.Now().After(report) {
				s.logSeeder(ctx)
				report = time.Now().Add(s.waitReport)
			}
			select {
			case <-time.After(seedPoll):
				continue
			case <-ctx.Done():
				err = fmt.Errorf("waiting for another Seed: %w", ctx.Err())
			}
		}
		return fmt.Errorf("pgstore: seeding table %s: %w", s.name, err)
	}
}

// logSeeder logs which session seeds the table.
func (s *Store) logSeeder(ctx context.Context) {
	const query = `
		SELECT pid, coalesce(usename::text, ''), coalesce(application_name, '')
		FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND objsubid = 1 AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND (classid::bigint << 32) | objid::bigint = hashtextextended($1::oid::text, $2)`
	t, err := s.table(ctx)
	if err != nil {
		return
	}
	var pid int
	var role, application string
	err = s.withConn(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, query, t.oid, seedLock).Scan(&pid, &role, &application)
	})
	if err == nil {
		s.cfg.Logger.InfoContext(ctx, "seeding takes long", "table", s.name, "reason", fmt.Sprintf(
			"another Seed runs in session %d (role %s, application %q)", pid, role, application))
	}
}

// errDeadRows reports that the table is empty but its file is not: it must be vacuumed first.
var errDeadRows = errors.New("an earlier Seed has left dead rows")

// trySeed seeds the table unless it has users, or fails with errLocked while another Seed runs.
func (s *Store) trySeed(ctx context.Context, n int64) error {
	t, err := s.currentTable(ctx)
	if err != nil || n == 0 {
		return err
	}
	return s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) error {
		seeded := false
		seed := func(vacuumed bool) error {
			stop := func() {}
			defer func() { stop() }()
			return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) (err error) {
				if _, stop, err = s.logWaits(ctx, tx, "seeding"); err == nil {
					seeded, err = seedTx(ctx, tx, t, n, vacuumed)
				}
				return err
			})
		}
		err := seed(false)
		if errors.Is(err, errDeadRows) {
			s.vacuumAnalyze(ctx, conn, t) // otherwise the users would not begin at page 0
			err = seed(true)
		}
		if err == nil && seeded {
			s.vacuumAnalyze(ctx, conn, t)
		}
		return err
	}))
}

// seedTx seeds the table in the transaction unless it has users. Unless the table has been vacuumed, it fails with
// errDeadRows if the table's file is not empty.
func seedTx(ctx context.Context, tx pgx.Tx, t *table, n int64, vacuumed bool) (seeded bool, err error) {
	if err := rejectStandbyAndRowSecurity(ctx, tx); err != nil {
		return false, err
	}
	if err := t.disableTimeouts(ctx, tx, disableTimeoutsQuery); err != nil {
		return false, err
	}
	if acquired, err := tryLock(ctx, tx, t, seedLock); err != nil {
		return false, err
	} else if !acquired {
		return false, errLocked
	}
	var hasUsers, sameTable bool // sameTable: the table still has its name
	var size int64
	look := func() error {
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+t.qualified+")").Scan(&hasUsers)
		if err != nil {
			return err
		}
		// A statement of its own: one that reads the table may be evaluated by Citus on another server.
		return tx.QueryRow(ctx, "SELECT pg_relation_size($1::bigint::oid), to_regclass($2) = $1::bigint::oid",
			int64(t.oid), t.qualified).Scan(&size, &sameTable)
	}
	if err := look(); err != nil || hasUsers {
		return false, err
	}
	// Users of transactions that are still open are not visible. The lock waits for these transactions and keeps other
	// writers out until the end.
	if _, err := tx.Exec(ctx, "LOCK TABLE "+t.qualified+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return false, err
	}
	err = look()
	switch {
	case err != nil:
		return false, err
	case !sameTable: // from here on, the lock keeps the table from being renamed
		return false, errReplaced
	case hasUsers:
		return false, nil
	case size > 0 && !vacuumed:
		return false, errDeadRows
	}
	return true, insertUsers(ctx, tx, t, n)
}

func insertUsers(ctx context.Context, tx pgx.Tx, t *table, n int64) error {
	var us int64
	err := tx.QueryRow(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").Scan(&us)
	if err != nil {
		return err
	}
	at := fromMicros(&us)
	for done := int64(0); ; {
		points.ReportProgress(ctx, done, n)
		if done == n {
			return nil
		}
		size := min(seedBatch, n-done)
		tag, err := tx.Exec(ctx, "INSERT INTO "+t.qualified+" (points, inserted_at, updated_at)"+
			" SELECT 0, $1, $2 FROM generate_series(1, $3::bigint)", at, at, size)
		if err != nil {
			return explainInsert(err)
		}
		if tag.RowsAffected() != size {
			return fmt.Errorf("INSERT of %d users reported %d: a trigger or a rule of the table redirects them; "+
				"nothing was kept, insert the users yourself", size, tag.RowsAffected())
		}
		first := done == 0
		if done += size; first || done == n {
			if err := checkCount(ctx, tx, t, done); err != nil {
				return err
			}
		}
	}
}

// explainInsert adds to the error of a table that does not accept the users of Seed, because of their data, a
// constraint or a trigger, what to do about it.
func explainInsert(err error) error {
	if code := sqlState(err); code != "" && slices.Contains([]string{"22", "23", "P0"}, code[:2]) {
		return fmt.Errorf("%w: Seed sets only points, inserted_at and updated_at: give the other columns defaults that suit "+
			"each user, or insert the users yourself", err)
	}
	return err
}

// checkCount returns an error unless the table has the users that were inserted and no others.
func checkCount(ctx context.Context, tx pgx.Tx, t *table, inserted int64) error {
	var count int64
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+t.qualified).Scan(&count); err != nil {
		return err
	}
	if count != inserted {
		return fmt.Errorf("the table has %d users after %d were inserted: a trigger or a rule changes their number; "+
			"nothing was kept: drop it, or insert the users yourself", count, inserted)
	}
	return nil
}
