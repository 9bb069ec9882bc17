package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// vacuumAnalyze does at once what autovacuum would do later: it updates the planner's statistics and the visibility
// map, and summarizes new pages in BRIN indexes. It is best effort: if the role does not own the table, PostgreSQL
// skips it without an error.
func (s *Store) vacuumAnalyze(ctx context.Context, conn *pgx.Conn, t *table) {
	var owner bool
	err := conn.QueryRow(ctx, "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = $1::bigint::oid",
		int64(t.oid)).Scan(&owner)
	if err == nil && !owner {
		s.warn(ctx, t, "the role does not own the table, so it cannot vacuum it; reads and updates may be slow until "+
			"autovacuum has done it, or its owner runs VACUUM (ANALYZE) "+t.qualified)
		return
	}
	if err == nil {
		_, err = conn.Exec(ctx, "VACUUM (ANALYZE) "+t.qualified)
	}
	if err == nil {
		err = t.layout.summarize(ctx, conn, t)
	}
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "vacuuming the table failed; reads and updates may be slow "+
			"until autovacuum has done it", "table", s.name, "error", err)
	}
}

// summarizeIndexes summarizes new pages in the BRIN indexes of the table and of its partitions.
func summarizeIndexes(ctx context.Context, conn *pgx.Conn, t *table) error {
	_, err := conn.Exec(ctx, `
		SELECT brin_summarize_new_values(indexrelid) FROM pg_index
		JOIN pg_class ON pg_class.oid = indexrelid AND relkind = 'i' JOIN pg_am ON pg_am.oid = relam AND amname = 'brin'
		WHERE indrelid IN `+relations, int64(t.oid))
	return err
}
