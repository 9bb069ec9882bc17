package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// Check returns nil if the table meets these requirements:
//
//   - it is an ordinary or a partitioned table, not temporary, and no other table inherits from it;
//   - the database is not read-only, the role may SELECT the table and UPDATE points and updated_at, and row-level
//     security does not apply to the role;
//   - id is a bigint, integer or smallint, and NOT NULL, with a primary key or unique index on it alone;
//   - points is an integer, bigint or smallint, within 0..100;
//   - inserted_at and updated_at are NOT NULL, and each is a timestamptz, or a timestamp without time zone in UTC,
//     within the years 1 to 9999;
//   - CHECK constraints, foreign keys, generated columns and expressions of indexes allow each of the points 0..100,
//     and the current time as updated_at, and no index is unique on these two alone;
//   - points and updated_at are not generated columns, no rule replaces updates, and PostgreSQL accepts the statement
//     of an update: if the table belongs to a publication, it has a replica identity.
//
// If Config.Shared is set, it also checks that the shared state has all objects, that the role has the rights to them,
// and that it answers; it changes nothing.
//
// The error names the table, the column and the requirement. What only makes updates slow, or may make them fail, is
// logged as a warning: indexes that prevent heap-only updates, foreign keys on points or updated_at, and triggers,
// rules and constraints whose effect the catalog does not show, such as those on points and other columns. Check also
// warns of functions and operators that search_path finds before those of pg_catalog and, without Config.Shared, of
// other servers that share the state of the table. Each warning says what to do. Other columns and indexes do not
// matter.
//
// While another session has locked the table, as ALTER TABLE does, Check waits, and logs which session that is. If ctx
// ends then, the error names it. Check is one transaction, so ALTER TABLE waits until it ends.
//
// Check reads the whole table, except that it reads no points if there is the CHECK constraint that Migrate creates,
// and no timestamps if Migrate created the table. It also reads it for each constraint on updated_at and other columns,
// and for each that is NOT VALID or calls functions that are not immutable.
func (s *Store) Check(ctx context.Context) error {
	err := s.withConn(ctx, func(conn *pgx.Conn) error {
		t, err := lookUp(ctx, conn, s.quotedName)
		if err != nil {
			return err
		}
		if err := s.checkLoggingWaits(ctx, conn, t); err != nil {
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

// checkLoggingWaits checks a table, in a transaction so that it stays in one session. It logs what it waits for; if ctx
// ends meanwhile, the error says it.
func (s *Store) checkLoggingWaits(ctx context.Context, conn *pgx.Conn, t *table) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		// The timeout would have applied to each statement. It exists only since PostgreSQL 17.
		const disable = "SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'"
		if _, err := tx.Exec(ctx, disable); err != nil {
			return err
		}
		waits, stop, err := s.logWaits(ctx, tx, "checking")
		defer stop()
		if err == nil {
			err = s.check(ctx, tx, t)
		}
		if ctx.Err() != nil {
			err = waits.explain(err, false)
		}
		return err
	})
}

// check checks a table that has been looked up.
func (s *Store) check(ctx context.Context, q querier, t *table) error {
	for _, check := range []func(context.Context, querier, *table) error{
		checkWritable, checkTable, checkColumns, checkKey, s.checkConditions, checkValues, checkRules, s.checkUpdate,
		s.warnTriggers, s.checkIndexes, s.warnReferences, s.warnSearchPath,
	} {
		if err := check(ctx, q, t); err != nil {
			return err
		}
	}
	if s.cfg.Shared {
		return checkShared(ctx, q, t)
	}
	return s.warnSharingServers(ctx, q, t)
}

// ErrReadOnly reports that the database is a standby, to which a load balancer may have sent the call, or that its
// transactions are read-only by default. Reads fail only on a standby, because it lags behind the primary.
var ErrReadOnly = errors.New("the database is a standby, or default_transaction_read_only is on: use the primary; " +
	"if the connection string has several hosts, add target_session_attrs=read-write")

func checkWritable(ctx context.Context, q querier, _ *table) error {
	var readOnly bool
	err := q.QueryRow(ctx, "SELECT "+isReadOnly).Scan(&readOnly)
	if err == nil && readOnly {
		return ErrReadOnly
	}
	return err
}

// isReadOnly is an SQL expression: whether the session cannot write.
const isReadOnly = "(pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)"

func checkTable(ctx context.Context, q querier, t *table) error {
	var permitted, secured bool
	err := q.QueryRow(ctx, `
		SELECT has_table_privilege(oid, 'SELECT') AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid
			AND attname IN ('points', 'updated_at') AND NOT has_column_privilege(attrelid, attnum, 'UPDATE')),
			row_security_active(oid)
		FROM pg_class WHERE oid = $1::bigint::oid`, int64(t.oid)).Scan(&permitted, &secured)
	switch {
	case err != nil:
		return err
	case !permitted:
		return errors.New("the role needs the right to SELECT it and to UPDATE points and updated_at: " +
			"GRANT SELECT, UPDATE (points, updated_at) ON it")
	case secured:
		return errors.New("row-level security hides users from the role: make it the owner, without FORCE ROW LEVEL " +
			"SECURITY, or ALTER ROLE with BYPASSRLS")
	}
	return nil
}

func checkColumns(ctx context.Context, q querier, t *table) error {
	rows, err := q.Query(ctx, `
		SELECT attname::text, atttypid::regtype::text, attnotnull,
			CASE WHEN attgenerated <> '' THEN 'EXPRESSION' WHEN attidentity = 'a' THEN 'IDENTITY' ELSE '' END
		FROM pg_attribute WHERE attrelid = $1::bigint::oid AND attnum > 0 AND NOT attisdropped`, int64(t.oid))
	if err != nil {
		return err
	}
	type column struct {
		Name, Type string
		NotNull    bool
		Generated  string // what generates it, so that updates cannot set it
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		return err
	}
	integers := []string{"bigint", "integer", "smallint"}
	times := []string{"timestamp with time zone", "timestamp without time zone"}
	for _, want := range []struct {
		name             string
		types            []string
		notNull, updated bool
	}{
		{"id", integers, true, false},
		{"points", integers, false, true},
		{"inserted_at", times, true, false},
		{"updated_at", times, true, true},
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
		case want.updated && columns[i].Generated != "":
			return fmt.Errorf("column %s must not be a generated column, because updates set it: "+
				"ALTER TABLE ... ALTER %s DROP %s", want.name, want.name, columns[i].Generated)
		}
	}
	return nil
}

func checkKey(ctx context.Context, q querier, t *table) error {
	var unique bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_index
			JOIN pg_attribute ON attrelid = indrelid AND attname = 'id' AND indkey[0] = attnum
			WHERE indrelid = $1::bigint::oid AND indnkeyatts = 1 AND indisunique AND indisvalid AND indpred IS NULL)`,
		int64(t.oid)).Scan(&unique)
	if err == nil && !unique {
		return errors.New("column id needs a primary key or a unique index on it alone: updates are by id range")
	}
	return err
}

// checkValues looks for points that are out of range, and for timestamps outside of the years 1 to 9999, which RFC 3339
// and therefore JSON cannot represent. Reads fail if one is infinite or later than the year 294246.
func checkValues(ctx context.Context, q querier, t *table) error {
	var checked bool
	err := q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1::bigint::oid AND contype = 'c' AND convalidated
			AND pg_get_constraintdef(oid) = 'CHECK (((points >= 0) AND (points <= 100)))')`, int64(t.oid)).Scan(&checked)
	if err != nil {
		return err
	}
	_, ours, err := schemaVersion(ctx, q, t)
	if err != nil || checked && ours {
		return err
	}
	const fit = " BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"
	wrong := "inserted_at NOT" + fit + " OR updated_at NOT" + fit
	if !checked {
		wrong += fmt.Sprintf(" OR points NOT BETWEEN 0 AND %d", points.MaxPoints)
	}
	var id, p *int64
	var column, value string
	var finite bool
	err = q.QueryRow(ctx, "SELECT id::bigint, points::bigint, wrong.name, wrong.value::text, isfinite(wrong.value)"+
		" FROM "+t.qualified+", LATERAL (SELECT CASE WHEN inserted_at"+fit+" THEN 'updated_at' ELSE 'inserted_at' END,"+
		" CASE WHEN inserted_at"+fit+" THEN updated_at ELSE inserted_at END) AS wrong (name, value)"+
		" WHERE "+wrong+" LIMIT 1").Scan(&id, &p, &column, &value, &finite)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case p != nil && (*p < 0 || *p > points.MaxPoints):
		return fmt.Errorf("column points must be within 0..%d: user %d has %d", points.MaxPoints, *id, *p)
	case finite:
		return fmt.Errorf("column %s must be within the years 1 to 9999, as in RFC 3339: user %d has %s", column, *id, value)
	}
	return fmt.Errorf("column %s must be finite: user %d has %s", column, *id, value)
}

// checkUpdate makes PostgreSQL plan the statement of an update, so that PostgreSQL checks it against the catalog.
func (s *Store) checkUpdate(ctx context.Context, q querier, t *table) error {
	err := rolledBack(ctx, q, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SELECT set_config('row_security', 'off', true), set_config('lock_timeout', '2s', true)")
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "EXPLAIN "+t.updateStatement(),
			int64(0), time.Now().UTC(), int64(math.MinInt64), int64(math.MaxInt64)) // all partitions
		return err
	})
	switch sqlState(err) {
	case "":
		return err
	case lockNotAvailable:
		s.cfg.Logger.InfoContext(ctx, "another session has locked the table, as Seed does: Check has not found out whether "+
			"updates are possible", "table", t.schema+"."+t.relation)
		return nil
	}
	return fmt.Errorf("updates of it fail: %w", withRemedy(err))
}

// rolledBack calls do in a transaction, or a part of one, that is always rolled back.
func rolledBack(ctx context.Context, q querier, do func(pgx.Tx) error) error {
	tx, err := q.Begin(ctx)
	if err != nil {
		return err
	}
	err = do(tx)
	if rollbackErr := tx.Rollback(ctx); err == nil {
		err = rollbackErr
	}
	return err
}

// warnSearchPath warns of functions and operators that search_path finds before those of pg_catalog with the same
// arguments, which statements call without their schema.
func (s *Store) warnSearchPath(ctx context.Context, q querier, t *table) error {
	const replaced = `
		WITH earlier AS (SELECT oid FROM pg_namespace, current_schemas(true) AS path WHERE nspname NOT LIKE 'pg\_temp%'
			AND array_position(path, nspname) < array_position(path, 'pg_catalog'))
		SELECT type || ' ' || identity, count(*) OVER () - 1 FROM (
			SELECT 'pg_proc'::regclass, other.oid FROM pg_proc AS own JOIN pg_proc AS other USING (proname, proargtypes)
				WHERE own.pronamespace = 'pg_catalog'::regnamespace AND other.pronamespace IN (SELECT oid FROM earlier)
			UNION ALL SELECT 'pg_operator'::regclass, other.oid
				FROM pg_operator AS own JOIN pg_operator AS other USING (oprname, oprleft, oprright)
				WHERE own.oprnamespace = 'pg_catalog'::regnamespace AND other.oprnamespace IN (SELECT oid FROM earlier)
		) AS objects (class, oid), pg_identify_object(class, oid, 0) ORDER BY 1 LIMIT 1`
	var first string
	var more int
	err := q.QueryRow(ctx, replaced).Scan(&first, &more)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err == nil:
		s.warn(ctx, t, fmt.Sprintf("search_path finds %s (and %d others) before that of pg_catalog, which updates and "+
			"queries mean: move pg_catalog to its front", first, more))
	}
	return err
}

// warnSharingServers warns of servers that share a state, which this store does not use.
func (s *Store) warnSharingServers(ctx context.Context, q querier, t *table) error {
	servers := t.object("_servers")
	var ours bool
	err := q.QueryRow(ctx, "SELECT coalesce(obj_description(c.oid, 'pg_class') = $2"+
		" AND has_table_privilege(c.oid, 'SELECT'), false) FROM (SELECT to_regclass($1)::oid AS oid) AS c",
		servers, sharedComment+strconv.Itoa(sharedVersion)).Scan(&ours)
	if err != nil || !ours {
		return err
	}
	var n int
	err = rolledBack(ctx, q, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', '2s', true)"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, t.sharedNames().Replace(
			"SELECT count(*) FROM {servers} WHERE seen >= {now} - {instance_timeout} AND NOT stopped")).Scan(&n)
	})
	if sqlState(err) == lockNotAvailable { // by VACUUM FULL, for instance: this store does not need the table
		return nil
	}
	if err == nil && n > 0 {
		s.warn(ctx, t, fmt.Sprintf("other servers (%d) share the state of the table, but Config.Shared is not set here, so "+
			"this server has its own order of queries and its own ticks: set Config.Shared, or stop the others", n))
	}
	return err
}

// warn logs a warning about the table.
func (s *Store) warn(ctx context.Context, t *table, message string) {
	s.cfg.Logger.WarnContext(ctx, message, "table", t.schema+"."+t.relation)
}
