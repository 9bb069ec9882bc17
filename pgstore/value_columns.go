package pgstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A valueColumn is how the value of a column is made.
type valueColumn struct {
	Type       string
	Expression string // of a generated column, else ""
	Sources    []string
	Stored     bool
	NotNull    bool
	Limited    bool // it is a string of limited length, or an array of these
}

// valueColumns returns the columns of the table by their names.
func valueColumns(ctx context.Context, q querier, t *table) (map[string]valueColumn, error) {
	rows, err := q.Query(ctx, `
		SELECT attname::text, format_type(atttypid, atttypmod),
			CASE WHEN attgenerated <> '' THEN pg_get_expr(adbin, adrelid) ELSE '' END,
			ARRAY(SELECT source.attname::text FROM pg_depend JOIN pg_attribute AS source ON source.attrelid = adrelid
					AND source.attnum = refobjsubid
				WHERE a.attgenerated <> '' AND classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refobjid = adrelid
					AND source.attnum <> adnum),
			attgenerated = 's', attnotnull,
			atttypmod >= 0 AND atttypid = ANY ('{varchar,bpchar,bit,varbit,varchar[],bpchar[],bit[],varbit[]}'::regtype[])
		FROM pg_attribute AS a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped`, int64(t.oid))
	if err != nil {
		return nil, err
	}
	columns := map[string]valueColumn{}
	var name string
	var c valueColumn
	_, err = pgx.ForEachRow(rows, []any{
		&name, &c.Type, &c.Expression, &c.Sources, &c.Stored, &c.NotNull, &c.Limited,
	}, func() error {
		columns[name] = c
		c.Sources = nil
		return nil
	})
	return columns, err
}

// condition returns the condition that a generated column can be computed; ok is false if updates do not compute it.
func (v valueColumn) condition(name string, t *table) (c condition, ok bool) {
	if !v.Stored && !v.NotNull || !slices.Contains(v.Sources, "points") && !slices.Contains(v.Sources, "updated_at") {
		return condition{}, false
	}
	expression := "num_nulls(" + quoteName(name) + ") >= 0"
	if v.NotNull {
		expression = quoteName(name) + " IS NOT NULL"
	}
	return condition{
		Name:       "generated column " + name + " of " + t.relation,
		Expression: expression, Columns: []string{name},
	}, true
}

// value returns an SQL expression for the value of a generated column.
func (v valueColumn) value(name string, t *table) string {
	if v.Limited { // a cast would cut the string off
		return fmt.Sprintf("(jsonb_populate_record(NULL::%s, jsonb_build_object(%s, %s))).%s",
			t.qualified, quoteLiteral(name), v.Expression, quoteName(name))
	}
	return fmt.Sprintf("(%s)::%s", v.Expression, v.Type)
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }
