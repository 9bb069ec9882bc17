package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// updatedColumns are the columns that updates change: points, updated_at, and generated columns computed from them.
const updatedColumns = `
	SELECT attrelid, attnum FROM pg_attribute WHERE attrelid IN ` + relations + `
		AND attname IN ('points', 'updated_at')
	UNION SELECT adrelid, adnum FROM pg_attrdef JOIN pg_depend ON classid = 'pg_attrdef'::regclass
			AND objid = pg_attrdef.oid AND refobjid = adrelid
		JOIN pg_attribute AS source ON source.attrelid = adrelid AND source.attnum = refobjsubid
		WHERE adrelid IN ` + relations + ` AND source.attname IN ('points', 'updated_at')`

// checkIndexes returns an error if an index is unique on points or updated_at alone: an update gives several users the
// same. It warns of the other indexes that contain points, updated_at or a column computed from them. Such an index
// gets a new entry for each user at each update. Since PostgreSQL 16, BRIN indexes do not.
func (s *Store) checkIndexes(ctx context.Context, q querier, t *table) error {
	rows, err := q.Query(ctx, `
		WITH updated AS (`+updatedColumns+`), indexes AS (
			SELECT indexrelid, indrelid, indisunique, indisexclusion, indpred, conname, row_used,
				(indkey::int2[])[0:indnkeyatts - 1] AS plain_columns,
				indkey::int2[] || columns AS all_columns,
				(indkey::int2[])[0:indnkeyatts - 1] || CASE WHEN indexprs IS NOT NULL THEN columns END AS key_columns
			FROM pg_index AS i JOIN pg_class ON pg_class.oid = indexrelid AND (NOT relispartition OR indrelid = $1::bigint::oid)
				JOIN pg_am ON pg_am.oid = relam
				LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x'),
				concat(indexprs, indpred) AS expressions, LATERAL (SELECT expressions ~ ':varattno 0 ') AS whole (row_used),
				LATERAL (SELECT ARRAY(SELECT refobjsubid::int2 FROM pg_depend WHERE classid = 'pg_class'::regclass
					AND objid = indexrelid AND refobjid = indrelid)) AS used (columns)
			WHERE indrelid IN `+relations+`
				AND NOT (amname = 'brin' AND current_setting('server_version_num')::int >= 160000)
		)
		SELECT indexrelid::regclass::text, CASE WHEN conname IS NULL THEN 'DROP INDEX ' || indexrelid::regclass
				ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, conname) END,
			(indisunique OR indisexclusion) AND (key_updated OR row_used) AND (indisexclusion OR NOT EXISTS (
				SELECT FROM pg_attribute WHERE attrelid = indrelid AND attname = 'id' AND attnum = ANY (plain_columns))),
			indpred IS NULL AND NOT row_used AND NOT EXISTS (SELECT FROM unnest(key_columns) AS used
				WHERE used <> 0 AND used NOT IN (SELECT attnum FROM updated WHERE attrelid = indrelid))
		FROM indexes, LATERAL (SELECT coalesce(bool_or(attnum = ANY (key_columns)), false),
				coalesce(bool_or(attnum = ANY (all_columns)), false)
			FROM updated WHERE attrelid = indrelid) AS uses (key_updated, updated)
		WHERE uses.updated OR row_used ORDER BY 1`, int64(t.oid))
	if err != nil {
		return err
	}
	type index struct {
		Name, Drop    string
		Clash, Always bool // whether two users may be equal, and whether they are in each update
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	for _, i := range indexes {
		const slow = "no update is heap-only: updates take about five times as long and write three times the WAL: "
		switch {
		case i.Clash && i.Always:
			return fmt.Errorf("index %s must not be unique on points or updated_at alone, because an update gives several "+
				"users the same value: %s", i.Name, i.Drop)
		case i.Clash:
			s.warn(ctx, t, fmt.Sprintf("index %s is unique on points or updated_at without id as a column: an update fails if "+
				"it makes two users equal, and %s%s", i.Name, slow, i.Drop))
		default:
			s.warn(ctx, t, fmt.Sprintf("index %s is on points or updated_at, so %s%s", i.Name, slow, i.Drop))
		}
	}
	return err
}

// warnReferences warns of foreign keys of other tables that reference a column that updates change.
func (s *Store) warnReferences(ctx context.Context, q querier, t *table) error {
	rows, err := q.Query(ctx, `
		SELECT format('foreign key %I of %s', conname, conrelid::regclass) FROM pg_constraint
		WHERE contype = 'f' AND confrelid IN `+relations+` AND conparentid = 0
			AND EXISTS (SELECT FROM (`+updatedColumns+`) AS updated WHERE attrelid = confrelid AND attnum = ANY (confkey))
		ORDER BY 1`, int64(t.oid))
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		s.warn(ctx, t, name+" references points or updated_at: updates fail for the users that it references, or change its "+
			"table as well (ON UPDATE): drop it, or reference id alone")
	}
	return err
}
