package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errNoTable reports that no table has the configured name.
var errNoTable = errors.New("there is no such table: " + callMigrate + ", or name another")

// callMigrate is the end of errors about missing tables and functions.
const callMigrate = "call Migrate, as the reference server does at its start"

// A table is what the configured name stood for when it was looked up. Without Config.Schema the name means whatever
// search_path says, which differs between connections behind a pooler and can change under a running process. So it is
// looked up once, and every statement uses the qualified name.
type table struct {
	oid       uint32
	schema    string
	relation  string // name without the schema
	qualified string // schema and name, quoted for SQL
	layout    layout
	hint      readHint

	// guard is "", or for a partition an SQL condition, beginning with AND, that is true while the partition belongs to
	// the table that is read. Statements that read a few pages or a sample contain it.
	guard string

	// bound is a bound of the timestamps of the shared state, in microseconds since 1970, that is durable: a crash of the
	// database does not lose it. 0 if none is known.
	bound atomic.Int64
}

// A querier is a connection, a transaction or a pool.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Begin(ctx context.Context) (pgx.Tx, error)
}

// table returns the table. It looks the name up if that has not been done yet, or if the table was gone when it was
// last used.
func (s *Store) table(ctx context.Context) (*table, error) {
	if t := s.resolved.Load(); t != nil {
		return t, nil
	}
	var t *table
	err := s.withConn(ctx, func(conn *pgx.Conn) (err error) {
		t, err = lookUp(ctx, conn, s.quotedName)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !s.resolved.CompareAndSwap(nil, t) {
		if first := s.resolved.Load(); first != nil {
			return first, nil // of two concurrent lookups
		}
	}
	return t, nil
}

// currentTable returns the table like table, but looks the name up again if another table, or none, now has the
// qualified name, or if it is or was distributed over shards: its layout may have changed.
func (s *Store) currentTable(ctx context.Context) (*table, error) {
	t := s.resolved.Load()
	if t == nil {
		return s.table(ctx)
	}
	var now *table
	err := s.withConn(ctx, func(conn *pgx.Conn) (err error) {
		now, err = lookUp(ctx, conn, t.qualified)
		return err
	})
	switch {
	case err == nil && now.oid == t.oid && !now.isSharded() && !t.isSharded():
		return t, nil
	case err == nil || errors.Is(err, errNoTable):
		s.resolved.CompareAndSwap(t, nil)
		return s.table(ctx)
	}
	return nil, err
}

// isSharded reports whether Citus had distributed the table over shards when it was looked up.
func (t *table) isSharded() bool {
	_, sharded := t.layout.(*shards)
	return sharded
}

// forgetIfGone makes the next use of the table look its name up again if err says that it is gone, or that Citus does
// not distribute it any longer. It returns err.
func (s *Store) forgetIfGone(t *table, err error) error {
	switch sqlState(err) {
	case undefinedTable, undefinedFunction, invalidSchemaName, invalidTableDefinition:
		s.resolved.CompareAndSwap(t, nil)
	}
	return err
}

// lookUp returns the table that has this name, quoted and perhaps qualified, or errNoTable. It fails for a view, a
// temporary table or one that others inherit from, so no update ever uses one, if the role may not use the schema, and
// on a standby.
func lookUp(ctx context.Context, q querier, name string) (*table, error) {
	var standby bool // there the table may be missing
	if err := q.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return nil, err
	} else if standby {
		return nil, ErrReadOnly
	}
	if err := checkUsage(ctx, q, name); err != nil {
		return nil, err
	}
	var kind string
	var partitioned, temporary, inherited, citus bool
	t := &table{layout: heap{}}
	err := q.QueryRow(ctx, "SELECT pg_class.oid, nspname::text, relname::text, relkind = 'p', relpersistence = 't',"+
		" relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = pg_class.oid),"+
		" (pg_identify_object('pg_class'::regclass, pg_class.oid, 0)).type,"+
		" to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"+
		" FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass($1::text)",
		name).Scan(&t.oid, &t.schema, &t.relation, &partitioned, &temporary, &inherited, &kind, &citus)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, errNoTable
	case err != nil:
		return nil, err
	case kind != "table":
		return nil, errors.New("it must be an ordinary or a partitioned table: its kind is " + kind)
	case temporary:
		return nil, errors.New("it must not be temporary: other connections do not see it")
	case inherited:
		return nil, errors.New("other tables must not inherit from it: ids would not be unique; use partitions instead")
	}
	t.qualified = pgx.Identifier{t.schema, t.relation}.Sanitize()
	if partitioned {
		t.layout = &partitions{}
	}
	if citus {
		distributed, err := isDistributed(ctx, q, t.oid)
		if err != nil {
			return nil, err
		}
		if distributed {
			t.layout = &shards{}
		}
	}
	return t, nil
}

// checkUsage fails if the role may not use the schema of the table with this name. PostgreSQL skips such a schema in
// search_path, so the table would not be found, or one in a later schema would be used. It does not fail if an earlier
// schema has the table.
func checkUsage(ctx context.Context, q querier, name string) error {
	var schema string
	err := q.QueryRow(ctx, `
		WITH path AS (
			SELECT CASE WHEN entry LIKE '%"%' THEN trim(entry, ' "') ELSE lower(trim(entry)) END AS schema, ord
			FROM unnest(string_to_array(current_setting('search_path'), ',')) WITH ORDINALITY AS entries (entry, ord)
		)
		SELECT nspname::text FROM parse_ident($1::text) AS name, pg_namespace LEFT JOIN path ON schema = nspname
		WHERE NOT has_schema_privilege(pg_namespace.oid, 'USAGE') AND CASE cardinality(name)
			WHEN 2 THEN nspname = name[1]
			ELSE ord IS NOT NULL
				AND EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relname = name[1])
				AND NOT EXISTS (
					SELECT FROM path AS earlier JOIN pg_namespace AS used ON used.nspname = earlier.schema
						JOIN pg_class ON relnamespace = used.oid
					WHERE pg_class.oid = to_regclass($1::text) AND earlier.ord < path.ord)
			END
		LIMIT 1`, name).Scan(&schema)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("the role needs the right to use its schema: GRANT USAGE ON SCHEMA %s",
		pgx.Identifier{schema}.Sanitize())
}
