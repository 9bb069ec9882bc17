package pgstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pointsapp/pointsapp/points"
)

// UsersAbove implements [points.Store]. It fails with [ErrReadOnly], wrapped, on a standby. It runs a few statements,
// and returns the users of the first one that finds enough. The first ones read a few pages or users, the last one the
// whole table. Each has one snapshot of the users. If another session's lock blocked it for a second, or half of its
// time, its error names that session.
//
// The plans depend neither on statistics nor on parameters, so the generic plan of a prepared statement is as good as a
// custom one.
func (s *Store) UsersAbove(ctx context.Context, min, limit int) ([]points.User, error) {
	if min >= points.MaxPoints || limit < 1 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("pgstore: reading table %s: %w", s.name, err)
		}
		return []points.User{}, nil
	}
	var users []points.User
	t, err := s.table(ctx)
	if err == nil {
		err = s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) error {
			return s.nameWaits(ctx, conn, func() (err error) {
				users, err = t.read(ctx, conn, max(min, -1), limit) // within the range of smallint, if points is one
				return err
			})
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("pgstore: reading table %s: %w", s.name, withRemedy(err))
	}
	return users, nil
}

func (t *table) read(ctx context.Context, conn *pgx.Conn, min, limit int) ([]points.User, error) {
	users, err := t.layout.readSome(ctx, conn, t, min, limit)
	if err != nil || len(users) == limit {
		return users, err
	}
	return t.layout.readAll(ctx, conn, t, min, limit)
}

// readParams are SQL expressions for the parameters of the read queries: placeholders such as $1 in a statement,
// variables in the function of a shared state.
type readParams struct {
	min, limit string
	from, to   string // range of ctids, for pagesQuery
}

func statementParams(limit int) readParams {
	return readParams{min: "$1", limit: strconv.Itoa(limit), from: "$2", to: "$3"}
}

// pagesPerRead is how many pages a read looks at first: some 2,000 users in a table that Migrate created, or more in
// others. If their points are random, the probability that fewer than two of them have 100 points is 1e-7.
const pagesPerRead = 32

// pagesQuery reads a range of pages. "points + 0" stops the planner from using an index on points: it would then filter
// rows by ctid instead of reading only these pages.
func (t *table) pagesQuery(columns string, p readParams) string {
	return "SELECT " + columns + " FROM " + t.qualified +
		" WHERE ctid >= " + p.from + " AND ctid < " + p.to + " AND points + 0 > " + p.min + t.guard + " LIMIT " + p.limit
}

// readStatement returns a query of users with the columns that collect needs: location has those of rowLocation.
func readStatement(query, location string) string {
	return "SELECT " + fixedColumns + ", pg_is_in_recovery(), " + location + " FROM (" + query + ") AS found"
}

func (t *table) readPages(ctx context.Context, conn *pgx.Conn, min, limit int) ([]points.User, error) {
	page := t.hint.page.Load()
	from, to := pgtype.TID{BlockNumber: page, Valid: true}, pgtype.TID{BlockNumber: page + pagesPerRead, Valid: true}
	rows, err := conn.Query(ctx, readStatement(t.pagesQuery(rowColumns, statementParams(limit)), "ctid"), min, from, to)
	if err != nil {
		return nil, err
	}
	users, _, err := collect(rows, limit)
	return users, err
}

// The sample is up to sampleUsers users: those on pagesFromFirst pages, starting at the page of the user with the
// lowest id, and then those within pagesAroundLast pages of the user with the highest id. With 60 users per page, a
// read ends after 34 pages. The other pages matter only while an old snapshot prevents the pruning of old row versions.
// Then most pages hold either only current versions or only old ones, and only an index lookup finds current ones.
const (
	sampleUsers     = "2000"
	pagesFromFirst  = "64"
	pagesAroundLast = "32"
)

// sampleQuery finds its pages by the first and the last id, so it follows the current versions of the users wherever
// PostgreSQL has put them. UpdateAll writes users in the order of their ids, so the neighbours of a current version are
// current as well. The exceptions are the pages that a batch writes to, until it is committed: they may have too few
// current versions. That is hardly ever so for both ranges at once.
//
// The two ranges of pages do not overlap, or a user could be returned twice. The second one, with its index lookup, is
// evaluated only if the first has too few users. The inner LIMIT also stops the planner from moving the condition on
// points into the two scans.
func (t *table) sampleQuery(p readParams) string {
	const (
		page       = "(ctid::text::point)[0]::bigint AS page"
		selectLow  = "(SELECT ('(' || low || ',0)')::tid FROM "
		selectHigh = "(SELECT ('(' || high || ',0)')::tid FROM "
	)
	return "WITH first_pages AS MATERIALIZED (" +
		" SELECT page AS low, page + " + pagesFromFirst + " AS high" +
		" FROM (SELECT " + page + " FROM " + t.qualified + " ORDER BY id LIMIT 1) AS first_user" +
		"), last_pages AS MATERIALIZED (" +
		" SELECT greatest(page - " + pagesAroundLast + ", CASE WHEN page < low THEN 0 ELSE high END) AS low," +
		" least(page + " + pagesAroundLast + ", CASE WHEN page < low THEN low END) AS high" +
		" FROM (SELECT " + page + " FROM " + t.qualified + " ORDER BY id DESC LIMIT 1) AS last_user, first_pages" +
		") SELECT " + rowColumns + " FROM (" +
		" SELECT " + rowColumns + " FROM " + t.qualified +
		" WHERE ctid >= " + selectLow + "first_pages) AND ctid < " + selectHigh + "first_pages)" +
		" UNION ALL" +
		" SELECT " + rowColumns + " FROM " + t.qualified +
		" WHERE ctid >= " + selectLow + "last_pages) AND ctid < " + selectHigh + "last_pages)" +
		" LIMIT " + sampleUsers +
		") AS sample WHERE points > " + p.min + t.guard + " LIMIT " + p.limit
}

func (t *table) readSample(ctx context.Context, conn *pgx.Conn, min, limit int) ([]points.User, rowLocation, error) {
	rows, err := conn.Query(ctx, readStatement(t.sampleQuery(statementParams(limit)), "ctid"), min)
	if err != nil {
		return nil, rowLocation{}, err
	}
	return collect(rows, limit)
}

// forceBitmapScan makes the planner use the BRIN index whatever the statistics say. A table without a BRIN index is
// scanned sequentially although such scans are disabled. The cost of a disabled plan would start JIT compilation, which
// takes longer than the scan: so that is off, too.
const forceBitmapScan = "SELECT set_config('enable_seqscan', 'off', true)," +
	" set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)," +
	" set_config('jit', 'off', true)"

func (t *table) tableQuery(p readParams) string {
	return "SELECT " + rowColumns + " FROM " + t.qualified + " WHERE points > " + p.min + " LIMIT " + p.limit
}

// readTable sends the settings and a query of the whole table as one batch, which is one transaction and one round
// trip.
func readTable(
	ctx context.Context, conn *pgx.Conn, query string, min, limit int,
) (users []points.User, first rowLocation, err error) {
	batch := &pgx.Batch{}
	batch.Queue(forceBitmapScan + ", pg_is_in_recovery()") // users may be missing on a standby
	batch.Queue(query, min)
	results := conn.SendBatch(ctx, batch)
	defer closeResults(results, &err)
	var standby bool
	if err := results.QueryRow().Scan(nil, nil, nil, nil, &standby); err != nil {
		return nil, rowLocation{}, err
	}
	if standby {
		return nil, rowLocation{}, ErrReadOnly
	}
	rows, err := results.Query()
	if err != nil {
		return nil, rowLocation{}, err
	}
	return collect(rows, limit)
}

// rowColumns are the columns of a user, and where the row is.
const rowColumns = "id, points, inserted_at, updated_at, ctid"

// A rowLocation is where a row is stored.
type rowLocation struct {
	page      uint32 // block number
	partition uint32 // oid of the table with the page
}

// fixedColumns are the columns of a user with types that do not depend on the table's: PostgreSQL rejects a prepared
// statement whose result has other types since a column of the table was changed. Times are numbers, because DateStyle
// determines the text of a timestamp, which a query mode of pgx without prepared statements would parse.
const fixedColumns = "id::bigint, points::integer, (extract(epoch FROM inserted_at) * 1000000)::bigint," +
	" (extract(epoch FROM updated_at) * 1000000)::bigint"

// collect returns the users, and the location of the first one. The columns are fixedColumns, whether the server is a
// standby, and optionally the ctid and then the oid of the partition.
func collect(rows pgx.Rows, limit int) (users []points.User, first rowLocation, err error) {
	defer rows.Close()
	users = make([]points.User, 0, min(limit, 16))
	var u points.User
	var tid pgtype.TID
	var partition uint32
	var inserted, updated int64
	var standby bool
	targets := []any{&u.ID, &u.Points, &inserted, &updated, &standby, &tid, &partition}
	targets = targets[:min(len(targets), len(rows.FieldDescriptions()))]
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, rowLocation{}, err
		}
		if standby { // it is behind the primary, so reads of both would go back in time
			return nil, rowLocation{}, ErrReadOnly
		}
		if len(users) == 0 {
			first = rowLocation{tid.BlockNumber, partition}
		}
		u.InsertedAt, u.UpdatedAt = fromMicros(&inserted), fromMicros(&updated)
		users = append(users, u)
	}
	return users, first, rows.Err()
}
