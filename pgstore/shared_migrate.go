package pgstore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// errOldServer reports that the database is too old for a shared state.
var errOldServer = errors.New("a shared state needs PostgreSQL 15 or later, which has unlogged sequences")

var sharedPattern = regexp.MustCompile("^" + regexp.QuoteMeta(sharedComment) + `([0-9]{1,9})$`)

// A foundObject is an object in the database with the name of an object of the shared state.
type foundObject struct {
	Name       string
	Kind       string // TABLE, SEQUENCE, FUNCTION, type, or relation for all others
	Parameters string // types of a function's parameters, without the quotes of quote_all_identifiers
	Comment    string
	Body       string // of a function
	Secured    bool   // row-level security of the relation applies to the role
}

// migrateShared creates the objects of the table's shared state that do not exist, replaces functions of earlier
// versions, and inserts rows that are missing. It fails if one of the names is taken.
func migrateShared(ctx context.Context, tx pgx.Tx, t *table) error {
	found, err := findShared(ctx, tx, t)
	if err != nil {
		return err
	}
	if version, err := newestVersion(found); err != nil || version > sharedVersion {
		return err
	}
	for _, object := range t.sharedObjects() {
		i := slices.IndexFunc(found, func(f foundObject) bool { return f.Name == object.name })
		if i >= 0 && found[i].Body == object.body {
			continue
		}
		if _, err := tx.Exec(ctx, object.create, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("creating %s %s of the shared state: %w", object.kind, object.id, err)
		}
		comment := fmt.Sprintf("COMMENT ON %s %s IS '%s%d'", object.kind, object.id, sharedComment, sharedVersion)
		if _, err := tx.Exec(ctx, comment); err != nil {
			return err
		}
	}
	return fillShared(ctx, tx, t)
}

// fillShared inserts the rows that are missing because a table was truncated or restored without its rows. If the role
// may not insert them, it does nothing: checkShared reports what is missing.
func fillShared(ctx context.Context, tx pgx.Tx, t *table) error {
	for _, object := range t.sharedObjects() {
		if object.fill == "" {
			continue
		}
		object.rights = []string{"SELECT", "INSERT"}
		if missing, err := missingRights(ctx, tx, object); err != nil || len(missing) > 0 {
			return err
		}
		if _, err := tx.Exec(ctx, object.fill); err != nil {
			return fmt.Errorf("filling %s %s of the shared state: %w", object.kind, object.id, err)
		}
	}
	return nil
}

// errSharded reports that the users are on several servers, where the function of a shared state cannot read them as
// they were at one moment.
var errSharded = errors.New("a shared state needs a table on one server, and Citus has distributed this one: " +
	"set Config.Shared to false, or undistribute the table")

// findShared returns the objects in the database that have the names of the objects of the shared state. It fails if
// one of them is not of this package, or hides rows from the role. Array types do not count: PostgreSQL renames them if
// a table needs the name.
func findShared(ctx context.Context, q querier, t *table) ([]foundObject, error) {
	if t.isSharded() {
		return nil, errSharded
	}
	var version int
	if err := q.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, err
	}
	if version < 150000 {
		return nil, errOldServer
	}
	objects := t.sharedObjects()
	names := make([]string, len(objects))
	var typed []string // the names of tables, whose rows have a type of the same name
	for i, object := range objects {
		names[i] = object.name
		if object.kind == "TABLE" {
			typed = append(typed, object.name)
		}
	}
	rows, err := q.Query(ctx, `
		SELECT relname::text, CASE relkind WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'relation' END, '',
			coalesce(obj_description(oid, 'pg_class'), ''), '', row_security_active(oid)
		FROM pg_class WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = $1::bigint::oid)
			AND relname = ANY($2::text[])
		UNION ALL
		SELECT proname::text, 'FUNCTION', replace(oidvectortypes(proargtypes), '"', ''),
			coalesce(obj_description(oid, 'pg_proc'), ''), prosrc, false
		FROM pg_proc WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = $1::bigint::oid)
			AND proname = ANY($2::text[])
		UNION ALL
		SELECT typname::text, 'type', '', '', '', false
		FROM pg_type WHERE typnamespace = (SELECT relnamespace FROM pg_class WHERE oid = $1::bigint::oid)
			AND typname = ANY($3::text[]) AND typrelid = 0 AND typcategory <> 'A'`, int64(t.oid), names, typed)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[foundObject])
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		i := slices.Index(names, f.Name)
		id := t.object(strings.TrimPrefix(f.Name, t.relation))
		if f.Kind == "FUNCTION" {
			id += "(" + f.Parameters + ")"
		}
		if f.Kind != objects[i].kind || id != objects[i].id || !sharedPattern.MatchString(f.Comment) {
			return nil, fmt.Errorf("the shared state needs the name %s.%s, but another %s has it: "+
				"rename that, or choose another Config.Table", t.schema, f.Name, f.Kind)
		}
		if f.Secured {
			return nil, fmt.Errorf("row-level security of TABLE %s hides rows of the shared state from the role: "+
				"ALTER TABLE %s DISABLE ROW LEVEL SECURITY, or ALTER ROLE with BYPASSRLS", id, id)
		}
	}
	return found, nil
}

// newestVersion returns the newest version of the objects, 0 if there are none.
func newestVersion(found []foundObject) (newest int, err error) {
	for _, f := range found {
		version, err := strconv.Atoi(sharedPattern.FindStringSubmatch(f.Comment)[1])
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	return newest, nil
}

// checkShared returns nil if all objects of the shared state exist, in this version or a newer one, and the role has
// the rights that it needs.
func checkShared(ctx context.Context, q querier, t *table) error {
	found, err := findShared(ctx, q, t)
	if err != nil {
		return err
	}
	version, err := newestVersion(found)
	if err != nil {
		return err
	}
	var grants []string
	for _, object := range t.sharedObjects() {
		exists := slices.ContainsFunc(found, func(f foundObject) bool { return f.Name == object.name })
		switch {
		case !exists && version == 0:
			return errors.New("it has no shared state: " + callMigrate)
		case !exists:
			return fmt.Errorf("%s %s of its shared state is missing: "+callMigrate, object.kind, object.id)
		case version < sharedVersion:
			return fmt.Errorf("its shared state has version %d instead of %d: call Migrate", version, sharedVersion)
		}
		missing, err := missingRights(ctx, q, object)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			grants = append(grants, "GRANT "+strings.Join(missing, ", ")+" ON "+object.kind+" "+object.id)
		}
	}
	if len(grants) > 0 {
		return fmt.Errorf("the role needs rights to its shared state: %s", strings.Join(grants, "; "))
	}
	return checkFilled(ctx, q, t)
}

// checkFilled returns nil if the tables of the shared state that need a row have it.
func checkFilled(ctx context.Context, q querier, t *table) error {
	for _, object := range t.sharedObjects() {
		if object.fill == "" {
			continue
		}
		var filled bool
		if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+object.id+")").Scan(&filled); err != nil {
			return err
		}
		if !filled {
			return fmt.Errorf("%s %s of its shared state is empty: call Migrate with a role that owns it",
				object.kind, object.id)
		}
	}
	return nil
}

// missingRights returns the rights to an object that the role needs and does not have.
func missingRights(ctx context.Context, q querier, object sharedObject) ([]string, error) {
	has := "has_table_privilege" // sequences, too
	if object.kind == "FUNCTION" {
		has = "has_function_privilege"
	}
	rows, err := q.Query(ctx, "SELECT needed FROM unnest($2::text[]) WITH ORDINALITY AS rights (needed, position)"+
		" WHERE NOT "+has+"($1::text, needed) ORDER BY position", object.id, object.rights)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// checkAnswer returns nil if the shared state answers a batch. It gives it no queries, so nothing changes.
func (s *Store) checkAnswer(ctx context.Context, conn *pgx.Conn, t *table) error {
	if _, err := (sharedState{s}).answer(ctx, conn, t, 0, 1); err != nil {
		return fmt.Errorf("its shared state does not answer: %w", err)
	}
	return nil
}
