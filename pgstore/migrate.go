package pgstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Migrate creates the table if there is none, or migrates one that an earlier version of this package created, and then
// checks it like [Store.Check]. It is one transaction: if it fails, nothing has changed. It is idempotent, and several
// processes may call it at once.
//
// The version of a table that Migrate created is kept in the table's comment (COMMENT ON TABLE). A table with any other
// comment, or none, is the user's own: Migrate checks it and leaves it as it is.
//
// If Config.Shared is set, Migrate also creates the objects of the shared state that do not exist, replaces functions
// of an earlier version, and inserts rows that are missing, as after a restore without data. It fails if one of their
// names is taken.
func (s *Store) Migrate(ctx context.Context) error {
	t, err := s.tryMigrate(ctx)
	// Another session has created a table or type of the same name in the meantime. Its transaction has ended, so the
	// next attempt sees it.
	taken := []string{uniqueViolation, duplicateTable, duplicateObject}
	for attempt := 1; attempt < 3 && slices.Contains(taken, sqlState(err)); attempt++ {
		t, err = s.tryMigrate(ctx)
	}
	if err != nil {
		return fmt.Errorf("pgstore: migrating table %s: %w", s.name, err)
	}
	s.resolved.Store(t)
	return nil
}

func (s *Store) tryMigrate(ctx context.Context) (t *table, err error) {
	stop := func() {}
	defer func() { stop() }()
	err = s.withTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) (err error) {
		if err := checkWritable(ctx, tx, nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, disableTimeoutsQuery); err != nil {
			return err
		}
		if _, stop, err = s.logWaits(ctx, tx, "migrating"); err != nil {
			return err
		}
		// One lock for all tables: two names, such as users and public.users, may mean the same table.
		const lock = "SELECT pg_advisory_xact_lock(hashtextextended('pointsapp/pgstore: Migrate', 0))"
		if _, err := tx.Exec(ctx, lock); err != nil {
			return err
		}
		if t, err = s.migrate(ctx, tx); err != nil {
			return err
		}
		if s.cfg.Shared {
			if err := migrateShared(ctx, tx, t); err != nil {
				return err
			}
		}
		return s.check(ctx, tx, t)
	})
	return t, err
}

// A migration changes the table that has this name from one version to the next.
type migration func(ctx context.Context, tx pgx.Tx, name string) error

// migrations returns the migrations in order: the first leads to version 1, and so on.
func migrations() []migration { return []migration{createTable} }

// migrate migrates the table to the newest version unless it is the user's own, and returns it.
func (s *Store) migrate(ctx context.Context, tx pgx.Tx) (*table, error) {
	name, version := s.quotedName, 0
	t, err := lookUp(ctx, tx, name)
	switch {
	case err == nil:
		var ours bool
		if version, ours, err = schemaVersion(ctx, tx, t); err != nil || !ours {
			return t, err
		}
		name = t.qualified
	case !errors.Is(err, errNoTable):
		return nil, err
	}
	all := migrations()
	if version == 0 && errors.Is(err, errNoTable) {
		if err := checkNoType(ctx, tx, name); err != nil {
			return nil, err
		}
	}
	for ; version < len(all); version++ {
		if err := all[version](ctx, tx, name); err != nil {
			return nil, s.explainNoSchema(err)
		}
		if t, err = lookUp(ctx, tx, name); err != nil {
			return nil, err
		}
		name = t.qualified
		if _, err := tx.Exec(ctx, fmt.Sprintf("COMMENT ON TABLE %s IS '%s%d'", name, commentPrefix, version+1)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// explainNoSchema adds to an error about a missing schema how to create it, or which setting names it.
func (s *Store) explainNoSchema(err error) error {
	switch {
	case sqlState(err) != invalidSchemaName:
		return err
	case s.cfg.Schema == "":
		return fmt.Errorf("%w: search_path names no schema that exists: correct it, or set Config.Schema", err)
	}
	return fmt.Errorf("%w: CREATE SCHEMA %s, or correct Config.Schema", err, quoteName(s.cfg.Schema))
}

// checkNoType fails if a type has this name, which a new table would need for the type of its rows.
func checkNoType(ctx context.Context, tx pgx.Tx, name string) error {
	var taken string
	err := tx.QueryRow(ctx, "SELECT quote_ident(nspname) || '.' || quote_ident(typname)"+
		" FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace, parse_ident($1::text) AS name"+
		" WHERE typname = name[cardinality(name)] AND typcategory <> 'A'"+
		" AND nspname = CASE cardinality(name) WHEN 2 THEN name[1] ELSE current_schema() END", name).Scan(&taken)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("it cannot be created, because the type %s has its name: rename that, or choose another "+
		"Config.Table", taken)
}

// commentPrefix begins the comment of a table that Migrate created. The version follows.
const commentPrefix = "pointsapp/pgstore: schema version "

var commentPattern = regexp.MustCompile("^" + regexp.QuoteMeta(commentPrefix) + `([0-9]{1,9})$`)

// schemaVersion returns the version of a table that Migrate created; ours is false if Migrate did not create it.
// Migrate writes no version 0: it stands for a table that lacks every migration, in tests.
func schemaVersion(ctx context.Context, q querier, t *table) (version int, ours bool, err error) {
	var comment string
	err = q.QueryRow(ctx, "SELECT coalesce(obj_description($1::bigint::oid, 'pg_class'), '')", int64(t.oid)).Scan(&comment)
	if err != nil {
		return 0, false, err
	}
	match := commentPattern.FindStringSubmatch(comment)
	if match == nil {
		return 0, false, nil
	}
	version, err = strconv.Atoi(match[1])
	return version, true, err
}

// createTable is the migration to version 1. Each page has room for the next versions of its rows, and no updated
// column has an index that prevents heap-only updates, so every update is heap-only and the table keeps its size.
func createTable(ctx context.Context, tx pgx.Tx, name string) error {
	_, err := tx.Exec(ctx, "CREATE TABLE "+name+` (
		id          bigint      GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
		points      integer     NOT NULL DEFAULT 0 CHECK (points BETWEEN 0 AND 100),
		inserted_at timestamptz NOT NULL DEFAULT now(),
		updated_at  timestamptz NOT NULL DEFAULT now()
	) WITH (fillfactor = 45)`)
	if err != nil {
		return err
	}
	var server int
	if err := tx.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&server); err != nil {
		return err
	}
	if server < 160000 {
		return nil // before PostgreSQL 16, a BRIN index on an updated column prevents heap-only updates like any index
	}
	// A read looks at the entry of each page range. With ranges of 128 pages, the default, it would take twice as long for
	// ten million users.
	_, err = tx.Exec(ctx, "CREATE INDEX ON "+name+" USING brin (points) WITH (pages_per_range = 512)")
	return err
}
