// Package pgstore is a [points.Store] in a table of a PostgreSQL database, version 15 to 18. (PostgreSQL 14 reached its
// end of life in November 2026.)
//
//	pool, err := pgxpool.New(ctx, url)          // yours, to configure and to close
//	store, err := pgstore.New(pool, pgstore.Config{})
//	err = store.Migrate(ctx)                    // creates the table users unless it exists
//	err = store.Seed(ctx, 1_000_000)            // fills it if it is empty
//	engine, err := points.New(store, points.Config{})
//
// # Guarantees
//
//   - A read is of one moment: it is one snapshot of committed users.
//   - At most one update of a table runs, over all processes. A batch that belongs to an earlier update, and is still
//     running or about to run, ends or fails before the next update begins.
//   - An update that returns without error has reached every user that was there when it began. It fails if a trigger, a
//     rule or row-level security keeps it from a user, or if the table is renamed or replaced meanwhile.
//   - Migrate and Seed are one transaction each. If they fail, or their process dies, nothing has changed.
//   - Nothing is created but the table, its indexes, its sequence and its comment. Nothing that exists is changed or
//     dropped, except that UpdateAll changes users, and that Seed inserts users into a table that has none.
//
// The name of the table is looked up once, and again by Migrate and Check and when the table is gone. Each statement uses
// the qualified name, so a change of search_path has no effect on a running store.
//
// # Rights
//
// Reads need SELECT, updates SELECT and UPDATE, and Seed INSERT as well. Migrate needs the right to CREATE in the schema
// if there is no table yet, and to own the table if an earlier version of this package created it. Seed vacuums the
// table if the role may, and otherwise logs a warning. A role that row-level security applies to is refused.
//
// # Performance
//
// An update changes every row, so the table is laid out for heap-only (HOT) updates: pages are filled to 45%, so the next
// version of each row fits on its page, and no index has to follow except, since PostgreSQL 16, a BRIN index on points,
// which may lag. Such updates take a fifth of the time that they take with a btree index on points, and the table keeps
// its size. UpdateAll updates ranges of ids, in short transactions on two connections.
//
// A read looks at the first pages of the table, which have enough users except before the first update, when all have 0
// points, and when no user qualifies. Then it looks at the whole table through the BRIN index. Neither read depends on
// statistics or on a plan for its parameters. PostgreSQL 15 has no such index, because there it would prevent heap-only
// updates: such a read scans the table, about 50 ms for a million users, until the first update has begun.
//
// Users become visible when Seed ends. Until then a read in another process looks at all the rows inserted so far, so it
// takes as long as a scan of the table.
//
// # Your own table
//
// Migrate leaves a table that exists as it is. [Store.Check] says what a table needs. A table that Migrate created has a
// comment (COMMENT ON TABLE) with the version of its schema; a table with any other comment, or none, is yours. This
// layout makes it fast:
//
//	ALTER TABLE users SET (fillfactor = 45);
//	DROP INDEX users_points_index;                                           -- any btree index on points
//	CREATE INDEX ON users USING brin (points) WITH (pages_per_range = 512);  -- since PostgreSQL 16
//	VACUUM (FULL, ANALYZE) users;
//
// # PgBouncer
//
// Everything works in transaction mode: locks and settings belong to transactions, and no statement relies on its
// session. PgBouncer 1.21 and later tracks prepared statements if max_prepared_statements is above 0 (the default since
// 1.24). For an earlier one, or if it is 0, add default_query_exec_mode=exec to the connection string, so that pgx does
// not prepare statements.
package pgstore
