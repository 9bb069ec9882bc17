package pgstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// A condition is what PostgreSQL requires of each user at each update: a CHECK constraint, a foreign key, the bounds of
// a partition, or that a generated column or the expressions of an index can be computed.
type condition struct {
	Name       string // such as "constraint c of users"
	Expression string // true or NULL if the condition is met
	Columns    []string
	WholeRow   bool   // the expression also uses the row as a whole
	Users      string // SQL condition of the users that it is for, or ""
	ForeignKey bool
	Index      bool

	sources                   map[string]bool // Columns, and instead of generated columns what they are computed from
	points, updatedAt, others bool            // whether sources has these columns
}

// checkConditions returns an error if a condition forbids one of the numbers 0..100, or the current time as updated_at.
// It warns of those on points and other columns as well, because users have too many combinations of them to try.
func (s *Store) checkConditions(ctx context.Context, q querier, t *table) error {
	columns, err := valueColumns(ctx, q, t)
	if err != nil {
		return err
	}
	rows, err := q.Query(ctx, conditionsQuery, int64(t.oid))
	if err != nil {
		return err
	}
	conditions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c condition, err error) {
		err = row.Scan(&c.Name, &c.Expression, &c.Columns, &c.WholeRow, &c.Users, &c.ForeignKey, &c.Index)
		return c, err
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		if c, ok := columns[name].condition(name, t); ok {
			conditions = append(conditions, c)
		}
	}
	for _, c := range conditions {
		if err := s.checkCondition(ctx, q, t, columns, &c); err != nil {
			return err
		}
	}
	return s.checkPartitionColumns(ctx, q, t)
}

// checkPartitionColumns checks the generated columns of partitions whose expressions are not those of the table.
func (s *Store) checkPartitionColumns(ctx context.Context, q querier, t *table) error {
	rows, err := q.Query(ctx, differentColumns, int64(t.oid))
	if err != nil {
		return err
	}
	type column struct {
		OID                    uint32
		Schema, Relation, Name string
	}
	different, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		return err
	}
	for _, d := range different {
		partition := &table{oid: d.OID, schema: d.Schema, relation: d.Relation}
		partition.qualified = pgx.Identifier{d.Schema, d.Relation}.Sanitize()
		columns, err := valueColumns(ctx, q, partition)
		if err != nil {
			return err
		}
		if c, ok := columns[d.Name].condition(d.Name, partition); ok {
			if err := s.checkCondition(ctx, q, partition, columns, &c); err != nil {
				return err
			}
		}
	}
	return nil
}

// differentColumns returns the generated columns of partitions of the table with oid $1 whose expressions differ from
// those of the table.
const differentColumns = `
	SELECT pg_class.oid, nspname::text, relname::text, own.attname::text
	FROM pg_partition_tree($1::bigint::oid) JOIN pg_class ON pg_class.oid = relid AND isleaf
		JOIN pg_namespace ON pg_namespace.oid = relnamespace
		JOIN pg_attribute AS own ON own.attrelid = relid AND own.attgenerated <> ''
		JOIN pg_attrdef AS own_value ON own_value.adrelid = relid AND own_value.adnum = own.attnum
		LEFT JOIN pg_attribute AS whole ON whole.attrelid = $1::bigint::oid AND whole.attname = own.attname
		LEFT JOIN pg_attrdef AS whole_value ON whole_value.adrelid = whole.attrelid AND whole_value.adnum = whole.attnum
	WHERE relid <> $1::bigint::oid AND pg_get_expr(own_value.adbin, relid)
		IS DISTINCT FROM pg_get_expr(whole_value.adbin, whole.attrelid)
	ORDER BY 1, 4`

func (c *condition) findSources(columns map[string]valueColumn) {
	c.sources = map[string]bool{}
	for _, name := range c.Columns {
		if columns[name].Expression == "" {
			c.sources[name] = true
		}
		for _, source := range columns[name].Sources {
			c.sources[source] = true
		}
	}
	c.points, c.updatedAt = c.sources["points"], c.sources["updated_at"]
	c.others = c.WholeRow
	for name := range c.sources {
		c.others = c.others || name != "points" && name != "updated_at"
	}
}

// checkCondition tests a condition with each number of points, or with each user if it is on other columns.
func (s *Store) checkCondition(
	ctx context.Context, q querier, t *table, columns map[string]valueColumn, c *condition,
) error {
	c.findSources(columns)
	switch {
	case c.Index && (c.others || !c.points && !c.updatedAt):
		return nil // checkIndexes warns of it
	case c.WholeRow, c.points && c.others:
		s.warn(ctx, t, fmt.Sprintf("%s is on points and other columns: an update fails if it gives a user points in 0..%d "+
			"that it forbids: make sure that it allows each of them for each user", c.Name, points.MaxPoints))
		return nil
	}
	// An update acquires its lease, and thereby its time, before its transactions begin.
	found, err := c.violation(ctx, q, t, columns, "now() - interval '1 microsecond'")
	switch state := sqlState(err); {
	case state == queryCanceled, state == insufficientPrivilege && c.ForeignKey: // which updates do not need
		s.warn(ctx, t, fmt.Sprintf("%s could not be tested: updates fail if it forbids new points or the current time as "+
			"updated_at: %v", c.Name, err))
		return nil
	case err != nil && state == "":
		return err
	case err != nil:
		return fmt.Errorf("%s %s: %w", c.Name, c.requirement(), err)
	case found != nil && c.others:
		return fmt.Errorf("%s %s: user %d violates it", c.Name, c.requirement(), *found)
	case found != nil && (c.points || !c.updatedAt):
		return fmt.Errorf("%s %s: it forbids %d", c.Name, c.requirement(), *found)
	case found != nil:
		return fmt.Errorf("%s %s: it forbids that", c.Name, c.requirement())
	case c.ForeignKey:
		s.warn(ctx, t, c.Name+" is on points or updated_at: PostgreSQL looks up the new value of each user, so updates take "+
			"about six times as long: drop it unless you need it")
	}
	if !c.updatedAt {
		return nil
	}
	found, err = c.violation(ctx, q, t, columns, "'9999-12-31'")
	if sqlState(err) != "" || found != nil {
		s.warn(ctx, t, c.Name+" allows the current time as updated_at, but not the year 9999: change it, or updates will "+
			"fail one day, unless it compares with now()")
		err = nil
	}
	return err
}

// requirement says what updates require of the condition.
func (c *condition) requirement() string {
	switch {
	case c.updatedAt && !c.points:
		return "must allow the current time as updated_at, because updates set it"
	case c.others:
		return "must be true for all users, because updates test it"
	}
	return fmt.Sprintf("must allow all points in 0..%d", points.MaxPoints)
}

// violation returns points that violate the condition if updated_at is the time at, or the id of a user who violates it
// then if it is on other columns. It returns nil if there are none.
func (c *condition) violation(
	ctx context.Context, q querier, t *table, columns map[string]valueColumn, at string,
) (found *int64, err error) {
	const testedNumber = `"pgstore's tested number"` // not the name of a user's column
	from := fmt.Sprintf("generate_series(0, %d) AS number", points.MaxPoints)
	number := "number"
	if c.others {
		from = t.qualified
		if c.Users != "" {
			from += " WHERE " + c.Users
		}
		number = "id"
	}
	values := make([]string, 0, 1+len(c.sources))
	values = append(values, number+" AS "+testedNumber)
	for name := range c.sources {
		value := quoteName(name)
		switch name {
		case "points":
			value = "number::" + columns[name].Type
		case "updated_at":
			value = "(" + at + ")::" + columns[name].Type
		}
		values = append(values, value+" AS "+quoteName(name))
	}
	row := []string{"*"}
	for _, name := range c.Columns {
		if v := columns[name]; v.Expression != "" {
			row = append(row, v.value(name, t)+" AS "+quoteName(name))
		}
	}
	query := fmt.Sprintf("SELECT "+testedNumber+"::bigint"+
		" FROM (SELECT %s FROM (SELECT %s FROM %s) AS value_row) AS new_row WHERE NOT (%s) LIMIT 1",
		strings.Join(row, ", "), strings.Join(values, ", "), from, c.Expression)
	err = rolledBack(ctx, q, func(tx pgx.Tx) error { // the expression may call a function that writes
		_, err := tx.Exec(ctx, "SELECT set_config('row_security', 'off', true), set_config('timezone', 'UTC', true)")
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, query).Scan(&found); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil
	})
	return found, err
}

// conditionsQuery returns the conditions of the table with oid $1 that an update may violate, except for generated
// columns: those on columns that an update changes or on no column, and those that users may violate already, because
// they are NOT VALID or call functions that are not immutable. A partition's own ones are included, but not those that
// it inherits.
const conditionsQuery = `
	WITH updated AS (` + updatedColumns + `)
	SELECT format('%s %I of %s', CASE contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, conname,
			conrelid::regclass) || coalesce(' to ' || nullif(confrelid, 0)::regclass, ''),
		CASE contype WHEN 'c' THEN pg_get_expr(conbin, conrelid) WHEN 'n' THEN new || ' IS NOT NULL' ELSE format(
			'num_nulls(%s) > 0 OR EXISTS (SELECT FROM %s AS referenced_row WHERE %s)', new, confrelid::regclass, equal) END,
		ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)),
		coalesce(0 = ANY (conkey), false),
		CASE WHEN conrelid <> $1::bigint::oid THEN
			format('tableoid IN (SELECT relid FROM pg_partition_tree(%s))', conrelid) ELSE '' END,
		contype = 'f', false
	FROM pg_constraint AS c, LATERAL (
		SELECT string_agg(format('new_row.%I', k.attname), ', '),
			string_agg(format('referenced_row.%I = new_row.%I', coalesce(f.attname, ''), k.attname), ' AND ')
		FROM unnest(conkey, confkey) AS key (k, f) JOIN pg_attribute AS k ON k.attrelid = conrelid AND k.attnum = key.k
			LEFT JOIN pg_attribute AS f ON f.attrelid = confrelid AND f.attnum = key.f) AS columns (new, equal)
	WHERE conrelid IN ` + relations + `
		AND coalesce((to_jsonb(c)->>'conenforced')::boolean, true) -- since PostgreSQL 18
		AND (conkey IS NULL OR 0 = ANY (conkey)
			OR contype = 'n' AND NOT convalidated -- since PostgreSQL 18
			OR contype = 'c' AND (NOT convalidated OR conbin::text ~ 'SQLVALUEFUNCTION' -- such as CURRENT_DATE
				OR EXISTS (SELECT FROM regexp_matches(conbin::text, ':(?:op)?funcid (\d+)', 'g') AS called
					JOIN pg_proc ON pg_proc.oid = called[1]::oid AND provolatile <> 'i'))
			OR EXISTS (SELECT FROM updated WHERE attrelid = conrelid AND attnum = ANY (conkey)))
		AND CASE contype
			WHEN 'c' THEN conislocal OR conrelid = $1::bigint::oid
			WHEN 'n' THEN NOT convalidated
			WHEN 'f' THEN (conparentid = 0 OR conrelid = $1::bigint::oid) AND EXISTS (SELECT FROM pg_trigger
				WHERE tgconstraint = c.oid AND tgrelid = conrelid AND tgtype & 16 <> 0 AND tgenabled IN ` + enabled + `)
			ELSE false END
	UNION ALL SELECT format('the partition bound of %s', $1::bigint::oid::regclass),
		pg_get_partition_constraintdef($1::bigint::oid),
		ARRAY(SELECT DISTINCT attname::text FROM ` + partitionKeys + ` JOIN pg_attribute ON attrelid = partrelid
			AND attnum = ANY (partattrs)),
		EXISTS (SELECT FROM ` + partitionKeys + ` WHERE 0 = ANY (partattrs)), '', false, false
	WHERE pg_get_partition_constraintdef($1::bigint::oid) IS NOT NULL
	UNION ALL SELECT format('index %s', indexrelid::regclass), format('CASE WHEN %s THEN num_nulls(%s) ELSE 0 END >= 0',
			coalesce(pg_get_expr(indpred, indrelid), 'true'), coalesce(pg_get_expr(indexprs, indrelid), '1')),
		ARRAY(SELECT attname::text FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
			WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid AND attnum <> 0),
		concat(indexprs, indpred) ~ ':varattno 0 ', '', false, true
	FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid AND (NOT relispartition OR indrelid = $1::bigint::oid)
	WHERE indrelid IN ` + relations + ` AND num_nonnulls(indexprs, indpred) > 0
	ORDER BY 1`

// partitionKeys are the partition keys of the tables that the table with oid $1 is a partition of.
const partitionKeys = "pg_partition_ancestors($1::bigint::oid) JOIN pg_partitioned_table ON partrelid = relid" +
	" AND relid <> $1::bigint::oid"
