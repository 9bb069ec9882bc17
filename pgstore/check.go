package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// Check returns nil if the table meets these requirements:
//
//   - it is an ordinary or a partitioned table and not temporary, the role may SELECT and UPDATE it, and row-level
//     security does not apply to the role;
//   - id is a bigint, integer or smallint, and NOT NULL, with a primary key or unique index on it alone;
//   - points is an integer, bigint or smallint, and within 0..100;
//   - inserted_at and updated_at are NOT NULL, and each is a timestamptz, or a timestamp without time zone in UTC.
//
// If Config.Shared is set, it also checks that the shared state has all objects, that the role has the rights to them,
// and that it answers; it changes nothing.
//
// Other columns and indexes do not matter, but any index on points other than a BRIN index makes updates slow. The
// error names the table, the column and the requirement. Check reads the points of all users, unless the table has the
// CHECK constraint on points that Migrate creates.
func (s *Store) Check(ctx context.Context) error {
	err := s.withConn(ctx, func(conn *pgx.Conn) error {
		t, err := lookUp(ctx, conn, s.configured)
		if err != nil {
			return err
		}
		if err := s.check(ctx, conn, t); err != nil {
			return err
		}
		if s.cfg.Shared {
			if err := s.checkAnswer(ctx, conn, t); err != nil {
				return err
			}
		}
		s.resolved.Store(t)
		return nil
	})
	if err != nil {
		return fmt.Errorf("pgstore: table %s: %w", s.name, err)
	}
	return nil
}

// check checks a table that has been looked up.
func (s *Store) check(ctx context.Context, q querier, t *table) error {
	for _, check := range []func(context.Context, querier, *table) error{checkTable, checkColumns, checkKey, checkPoints} {
		if err := check(ctx, q, t); err != nil {
			return err
		}
	}
	if s.cfg.Shared {
		return checkShared(ctx, q, t)
	}
	return nil
}

func checkTable(ctx context.Context, q querier, t *table) error {
	var selectable, updatable, secured, inherited bool
	err := q.QueryRow(ctx, `
		SELECT has_table_privilege(oid, 'SELECT'), has_table_privilege(oid, 'UPDATE'), row_security_active(oid),
			relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = pg_class.oid)
		FROM pg_class WHERE oid = $1`, t.oid).Scan(&selectable, &updatable, &secured, &inherited)
	switch {
	case err != nil:
		return err
	case inherited:
		return errors.New("other tables must not inherit from it: ids would not be unique; use partitions instead")
	case !selectable || !updatable:
		return errors.New("the role needs the right to SELECT and UPDATE it: GRANT SELECT, UPDATE ON it")
	case secured:
		return errors.New("row-level security hides users from the role: make it the owner, or ALTER ROLE with BYPASSRLS")
	}
	return nil
}

func checkKey(ctx context.Context, q querier, t *table) error {
	var unique bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_index
			JOIN pg_attribute ON attrelid = indrelid AND attname = 'id' AND indkey[0] = attnum
			WHERE indrelid = $1 AND indnkeyatts = 1 AND indisunique AND indisvalid AND indpred IS NULL)`, t.oid).Scan(&unique)
	if err == nil && !unique {
		return errors.New("column id needs a primary key or a unique index on it alone: updates are by id range")
	}
	return err
}

func checkColumns(ctx context.Context, q querier, t *table) error {
	rows, err := q.Query(ctx, `
		SELECT attname::text AS name, atttypid::regtype::text AS type, attnotnull AS notnull
		FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped`, t.oid)
	if err != nil {
		return err
	}
	type column struct {
		Name, Type string
		NotNull    bool
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		return err
	}
	integers := []string{"bigint", "integer", "smallint"}
	times := []string{"timestamp with time zone", "timestamp without time zone"}
	for _, want := range []struct {
		name    string
		types   []string
		notNull bool
	}{
		{"id", integers, true}, {"points", integers, false}, {"inserted_at", times, true}, {"updated_at", times, true},
	} {
		i := slices.IndexFunc(columns, func(c column) bool { return c.Name == want.name })
		switch {
		case i < 0:
			return fmt.Errorf("it has no column %s: it needs id, points, inserted_at and updated_at", want.name)
		case !slices.Contains(want.types, columns[i].Type):
			return fmt.Errorf("column %s must be of type %s: it is %s",
				want.name, strings.Join(want.types, " or "), columns[i].Type)
		case want.notNull && !columns[i].NotNull:
			return fmt.Errorf("column %s must be NOT NULL", want.name)
		}
	}
	return nil
}

func checkPoints(ctx context.Context, q querier, t *table) error {
	var checked bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND contype = 'c' AND convalidated
			AND pg_get_constraintdef(oid) = 'CHECK (((points >= 0) AND (points <= 100)))')`, t.oid).Scan(&checked)
	if err != nil || checked {
		return err
	}
	var id, p *int64
	err = q.QueryRow(ctx, "SELECT min(id), min(points) FROM (SELECT id, points FROM "+t.qualified+
		" WHERE points NOT BETWEEN 0 AND $1 LIMIT 1) AS wrong", points.MaxPoints).Scan(&id, &p)
	if err == nil && id != nil {
		return fmt.Errorf("column points must be within 0..%d: user %d has %d", points.MaxPoints, *id, *p)
	}
	return err
}
