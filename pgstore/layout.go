package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A layout is how a table keeps its users: in one heap, in partitions, or in shards on other servers. It is safe for
// concurrent use.
type layout interface {
	// readSome reads only where an earlier read found users, and a small sample. It may return fewer users than match.
	readSome(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error)

	// readAll reads the whole table. The next readSome starts where readAll found users.
	readAll(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error)

	// beginBatch and endBatch return the first and the last steps of a transaction that updates users, in addition to
	// those that all layouts need.
	beginBatch() []step
	endBatch(t *table) []step

	// disableTimeouts returns the steps that disable the timeouts of a transaction's statements on other servers.
	disableTimeouts() []step

	// estimate returns the number of users by PostgreSQL's statistics. It may be below the true number, even negative.
	estimate(ctx context.Context, q querier, t *table) (int64, error)

	// summarize summarizes new pages in the BRIN indexes of the table.
	summarize(ctx context.Context, conn *pgx.Conn, t *table) error
}

// A step is a statement of a transaction.
type step struct {
	sql  string
	args []any

	explain func(error) error // returns what an error of the statement means; nil: the error itself
}

// sendSteps executes steps as a pipeline: one transaction, and one round trip. It returns the number of rows that the
// step with the index counted has affected.
func sendSteps(ctx context.Context, conn *pgx.Conn, steps []step, counted int) (rows int64, err error) {
	batch := &pgx.Batch{}
	// The last statement cannot fail. The simple protocol reports an error of the commit as that of the last statement,
	// which would explain it wrongly.
	steps = append(steps, step{sql: withoutSnapshot})
	for _, s := range steps {
		batch.Queue(s.sql, s.args...)
	}
	results := conn.SendBatch(ctx, batch)
	defer closeResults(results, &err)
	for i, s := range steps {
		tag, err := results.Exec()
		if err != nil && s.explain != nil {
			err = s.explain(err)
		}
		if err != nil {
			return 0, err
		}
		if i == counted {
			rows = tag.RowsAffected()
		}
	}
	return rows, nil
}

// execSteps executes steps one after another.
func execSteps(ctx context.Context, tx pgx.Tx, steps []step) error {
	for _, s := range steps {
		if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
			if s.explain != nil {
				err = s.explain(err)
			}
			return err
		}
	}
	return nil
}
