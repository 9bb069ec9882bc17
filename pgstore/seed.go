package pgstore

import (
	"context"
	"fmt"
	"time"
)

// seedBatch is how many users Seed inserts in one transaction: few enough for a progress bar to move.
const seedBatch = 50_000

// Seed fills an empty table with n users with 0 points, and leaves its statistics fresh. After each of its transactions
// it calls progress, which may be nil, with the number of users that are there and n.
//
// A table that has users is left alone, unless a Seed was interrupted: then what is missing to n is inserted. While a
// Seed is not finished, a table with the suffix "_seed" says so. Several processes may call Seed at once: one fills
// the table, the others wait for it.
func (s *Store) Seed(ctx context.Context, n int64, progress func(done, total int64)) error {
	if n < 0 {
		return fmt.Errorf("pgstore: the number of users cannot be negative: %d", n)
	}
	if progress == nil {
		progress = func(_, _ int64) {}
	}
	err := s.lockedInTurn(ctx, setupLock, func(l *lease) error { return l.seed(ctx, n, progress) })
	if err != nil {
		return fmt.Errorf("pgstore: filling table %s: %w", s.name, err)
	}
	return nil
}

func (l *lease) seed(ctx context.Context, n int64, progress func(done, total int64)) error {
	_, mark := l.names("_seed")
	var marked, empty bool
	err := l.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, NOT EXISTS (SELECT FROM "+l.table+")", mark).
		Scan(&marked, &empty)
	if err != nil {
		return err
	}
	if n == 0 || !marked && !empty {
		return nil
	}
	done := int64(0)
	if marked {
		if done, err = l.Count(ctx); err != nil {
			return err
		}
	} else if _, err := l.pool.Exec(ctx, "CREATE TABLE "+mark+" ()"); err != nil {
		return err
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	for progress(done, n); done < n; progress(done, n) {
		inserted, err := l.exec(ctx, "INSERT INTO "+l.table+" (points, inserted_at, updated_at)"+
			" SELECT 0, $1, $1 FROM generate_series(1, $2::bigint)", at, min(seedBatch, n-done))
		if err != nil {
			return err
		}
		done += inserted
	}
	if err := l.freshen(ctx); err != nil {
		return err
	}
	_, err = l.pool.Exec(ctx, "DROP TABLE "+mark)
	return err
}

// freshen does at once what autovacuum would do in time: for the planner, for reads, which else would have to tell the
// rows' visibility, and for a BRIN index, which does not know of new pages until it has been told.
func (s *Store) freshen(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+s.table); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `SELECT brin_summarize_new_values(indexrelid) FROM pg_index
		JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
		WHERE amname = 'brin' AND indrelid = $1::regclass`, s.table)
	return err
}
