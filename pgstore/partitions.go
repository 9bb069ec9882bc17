package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A partitions is the layout of a partitioned table. A statement on the whole table costs time and locks for each
// partition. So a read looks at a single one first, as if it were an ordinary table.
type partitions struct {
	heap

	// leaf is the partition that a read uses first; nil if there is none that the role may read, without row-level
	// security. table.guard ensures that it still belongs to the table.
	leaf   atomic.Pointer[table]
	chosen atomic.Bool // a leaf has been looked for
}

func (p *partitions) readSome(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error) {
	if !p.chosen.Load() {
		if err := p.chooseLeaf(ctx, conn, t, 0); err != nil {
			return nil, err
		}
	}
	if leaf := p.leaf.Load(); leaf != nil {
		users, err := p.heap.readSome(ctx, conn, leaf, min, limit)
		if isGone(err) {
			p.chosen.CompareAndSwap(true, false)
			users, err = nil, nil
		}
		if err != nil || len(users) == limit {
			return users, err
		}
	}
	if t.hint.fewMatches.Load() {
		return nil, nil
	}
	return t.readPages(ctx, conn, min, limit) // of all partitions, one after the other until there are enough users
}

// readAll makes the partition where it has found users the next leaf.
func (p *partitions) readAll(ctx context.Context, conn *pgx.Conn, t *table, min, limit int) ([]points.User, error) {
	const query = "SELECT " + rowColumns + ", tableoid FROM %s WHERE points > $1 LIMIT %d"
	all := readStatement(fmt.Sprintf(query, t.qualified, limit), "ctid, tableoid")
	users, first, err := readTable(ctx, conn, all, min, limit)
	if err != nil {
		return nil, err
	}
	t.hint.fewMatches.Store(len(users) < limit)
	leaf := p.leaf.Load()
	if leaf != nil {
		leaf.hint.fewMatches.Store(len(users) < limit)
	}
	if len(users) < limit {
		return users, nil
	}
	if leaf == nil || leaf.oid != first.partition {
		if err := p.chooseLeaf(ctx, conn, t, first.partition); err != nil {
			return nil, err
		}
		leaf = p.leaf.Load()
	}
	if leaf != nil && leaf.oid == first.partition {
		leaf.hint.page.Store(first.page)
	}
	return users, nil
}

// chooseLeaf makes the partition with this oid the leaf if the role may read it, or the partition with the most users
// by PostgreSQL's statistics if the oid is 0. Row-level security of a partition does not apply to statements on the
// table, so it must not apply to the leaf.
func (p *partitions) chooseLeaf(ctx context.Context, conn *pgx.Conn, t *table, oid uint32) error {
	const query = `
		SELECT pg_class.oid, nspname::text, relname::text
		FROM pg_partition_tree($1::bigint::oid) JOIN pg_class ON pg_class.oid = relid
		JOIN pg_namespace ON pg_namespace.oid = relnamespace
		WHERE relkind = 'r' AND (pg_class.oid = $2::bigint::oid OR $2::bigint = 0) AND NOT row_security_active(pg_class.oid)
			AND has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(pg_class.oid, 'SELECT')
		ORDER BY reltuples DESC, pg_class.oid LIMIT 1`
	leaf := &table{layout: heap{}}
	err := conn.QueryRow(ctx, query, int64(t.oid), int64(oid)).Scan(&leaf.oid, &leaf.schema, &leaf.relation)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		leaf = nil
	case err != nil:
		return err
	default:
		leaf.qualified = pgx.Identifier{leaf.schema, leaf.relation}.Sanitize()
		leaf.guard = fmt.Sprintf(" AND EXISTS (SELECT FROM pg_partition_ancestors(to_regclass(%s)) AS ancestors"+
			" WHERE ancestors.relid = %d)", quoteLiteral(leaf.qualified), t.oid)
	}
	p.leaf.Store(leaf)
	p.chosen.Store(true)
	return nil
}

// isGone reports whether a statement failed because a partition was dropped, renamed, replaced, or may no longer be
// read. That does not make the table itself unusable.
func isGone(err error) bool {
	switch sqlState(err) {
	case undefinedTable, invalidSchemaName, undefinedColumn, insufficientPrivilege, featureNotSupported:
		return true
	}
	return false
}

// estimate returns the sum of the partitions' statistics: autovacuum does not analyze the table itself.
func (p *partitions) estimate(ctx context.Context, q querier, t *table) (n int64, err error) {
	err = q.QueryRow(ctx, "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint"+
		" FROM pg_partition_tree($1::bigint::oid) JOIN pg_class ON oid = relid WHERE isleaf", int64(t.oid)).Scan(&n)
	return n, err
}
