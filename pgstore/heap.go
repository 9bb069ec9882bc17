package pgstore

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A heap is the layout of an ordinary table.
type heap struct{}

// A readHint is what earlier reads of a heap found out. It determines where the next read looks first, and so which of
// the matching users it returns.
type readHint struct {
	page       atomic.Uint32 // where the last read of the sample or of the whole table found users
	fewMatches atomic.Bool   // the last read of the whole table found too few users, as before the table's first update
}

// readSome looks at a few pages where an earlier read found users, and then at a sample of users near the lowest and
// the highest id.
func (heap) readSome(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error) {
	users, err := t.readPages(ctx, conn, min, limit)
	if err != nil || len(users) == limit || t.hint.fewMatches.Load() {
		return users, err // with few matching users, the sample would hardly find more than the pages
	}
	users, first, err := t.readSample(ctx, conn, min, limit)
	if err == nil && len(users) == limit {
		t.hint.page.Store(first.page)
	}
	return users, err
}

func (heap) readAll(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error) {
	users, first, err := readTable(ctx, conn, readStatement(t.tableQuery(statementParams(limit)), "ctid"), min, limit)
	t.hint.fewMatches.Store(err == nil && len(users) < limit)
	if err == nil && len(users) == limit {
		t.hint.page.Store(first.page)
	}
	return users, err
}

func (heap) beginBatch() []step { return nil }

func (heap) endBatch(*table) []step { return nil }

func (heap) disableTimeouts() []step { return nil }

func (heap) estimate(ctx context.Context, q querier, t *table) (n int64, err error) {
	err = q.QueryRow(ctx, "SELECT reltuples::bigint FROM pg_class WHERE oid = $1::bigint::oid", int64(t.oid)).Scan(&n)
	return n, err
}

func (heap) summarize(ctx context.Context, conn *pgx.Conn, t *table) error {
	return summarizeIndexes(ctx, conn, t)
}
