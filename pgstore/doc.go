// Package pgstore is a [points.Store] in a table of a PostgreSQL database, version 14 or later.
//
//	pool, err := pgxpool.New(ctx, url)                       // the caller's, to configure and to close
//	store, err := pgstore.New(pool, pgstore.Config{})
//	err = store.Migrate(ctx)                                 // creates the table users, once
//	err = store.Seed(ctx, 1_000_000)                    // fills it, if it is empty
//	engine, err := points.New(store, points.Config{})
//
// # How it is fast
//
// An update changes every row, so the table is laid out for updates that are heap-only: pages are filled to 45%, so
// that the next version of each row fits on its page, and no index has to follow but, since PostgreSQL 16, a BRIN
// index on points, which may lag. Such updates take a fifth of the time that they take with a btree index on points,
// and the table keeps its size. UpdateAll goes by ranges of ids, in short transactions on two connections. One update
// runs at a time, over all processes, and it waits for what an earlier one has left running: a batch whose client has
// gone may still run in the database.
//
// A read looks at the first pages of the table, where enough users are in all states but two: before the first update,
// when all have 0 points, and when nobody qualifies. Then it looks at the whole table by way of the BRIN index. Neither
// needs statistics to be fresh or a plan made for its parameters. Before PostgreSQL 16 there is no such index, because
// there it would keep updates from being heap-only: such a read scans the table, about 50 ms for a million users, until
// the first update has begun.
//
// # A table of one's own
//
// Migrate leaves a table that is there already as it is; [Store.Check] tells what it needs. The layout above makes it
// fast:
//
//	ALTER TABLE users SET (fillfactor = 45);
//	DROP INDEX users_points_index;                                           -- any btree index on points
//	CREATE INDEX ON users USING brin (points) WITH (pages_per_range = 512);  -- since PostgreSQL 16
//	VACUUM (FULL, ANALYZE) users;
//
// # Behind PgBouncer
//
// Everything works in transaction mode: locks are held by transactions and no statement relies on the session.
// PgBouncer from 1.21 keeps prepared statements apart if max_prepared_statements is above 0 (the default since 1.24).
// For an earlier one, or if it is 0, add default_query_exec_mode=exec to the connection string, which makes pgx
// prepare nothing.
package pgstore
